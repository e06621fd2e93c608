// A driver of CUDA for tests, where there is no device: memory is the host's, kernels are those of the emulator (nvrtc.cpp
// compiles them), and work is done as late as the driver's rules allow, in an order drawn from those that streams, events
// and graphs leave open. What a driver refuses is refused with its error: calls that a capture forbids, streams that it does
// not join, contexts that are not current, handles that are gone, launches that are too large, memory that is not there.
// Only what a driver of CUDA 12.0 exports is here. With VITX_SIMULATED_WORK=none kernels and products are checked and counted, but
// do nothing, and memory is zeros: for programs that are too large for the host.
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

// CUresult.
enum {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719,
    CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901, CAPTURE_UNJOINED = 904, CAPTURE_ISOLATION = 905,
    CAPTURED_EVENT = 907, CAPTURE_WRONG = 908,
};

constexpr size_t PAGE = 4096, ALIGNMENT = 256;
constexpr unsigned BLOCK_MEMORY = 227 << 10, WITHOUT_ASKING = 48 << 10;
// What memory holds that nobody has written: NaN as floats.
constexpr unsigned char POISON = 0xFF;

std::recursive_mutex mutex;
typedef std::lock_guard<std::recursive_mutex> Guard;

// Work, and what must be done before it.
struct Node {
    std::function<void()> work;
    std::vector<std::shared_ptr<Node>> before;
    bool done = false;
    // When it was done, in nanoseconds.
    int64_t at = 0;
};
typedef std::shared_ptr<Node> Work;

struct Graph;
// Nodes of a graph that is being captured, by their numbers.
typedef std::set<size_t> Tips;

struct Captured {
    std::function<void()> work;
    Tips before;
    int priority;
    // Memory that it has for itself while it runs, or 0.
    uint64_t own;
};
struct Graph {
    std::vector<Captured> nodes;
    bool open = true, invalid = false;
};
typedef std::shared_ptr<Graph> Capture;

struct Stream {
    int priority;
    Work last;
    // While it takes part in a capture: of which graph, and what its next call comes after.
    Capture capture;
    Tips tips;
    bool origin = false;
};
struct Event {
    bool timed;
    Work work;
    // Of the last record, where that was captured.
    Capture capture;
    Tips tips;
};
struct Exec {
    std::vector<Captured> nodes;
    // A graph does not run beside itself.
    Work last;
};
struct Module {
    void* library;
    // Bytes that its kernels share beside what they are given.
    unsigned shared;
};
struct Function {
    Module* module;
    std::string name, letters;
    const unsigned* sizes;
    const char* (*launch)(void**, const unsigned*, const unsigned*, unsigned);
    unsigned dynamic;
};
struct Block {
    size_t bytes;
    // Its mapping, with a page behind it that nobody may touch.
    void* mapping;
    size_t mapped;
    // What was ordered to be allocated has been, and is not freed yet.
    bool there;
};

std::set<void*> streams, events, graphs, execs, modules, functions;
std::map<uint64_t, Block> blocks;
// Memory of the host that is locked, by its address: its bytes.
std::map<uint64_t, size_t> locked;
size_t taken;
int failure;  // Sticky, as an error of a kernel is.
// A process is on one device, and so is all that is here.
char contexts[16];
thread_local void* current;
uint64_t drawn = 0x9E3779B97F4A7C15;
// Calls of each kind that ran, for `vitx_simulated`.
std::map<std::string, uint64_t> counts;

uint64_t draw(uint64_t below) {
    drawn ^= drawn << 13, drawn ^= drawn >> 7, drawn ^= drawn << 17;
    return drawn % below;
}

int fails(int code, const char* call, const char* why) {
    fprintf(stderr, "simulated driver: %s: %s\n", call, why);
    return code;
}

int64_t now() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool works() {
    static const bool all = [] {
        const char* text = getenv("VITX_SIMULATED_WORK");
        return !text || strcmp(text, "none") != 0;
    }();
    return all;
}

size_t all_memory() {
    const char* text = getenv("VITX_SIMULATED_BYTES");
    return text ? strtoull(text, nullptr, 10) : size_t(80) << 30;
}

