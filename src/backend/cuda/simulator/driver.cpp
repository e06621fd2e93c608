// A driver of CUDA for tests, where there is no device: memory is the host's, kernels are those of the emulator (nvrtc.cpp
// compiles them), and work is done as late as the driver's rules allow, in an order drawn from those that streams, events
// and graphs leave open. What a driver refuses is refused with its error: calls that a capture forbids, streams that it does
// not join, contexts that are not current, handles that are gone, launches that are too large, memory that is not there.
// Only what a driver of CUDA 12.0 exports is here. With VITX_SIMULATED_WORK=none kernels and products are checked, but
// do nothing, and memory is zeros: for programs that are too large for the host.
#include <dlfcn.h>

#include "state.h"

extern "C" {

// For cublaslt.cpp: work of its own on a stream, and whether memory is there.
int vitx_put(void* handle, void (*work)(void*), void* data, void (*drop)(void*), uint64_t own) {
    CALLED(cublasLtMatmul);
    ON(handle);
    std::shared_ptr<void> kept(data, drop);
    return put(stream, [work, kept] { work(kept.get()); }, own);
}
int vitx_works() { return works(); }
int vitx_there(uint64_t address, size_t bytes) {
    Guard guard(mutex);
    return holding(address, bytes) != nullptr;
}
void vitx_fail(const char* why) { failure = fails(ILLEGAL_ADDRESS, "a product", why); }

int cuDriverGetVersion(int* version) {
    const char* text = getenv("VITX_SIMULATED_CUDA");
    *version = text ? atoi(text) : 13000;
    return SUCCESS;
}
int cuInit(unsigned flags) { return flags != 0 ? INVALID_VALUE : visible().empty() ? NO_DEVICE : SUCCESS; }
int cuDeviceGetCount(int* count) { *count = visible().size(); return SUCCESS; }
int cuDeviceGet(int* device, int ordinal) {
    if (ordinal < 0 || size_t(ordinal) >= visible().size()) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}
int cuDeviceGetName(char* text, int length, int) { snprintf(text, length, "no device, but its simulation"); return SUCCESS; }
int cuDeviceGetUuid_v2(unsigned char* uuid, int device) {
    memset(uuid, 0x51, 16);
    uuid[15] += visible()[device];
    return SUCCESS;
}
int cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = all_memory(); return SUCCESS; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
        case 16: *value = 132; break;  // multiprocessors
        case 38: *value = 1 << 20; break;  // bytes of the second-level cache
        case 75: *value = 9; break;
        case 76: *value = 0; break;
        case 97: *value = BLOCK_MEMORY; break;
        case 115: *value = 1; break;  // memory pools
        default: return fails(INVALID_VALUE, "cuDeviceGetAttribute", "the simulation does not know this attribute");
    }
    return SUCCESS;
}
int cuGetErrorString(int error, const char** text) {
    static std::map<int, std::string> texts;
    Guard guard(mutex);
    auto& kept = texts[error];
    if (kept.empty()) kept = error == OUT_OF_MEMORY ? "out of memory" : "simulated error " + std::to_string(error);
    *text = kept.c_str();
    return SUCCESS;
}
int cuGetErrorName(int error, const char** text) { return cuGetErrorString(error, text); }

int cuDevicePrimaryCtxRetain(void** context, int device) { *context = &contexts[visible()[device]]; return SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxGetCurrent(void** context) { *context = current; return SUCCESS; }
int cuCtxSetCurrent(void* context) { current = context; return SUCCESS; }
int cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    CALLED(cuCtxGetStreamPriorityRange);
    CURRENT;
    *least = 0, *greatest = -5;
    return SUCCESS;
}
int cuCtxSynchronize() {
    CALLED(cuCtxSynchronize);
    CURRENT;
    for (void* handle : streams)
        if (capturing(static_cast<Stream*>(handle))) return forbidden(static_cast<Stream*>(handle), name);
    for (void* handle : streams) finish(static_cast<Stream*>(handle)->last);
    return failure;
}
int cuMemGetInfo_v2(size_t* free, size_t* all) {
    CALLED(cuMemGetInfo);
    CURRENT;
    *all = all_memory(), *free = *all - taken;
    return SUCCESS;
}

