// What the simulated driver knows: handles, memory, and work that waits to be done. Included once, by driver.cpp.
#pragma once

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