// Of VITX_SIMULATED_DEVICES (1 where that is not set, at most 16), those that CUDA_VISIBLE_DEVICES names, by number or UUID: those
// before the first that is not there, or is named twice, which leaves none.
const std::vector<int>& visible() {
    static const std::vector<int> all = [] {
        const char *many = getenv("VITX_SIMULATED_DEVICES"), *named = getenv("CUDA_VISIBLE_DEVICES");
        int count = std::min(many ? atoi(many) : 1, 16);
        std::vector<int> found;
        for (int at = 0; !named && at < count; at++) found.push_back(at);
        std::string text = named ? std::string(named) + "," : "";
        for (size_t end; (end = text.find(',')) != std::string::npos; text.erase(0, end + 1)) {
            std::string one = text.substr(0, end);
            // A part of an UUID is enough where no other begins with it.
            int device = -1, others = 0;
            for (int at = 0; at < count; at++) {
                char uuid[48];
                snprintf(uuid, sizeof uuid, "GPU-51515151-5151-5151-5151-5151515151%02x", 0x51 + at);
                if (one == std::to_string(at) || (one.size() > 4 && std::string(uuid).rfind(one, 0) == 0)) device = at, others++;
            }
            if (others != 1) break;
            if (std::count(found.begin(), found.end(), device)) return std::vector<int>();
            found.push_back(device);
        }
        return found;
    }();
    return all;
}

// The block that holds these bytes, if it is there.
Block* holding(uint64_t address, size_t bytes) {
    auto after = blocks.upper_bound(address);
    if (after == blocks.begin()) return nullptr;
    auto& [first, block] = *std::prev(after);
    return block.there && address + bytes <= first + block.bytes ? &block : nullptr;
}

uint64_t reserve(size_t bytes, bool there) {
    size_t room = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, mapped = (room + PAGE - 1) / PAGE * PAGE + PAGE;
    if (taken + room > all_memory()) return 0;
    void* mapping = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) return 0;
    char* end = static_cast<char*>(mapping) + mapped - PAGE;
    mprotect(end, PAGE, PROT_NONE);
    uint64_t address = reinterpret_cast<uint64_t>(end - room);
    blocks[address] = Block{bytes, mapping, mapped, there};
    taken += room;
    return address;
}