int cuStreamCreateWithPriority(void** stream, unsigned flags, int priority) {
    CALLED(cuStreamCreate);
    CURRENT;
    // A stream that the streams without a handle wait for would not run beside others.
    if (flags != 1) return fails(INVALID_VALUE, name, "the stream is not CU_STREAM_NON_BLOCKING");
    *stream = new Stream{priority > 0 ? 0 : priority < -5 ? -5 : priority};
    streams.insert(*stream);
    return SUCCESS;
}
int cuStreamCreate(void** stream, unsigned flags) { return cuStreamCreateWithPriority(stream, flags, 0); }
int cuStreamDestroy_v2(void* handle) {
    CALLED(cuStreamDestroy);
    ON(handle);
    if (capturing(stream)) return forbidden(stream, name);
    // What is on it is done all the same.
    finish(stream->last);
    streams.erase(handle);
    delete stream;
    return SUCCESS;
}
int cuStreamSynchronize(void* handle) {
    CALLED(cuStreamSynchronize);
    ON(handle);
    if (capturing(stream)) return forbidden(stream, name);
    finish(stream->last);
    return failure;
}
int cuStreamIsCapturing(void* handle, int* status) {
    CALLED(cuStreamIsCapturing);
    ON(handle);
    *status = !capturing(stream) ? 0 : stream->capture->invalid ? 2 : 1;
    return SUCCESS;
}

int cuEventCreate(void** event, unsigned flags) {
    CALLED(cuEventCreate);
    CURRENT;
    *event = new Event{(flags & 2) == 0};
    events.insert(*event);
    return SUCCESS;
}
int cuEventDestroy_v2(void* handle) {
    CALLED(cuEventDestroy);
    CURRENT;
    if (!events.erase(handle)) return fails(INVALID_HANDLE, name, "there is no such event");
    delete static_cast<Event*>(handle);
    return SUCCESS;
}
int cuEventRecord(void* handle, void* on) {
    CALLED(cuEventRecord);
    ON(on);
    if (!events.count(handle)) return fails(INVALID_HANDLE, name, "there is no such event");
    Event* event = static_cast<Event*>(handle);
    event->work = nullptr, event->capture = stream->capture, event->tips = stream->tips;
    if (capturing(stream)) return stream->capture->invalid ? CAPTURE_INVALIDATED : SUCCESS;
    if (int error = put(stream, nullptr)) return error;
    event->work = stream->last;
    return SUCCESS;
}
int cuStreamWaitEvent(void* on, void* handle, unsigned flags) {
    CALLED(cuStreamWaitEvent);
    ON(on);
    if (!events.count(handle) || flags != 0) return fails(INVALID_HANDLE, name, "there is no such event");
    Event* event = static_cast<Event*>(handle);
    if (event->capture) {
        if (!event->capture->open) return fails(INVALID_VALUE, name, "the event was recorded in a capture that has ended");
        if (event->capture->invalid) return CAPTURE_INVALIDATED;
        if (capturing(stream) && stream->capture != event->capture)
            return fails(CAPTURE_ISOLATION, name, "the event is of another capture");
        stream->capture = event->capture;
        stream->tips.insert(event->tips.begin(), event->tips.end());
        return SUCCESS;
    }
    if (capturing(stream)) {
        if (!event->work) return SUCCESS;
        stream->capture->invalid = true;
        return fails(CAPTURE_ISOLATION, name, "the event was recorded outside of the capture");
    }
    if (!event->work) return SUCCESS;
    if (int error = put(stream, nullptr)) return error;
    stream->last->before.push_back(event->work);
    return SUCCESS;
}
int cuEventSynchronize(void* handle) {
    CALLED(cuEventSynchronize);
    CURRENT;
    if (!events.count(handle)) return fails(INVALID_HANDLE, name, "there is no such event");
    Event* event = static_cast<Event*>(handle);
    if (event->capture) return fails(CAPTURED_EVENT, name, "the event was captured");
    finish(event->work);
    return failure;
}
int cuEventQuery(void* handle) {
    CALLED(cuEventQuery);
    CURRENT;
    if (!events.count(handle)) return fails(INVALID_HANDLE, name, "there is no such event");
    Event* event = static_cast<Event*>(handle);
    if (event->capture) return fails(CAPTURED_EVENT, name, "the event was captured");
    return failure ? failure : !event->work || event->work->done ? SUCCESS : NOT_READY;
}
int cuEventElapsedTime(float* milliseconds, void* from, void* to) {
    CALLED(cuEventElapsedTime);
    CURRENT;
    if (!events.count(from) || !events.count(to)) return fails(INVALID_HANDLE, name, "there is no such event");
    Event *begin = static_cast<Event*>(from), *end = static_cast<Event*>(to);
    if (begin->capture || end->capture) return fails(CAPTURED_EVENT, name, "an event was captured");
    if (!begin->timed || !end->timed || !begin->work || !end->work)
        return fails(INVALID_HANDLE, name, "an event takes no times, or was not recorded");
    if (!begin->work->done || !end->work->done) return NOT_READY;
    *milliseconds = (end->work->at - begin->work->at) / 1e6f;
    return failure;
}

int cuMemAllocAsync(uint64_t* address, size_t bytes, void* handle) {
    CALLED(cuMemAllocAsync);
    ON(handle);
    if (capturing(stream)) return forbidden(stream, name);
    if (bytes == 0) return INVALID_VALUE;
    *address = reserve(bytes, false);
    if (*address == 0) return OUT_OF_MEMORY;
    return put(stream, [first = *address, bytes] {
        blocks[first].there = true;
        if (!works()) return;
        // Of large blocks only the ends: all of their pages would be taken.
        size_t share = bytes < (8 << 20) ? bytes : 1 << 20;
        memset(reinterpret_cast<void*>(first), POISON, share);
        memset(reinterpret_cast<void*>(first + bytes - share), POISON, share);
    });
}
int cuMemFreeAsync(uint64_t address, void* handle) {
    CALLED(cuMemFreeAsync);
    ON(handle);
    if (capturing(stream)) return forbidden(stream, name);
    if (!blocks.count(address)) return fails(INVALID_VALUE, name, "there is no such memory");
    return put(stream, [address] { give_back(address); });
}
int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
    CALLED(cuMemAlloc);
    CURRENT;
    if (bytes == 0) return INVALID_VALUE;
    *address = reserve(bytes, true);
    return *address ? SUCCESS : OUT_OF_MEMORY;
}
int cuMemAllocManaged(uint64_t* address, size_t bytes, unsigned) { return cuMemAlloc_v2(address, bytes); }
int cuMemFree_v2(uint64_t address) {
    CALLED(cuMemFree);
    CURRENT;
    if (!blocks.count(address)) return fails(INVALID_VALUE, name, "there is no such memory");
    // It waits for all that may use the memory.
    if (int error = cuCtxSynchronize()) return error;
    give_back(address);
    return SUCCESS;
}
int cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
    CALLED(cuMemHostAlloc);
    CURRENT;
    static size_t all;
    const char* most = getenv("VITX_SIMULATED_LOCKED");
    if (most && all + bytes > strtoull(most, nullptr, 10)) return OUT_OF_MEMORY;
    all += bytes;
    *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    locked[reinterpret_cast<uint64_t>(*memory)] = bytes;
    return SUCCESS;
}
int cuMemFreeHost(void* memory) {
    CALLED(cuMemFreeHost);
    CURRENT;
    auto found = locked.find(reinterpret_cast<uint64_t>(memory));
    if (found == locked.end()) return fails(INVALID_VALUE, name, "there is no such memory");
    // Whoever still copies from it ends the process.
    munmap(memory, found->second);
    locked.erase(found);
    return SUCCESS;
}
int cuMemsetD8Async(uint64_t address, unsigned char value, size_t bytes, void* handle) {
    CALLED(cuMemsetD8Async);
    ON(handle);
    return put(stream, [=] {
        if (!holding(address, bytes)) failure = fails(ILLEGAL_ADDRESS, "cuMemsetD8Async", "the memory is not there");
        // Pages of the system's are zeros, and those that were never touched stay untouched.
        else if (value == 0 && bytes >= (8 << 20)) {
            uint64_t from = (address + PAGE - 1) / PAGE * PAGE, to = (address + bytes) / PAGE * PAGE;
            memset(reinterpret_cast<void*>(address), 0, from - address);
            memset(reinterpret_cast<void*>(to), 0, address + bytes - to);
            madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
        } else memset(reinterpret_cast<void*>(address), value, bytes);
    });
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void* handle) {
    CALLED(cuMemcpyHtoDAsync);
    ON(handle);
    if (capturing(stream)) return forbidden(stream, name);
    // A driver may read and write what is not locked before the call returns or later: this one does it late.
    return put(stream, [=] {
        if (!holding(to, bytes)) failure = fails(ILLEGAL_ADDRESS, "cuMemcpyHtoDAsync", "the memory is not there");
        else memcpy(reinterpret_cast<void*>(to), from, bytes);
    });
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void* handle) {
    CALLED(cuMemcpyDtoHAsync);
    ON(handle);
    if (capturing(stream)) return forbidden(stream, name);
    return put(stream, [=] {
        if (!holding(from, bytes)) failure = fails(ILLEGAL_ADDRESS, "cuMemcpyDtoHAsync", "the memory is not there");
        else memcpy(to, reinterpret_cast<void*>(from), bytes);
    });
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void* handle) {
    CALLED(cuMemcpyDtoDAsync);
    ON(handle);
    return put(stream, [=] {
        if (!holding(from, bytes) || !holding(to, bytes))
            failure = fails(ILLEGAL_ADDRESS, "cuMemcpyDtoDAsync", "the memory is not there");
        else memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes);
    });
}