void give_back(uint64_t address) {
    Block block = blocks[address];
    taken -= (block.bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    munmap(block.mapping, block.mapped);
    blocks.erase(address);
}

// Runs what a node needs, and the node, in an order that is drawn from those that are allowed.
void finish(const Work& target) {
    if (!target || target->done) return;
    std::vector<Work> wanted, stack{target};
    std::set<Node*> seen{target.get()};
    while (!stack.empty()) {
        Work node = stack.back();
        stack.pop_back();
        wanted.push_back(node);
        for (auto& before : node->before)
            if (!before->done && seen.insert(before.get()).second) stack.push_back(before);
    }
    std::map<Node*, size_t> missing;
    std::map<Node*, std::vector<Work>> after;
    std::vector<Work> ready;
    for (auto& node : wanted) {
        size_t count = 0;
        for (auto& before : node->before)
            if (!before->done) count++, after[before.get()].push_back(node);
        missing[node.get()] = count;
        if (count == 0) ready.push_back(node);
    }
    while (!ready.empty()) {
        size_t at = draw(ready.size());
        Work node = ready[at];
        ready[at] = ready.back();
        ready.pop_back();
        if (failure == SUCCESS && node->work) node->work();
        node->done = true, node->at = now();
        node->work = nullptr, node->before.clear();
        for (auto& next : after[node.get()])
            if (--missing[next.get()] == 0) ready.push_back(next);
    }
}

bool capturing(const Stream* stream) { return stream->capture != nullptr; }

// Puts work on a stream, or into the graph that it captures.
int put(Stream* stream, std::function<void()> work, uint64_t own = 0) {
    if (failure) return failure;
    if (capturing(stream)) {
        if (stream->capture->invalid) return CAPTURE_INVALIDATED;
        stream->capture->nodes.push_back(Captured{std::move(work), stream->tips, stream->priority, own});
        stream->tips = {stream->capture->nodes.size() - 1};
        return SUCCESS;
    }
    auto node = std::make_shared<Node>();
    node->work = std::move(work);
    if (stream->last) node->before.push_back(stream->last);
    stream->last = node;
    return SUCCESS;
}

// The stream of a handle. The streams that need none (0, 1 and 2) wait for all others, and none of ours is one of them.
int of(void* handle, const char* call, Stream*& stream) {
    if (!current) return fails(INVALID_CONTEXT, call, "no context is current on this thread");
    if (!streams.count(handle)) return fails(INVALID_HANDLE, call, "there is no such stream");
    stream = static_cast<Stream*>(handle);
    return SUCCESS;
}

// A call that waits, or asks what has been done, which a capture forbids of what takes part in it.
int forbidden(Stream* stream, const char* call) {
    stream->capture->invalid = true;
    return fails(CAPTURE_UNSUPPORTED, call, "the stream is being captured");
}

// Two nodes of a graph that may run at once, though both want the same memory for themselves.
bool meet(const std::vector<Captured>& nodes) {
    std::vector<std::set<size_t>> owners(nodes.size());
    for (size_t at = 0; at < nodes.size(); at++) {
        // Those before it that have memory of their own.
        for (size_t before : nodes[at].before) {
            owners[at].insert(owners[before].begin(), owners[before].end());
            if (nodes[before].own) owners[at].insert(before);
        }
        for (size_t other = 0; nodes[at].own && other < at; other++)
            if (nodes[other].own == nodes[at].own && !owners[at].count(other)) return true;
    }
    return false;
}

// What a call is to fail with, if it is the one that is asked for: VITX_SIMULATED_FAILURE=CALL:N:ERROR is the Nth call of this name in a
// process, counted from 1, or, as `kernel`, the Nth kernel that runs. Errors from 700 on stay, as a driver's do that are of the context.
int asked(const char* call) {
    static const std::string text = [] {
        const char* value = getenv("VITX_SIMULATED_FAILURE");
        return std::string(value ? value : "");
    }();
    static uint64_t calls = 0, wanted = 0;
    static int error = 0;
    size_t colon = text.find(':');
    if (colon == std::string::npos || text.compare(0, colon, call) != 0) return SUCCESS;
    if (calls++ == 0) wanted = strtoull(&text[colon + 1], nullptr, 10), error = atoi(&text[text.rfind(':') + 1]);
    if (calls != wanted) return SUCCESS;
    if (error >= 700 && error < 900) failure = error;
    return fails(error, call, "it was asked to fail");
}

#define CALLED(call)                \
    Guard guard(mutex);             \
    const char* const name = #call; \
    if (int error = asked(name)) return error
#define ON(handle)                                       \
    Stream* stream;                                      \
    if (int error = of(handle, name, stream)) return error
#define CURRENT \
    if (!current) return fails(INVALID_CONTEXT, name, "no context is current on this thread")

}  // namespace

extern "C" {

// For cublaslt.cpp: work of its own on a stream, and whether memory is there.
int vitx_put(void* handle, void (*work)(void*), void* data, void (*drop)(void*), uint64_t own) {
    CALLED(cublasLtMatmul);
    ON(handle);
    std::shared_ptr<void> kept(data, drop);
    return put(stream, [work, kept] { counts["product"]++, work(kept.get()); }, own);
}
int vitx_works() { return works(); }
int vitx_there(uint64_t address, size_t bytes) {
    Guard guard(mutex);
    return holding(address, bytes) != nullptr;
}
void vitx_fail(const char* why) { failure = fails(ILLEGAL_ADDRESS, "a product", why); }
// How often something was done: `kernel`, `product`, `graph`, `captured`.
uint64_t vitx_simulated(const char* what) {
    Guard guard(mutex);
    return counts[what];
}

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
        counts["kernel"]++;
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
    counts["captured"] += capture->nodes.size();
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
    counts["graph"]++;
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