// The image is the library that nvrtc.cpp has made of the kernels, as long as its own tables say.
int cuModuleLoadData(void** module, const void* image) {
    CALLED(cuModuleLoadData);
    CURRENT;
    const unsigned char* bytes = static_cast<const unsigned char*>(image);
    if (memcmp(bytes, "\x7f" "ELF", 4) != 0) return INVALID_IMAGE;
    uint64_t sections;
    uint16_t size, count;
    memcpy(&sections, bytes + 40, 8), memcpy(&size, bytes + 58, 2), memcpy(&count, bytes + 60, 2);
    char path[] = "/tmp/vitx-simulated-XXXXXX";
    int file = mkstemp(path);
    if (file < 0) return fails(INVALID_IMAGE, name, "there is no temporary file");
    size_t length = sections + size_t(size) * count;
    bool whole = write(file, bytes, length) == ssize_t(length);
    close(file);
    void* library = whole ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
    unlink(path);
    if (!library) return fails(INVALID_IMAGE, name, dlerror());
    auto shared = reinterpret_cast<unsigned (*)()>(dlsym(library, "vitx_shared"));
    if (!shared) return fails(INVALID_IMAGE, name, "it is no library of kernels");
    *module = new Module{library, shared()};
    modules.insert(*module);
    return SUCCESS;
}
int cuModuleUnload(void* handle) {
    CALLED(cuModuleUnload);
    CURRENT;
    if (!modules.erase(handle)) return fails(INVALID_HANDLE, name, "there is no such module");
    for (auto at = functions.begin(); at != functions.end();) {
        Function* function = static_cast<Function*>(*at);
        if (function->module == handle) at = functions.erase(at), delete function;
        else ++at;
    }
    // Its code stays: what was launched may still want it.
    delete static_cast<Module*>(handle);
    return SUCCESS;
}
int cuModuleGetFunction(void** function, void* handle, const char* entry) {
    CALLED(cuModuleGetFunction);
    CURRENT;
    if (!modules.count(handle)) return fails(INVALID_HANDLE, name, "there is no such module");
    Module* module = static_cast<Module*>(handle);
    auto find = [&](const char* kind) { return dlsym(module->library, (std::string("vitx_") + kind + "_" + entry).c_str()); };
    auto letters = reinterpret_cast<const char* (*)()>(find("parameters"));
    auto sizes = reinterpret_cast<const unsigned* (*)()>(find("sizes"));
    auto launch = find("launch");
    if (!letters || !sizes || !launch) return NOT_FOUND;
    *function = new Function{module, entry, letters(), sizes(), reinterpret_cast<decltype(Function::launch)>(launch),
                             WITHOUT_ASKING - std::min(module->shared, WITHOUT_ASKING)};
    functions.insert(*function);
    return SUCCESS;
}
int cuFuncGetAttribute(int* value, int attribute, void* handle) {
    CALLED(cuFuncGetAttribute);
    CURRENT;
    if (!functions.count(handle)) return fails(INVALID_HANDLE, name, "there is no such function");
    // CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES
    if (attribute != 1) return INVALID_VALUE;
    *value = static_cast<Function*>(handle)->module->shared;
    return SUCCESS;
}
int cuFuncSetAttribute(void* handle, int attribute, int value) {
    CALLED(cuFuncSetAttribute);
    CURRENT;
    if (!functions.count(handle)) return fails(INVALID_HANDLE, name, "there is no such function");
    // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    if (attribute != 8 || value < 0 || unsigned(value) + static_cast<Function*>(handle)->module->shared > BLOCK_MEMORY) return INVALID_VALUE;
    static_cast<Function*>(handle)->dynamic = value;
    return SUCCESS;
}
int cuLaunchKernel(void* handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void* on, void** parameters, void** extra) {
    CALLED(cuLaunchKernel);
    ON(on);
    if (!functions.count(handle)) return fails(INVALID_HANDLE, name, "there is no such function");
    Function* function = static_cast<Function*>(handle);
    bool fits = gx && gy && gz && bx && by && bz && gy <= 65535 && gz <= 65535 && gx <= 0x7fffffffu && bx <= 1024 && by <= 1024 &&
                bz <= 64 && bx * by * bz <= 1024;
    if (!fits || extra) return fails(INVALID_VALUE, name, (function->name + ": no such grid or block").c_str());
    if (shared > function->dynamic) return fails(INVALID_VALUE, name, (function->name + ": more shared memory than it was given").c_str());
    // Arguments are read before the call returns.
    std::vector<std::vector<uint64_t>> kept;
    for (size_t at = 0; at < function->letters.size(); at++) {
        kept.emplace_back((function->sizes[at] + 7) / 8);
        memcpy(kept.back().data(), parameters[at], function->sizes[at]);
    }
    Function run = *function;
    return put(stream, [=]() mutable {
        std::vector<void*> pointers;
        for (size_t at = 0; at < kept.size(); at++) {
            pointers.push_back(kept[at].data());
            if (run.letters[at] == 'p' && kept[at][0] && !holding(kept[at][0], 1)) {
                failure = fails(ILLEGAL_ADDRESS, run.name.c_str(), "an argument's memory is not there");
                return;
            }
        }
        const unsigned grid[] = {gx, gy, gz}, block[] = {bx, by, bz};
            if (asked("kernel") || !works()) return;
        if (const char* wrong = run.launch(pointers.data(), grid, block, shared))
            failure = fails(LAUNCH_FAILED, run.name.c_str(), wrong);
    });
}

int cuStreamBeginCapture_v2(void* handle, int) {
    CALLED(cuStreamBeginCapture);
    ON(handle);
    if (capturing(stream)) return forbidden(stream, name);
    stream->capture = std::make_shared<Graph>(), stream->tips.clear(), stream->origin = true;
    return SUCCESS;
}
int cuStreamEndCapture(void* handle, void** graph) {
    Guard guard(mutex);
    const char* const name = "cuStreamEndCapture";
    ON(handle);
    *graph = nullptr;
    if (!capturing(stream)) return fails(CAPTURE_WRONG, name, "no capture has begun");
    if (!stream->origin) return fails(CAPTURE_WRONG, name, "the capture began on another stream");
    Capture capture = stream->capture;
    Tips reached = stream->tips;
    std::vector<size_t> stack(reached.begin(), reached.end());
    while (!stack.empty()) {
        size_t at = stack.back();
        stack.pop_back();
        for (size_t before : capture->nodes[at].before)
            if (reached.insert(before).second) stack.push_back(before);
    }
    bool joined = reached.size() == capture->nodes.size();
    for (void* other : streams) {
        Stream* one = static_cast<Stream*>(other);
        if (one->capture != capture) continue;
        for (size_t tip : one->tips) joined = joined && reached.count(tip);
        one->capture = nullptr, one->tips.clear(), one->origin = false;
    }
    capture->open = false;
    // Also a call that fails ends it.
    if (int error = asked(name)) return error;
    if (capture->invalid) return fails(CAPTURE_INVALIDATED, name, "a call before it has ended the capture");
    if (!joined) return fails(CAPTURE_UNJOINED, name, "work of another stream is not joined");
    if (meet(capture->nodes)) return fails(INVALID_VALUE, name, "two products may run at once in one workspace");
    *graph = new Capture(capture);
    graphs.insert(*graph);
    return SUCCESS;
}
int cuGraphInstantiateWithFlags(void** exec, void* graph, unsigned long long flags) {
    CALLED(cuGraphInstantiate);
    CURRENT;
    if (!graphs.count(graph)) return fails(INVALID_HANDLE, name, "there is no such graph");
    const auto& nodes = (*static_cast<Capture*>(graph))->nodes;
    bool alike = true;
    for (auto& node : nodes) alike = alike && node.priority == nodes[0].priority;
    // CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY. A driver says nothing where it is missing, and the priorities do nothing.
    if (flags & ~8ull || (!alike && flags != 8)) return fails(INVALID_VALUE, name, "priorities of streams that the graph would not have");
    *exec = new Exec{nodes};
    execs.insert(*exec);
    return SUCCESS;
}
int cuGraphUpload(void* exec, void* handle) {
    CALLED(cuGraphUpload);
    ON(handle);
    if (!execs.count(exec)) return fails(INVALID_HANDLE, name, "there is no such graph");
    if (capturing(stream)) return forbidden(stream, name);
    return SUCCESS;
}
int cuGraphLaunch(void* handle, void* on) {
    CALLED(cuGraphLaunch);
    ON(on);
    if (!execs.count(handle)) return fails(INVALID_HANDLE, name, "there is no such graph");
    if (capturing(stream)) return forbidden(stream, name);
    if (failure) return failure;
    Exec* exec = static_cast<Exec*>(handle);
    std::vector<Work> made;
    auto end = std::make_shared<Node>();
    for (auto& node : exec->nodes) {
        auto work = std::make_shared<Node>();
        work->work = node.work;
        for (size_t before : node.before) work->before.push_back(made[before]);
        if (stream->last) work->before.push_back(stream->last);
        if (exec->last) work->before.push_back(exec->last);
        made.push_back(work);
        end->before.push_back(work);
    }
    if (stream->last) end->before.push_back(stream->last);
    stream->last = exec->last = end;
    return SUCCESS;
}
int cuGraphExecDestroy(void* handle) {
    CALLED(cuGraphExecDestroy);
    CURRENT;
    if (!execs.erase(handle)) return fails(INVALID_HANDLE, name, "there is no such graph");
    delete static_cast<Exec*>(handle);
    return SUCCESS;
}
int cuGraphDestroy(void* handle) {
    CALLED(cuGraphDestroy);
    CURRENT;
    if (!graphs.erase(handle)) return fails(INVALID_HANDLE, name, "there is no such graph");
    delete static_cast<Capture*>(handle);
    return SUCCESS;
}

}  // extern "C"
