// Races of a kernel: two threads touch the same bytes, one of them writing, and nothing orders the two. Included with
// `VITX_RACES`, when the compiler calls `__tsan_read4` and the like for every access (`-fsanitize=thread`); they are defined
// here, so no other library is needed, and fibres are no obstacle.
//
// Threads of a block are ordered by `__syncthreads`, those of a warp by `__syncwarp` too. Blocks are not ordered, but what
// they share is each block's own. So for each byte of the block's and the device's memory it is enough to know the last
// write, the last atomic access of two threads, and the last reads of threads that are unlike each other.
#pragma once

namespace emulator {

struct Access {
    // One number for each block's time between two barriers, over all launches: 0 for no access.
    unsigned epoch;
    // Barriers of the thread's warp before it.
    unsigned warp_barriers;
    // Where the instruction after it lies in the library.
    unsigned place;
    unsigned block;
    unsigned short thread;
};

struct Cell {
    Access write, atomics[2];
    // The last read, and the last ones by another lane, another warp and another block than the one after them.
    Access read, by_lane, by_warp, by_block;
};

// Memory that lies together; `1 << shift` bytes are a cell, of which less is only made where less is touched.
struct Page {
    size_t number;
    unsigned shift;
    Cell* cells;
    Page* next;
};

struct Race {
    Access before, after;
    // 0 for a read, 1 for a write, 2 for an atomic access.
    unsigned before_kind, after_kind;
    // 0 for dynamic and 1 for static shared memory, with the byte in it; 2 for the device's, with the address.
    unsigned memory;
    unsigned long long at;
};

constexpr unsigned PAGE_BITS = 12, BUCKETS = 1 << 12, MOST_RACES = 8;
enum Kind { READ, WRITE, ATOMIC };

OWN Page** pages;
OWN Page* last_page;
OWN unsigned next_epoch = 1, launch_epoch, block_epoch, block_number;
OWN Race* races;
OWN unsigned race_count;

UNSEEN static void begin_races() {
    if (!pages) {
        pages = static_cast<Page**>(calloc(BUCKETS, sizeof(Page*)));
        races = static_cast<Race*>(calloc(MOST_RACES, sizeof(Race)));
    }
    launch_epoch = block_epoch = next_epoch;
    block_number = race_count = 0;
}

UNSEEN static void begin_block() {
    // The block before took an epoch for each of its barriers, and one more.
    if (block_number++ > 0) block_epoch += fibres[0].block_meetings + 1;
}

UNSEEN static void end_races() {
    next_epoch = block_epoch + fibres[0].block_meetings + 1;
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (Page* page = pages[i]; page;) {
            Page* next = page->next;
            free(page->cells);
            free(page);
            page = next;
        }
        pages[i] = nullptr;
    }
    last_page = nullptr;
}

UNSEEN static Page& page_of(size_t number) {
    if (last_page && last_page->number == number) return *last_page;
    Page*& bucket = pages[number % BUCKETS];
    Page* page = bucket;
    while (page && page->number != number) page = page->next;
    if (!page) {
        page = static_cast<Page*>(malloc(sizeof(Page)));
        *page = {number, 4, static_cast<Cell*>(calloc(1 << (PAGE_BITS - 4), sizeof(Cell))), bucket};
        bucket = page;
    }
    last_page = page;
    return *page;
}

// Makes cells of a page smaller: what is known of a larger one holds for each part of it.
UNSEEN static void divide(Page& page, unsigned shift) {
    unsigned parts = 1u << (page.shift - shift), count = 1u << (PAGE_BITS - shift);
    Cell* cells = static_cast<Cell*>(malloc(count * sizeof(Cell)));
    for (unsigned i = 0; i < count; i++) cells[i] = page.cells[i / parts];
    free(page.cells);
    page.cells = cells;
    page.shift = shift;
}

UNSEEN static bool unordered(const Access& before, const Access& now, bool of_block) {
    if (before.epoch < launch_epoch) return false;
    if (before.epoch < block_epoch) return !of_block;
    if (before.epoch < now.epoch || before.thread == now.thread) return false;
    return before.thread / WARP != now.thread / WARP || before.warp_barriers == now.warp_barriers;
}

UNSEEN static void report(const Access& before, Kind before_kind, const Access& now, Kind kind, size_t at) {
    for (unsigned i = 0; i < race_count; i++) {
        unsigned one = races[i].before.place, other = races[i].after.place;
        if ((one == before.place && other == now.place) || (one == now.place && other == before.place)) return;
    }
    if (race_count == MOST_RACES) return;
    size_t dynamic = reinterpret_cast<size_t>(shared), fixed = reinterpret_cast<size_t>(__bss_start);
    unsigned memory = at - dynamic < MOST_SHARED ? 0 : at - fixed < static_cast<size_t>(_end - __bss_start) ? 1 : 2;
    races[race_count++] = {before, now, before_kind, kind, memory, at - (memory == 0 ? dynamic : memory == 1 ? fixed : 0)};
}

// Keeps of the reads those that are unlike each other, and the last one.
UNSEEN static void keep_read(Cell& cell, const Access& now) {
    const Access& last = cell.read;
    if (last.epoch >= launch_epoch) {
        if (last.epoch < block_epoch) cell.by_block = last;
        else if (last.epoch == now.epoch && last.thread / WARP != now.thread / WARP) cell.by_warp = last;
        else if (last.epoch == now.epoch && last.thread != now.thread && last.warp_barriers == now.warp_barriers) cell.by_lane = last;
    }
    cell.read = now;
}

UNSEEN static void touch(Cell& cell, const Access& now, Kind kind, size_t at, bool of_block) {
    if (unordered(cell.write, now, of_block)) report(cell.write, WRITE, now, kind, at);
    if (kind != ATOMIC) {
        for (const Access& before : cell.atomics) {
            if (unordered(before, now, of_block)) report(before, ATOMIC, now, kind, at);
        }
    }
    if (kind != READ) {
        const Access* reads[] = {&cell.read, &cell.by_lane, &cell.by_warp, &cell.by_block};
        for (const Access* before : reads) {
            if (unordered(*before, now, of_block)) report(*before, READ, now, kind, at);
        }
    }
    if (kind == READ) {
        keep_read(cell, now);
    } else if (kind == WRITE) {
        cell.write = now;
    } else {
        if (cell.atomics[0].thread != now.thread || cell.atomics[0].block != now.block) cell.atomics[1] = cell.atomics[0];
        cell.atomics[0] = now;
    }
}

UNSEEN static void note(const void* pointer, size_t bytes, Kind kind, const void* return_address) {
    size_t at = reinterpret_cast<size_t>(pointer);
    // A thread's own memory, which nobody else touches.
    if (!current || at - reinterpret_cast<size_t>(current->stack) < STACK) return;
    bool fixed = at - reinterpret_cast<size_t>(__bss_start) < static_cast<size_t>(_end - __bss_start);
    // Constants, and the emulator's variables.
    if (!fixed && at - reinterpret_cast<size_t>(__ehdr_start) < static_cast<size_t>(_end - __ehdr_start)) return;
    bool of_block = fixed || at - reinterpret_cast<size_t>(shared) < MOST_SHARED;
    unsigned place = static_cast<unsigned>(static_cast<const unsigned char*>(return_address) - __ehdr_start);
    unsigned epoch = static_cast<unsigned>(block_epoch + current->block_meetings);
    Access now = {epoch, current->warp_barriers, place, block_number - 1, static_cast<unsigned short>(current->id)};
    while (bytes > 0) {
        Page& page = page_of(at >> PAGE_BITS);
        size_t offset = at & ((1u << PAGE_BITS) - 1);
        unsigned shift = page.shift;
        while (shift > 0 && ((offset | bytes) & ((1u << shift) - 1))) shift--;
        if (shift < page.shift) divide(page, shift);
        touch(page.cells[offset >> shift], now, kind, at, of_block);
        at += 1u << shift;
        bytes -= 1u << shift;
    }
}

}  // namespace emulator

// The races of the last launch.
extern "C" UNSEEN unsigned vitx_races(const emulator::Race** to) {
    *to = emulator::races;
    return emulator::race_count;
}

UNSEEN static void accessed(const void* at, unsigned bytes, bool written, const void* place) {
    emulator::note(at, bytes, written ? emulator::WRITE : emulator::READ, place);
}
UNSEEN static void accessed_atomically(const void* at, unsigned bytes, const void* place) {
    emulator::note(at, bytes, emulator::ATOMIC, place);
}

// What the compiler calls.
#define SEEN extern "C" __attribute__((visibility("hidden"), no_sanitize("thread"))) void
#define SEEN_ACCESS(name, bytes, kind) SEEN __tsan_##name(void* at) { emulator::note(at, bytes, kind, PLACE); }
#define SEEN_ACCESSES(bytes)                                   \
    SEEN_ACCESS(read##bytes, bytes, emulator::READ)            \
    SEEN_ACCESS(write##bytes, bytes, emulator::WRITE)          \
    SEEN_ACCESS(unaligned_read##bytes, bytes, emulator::READ)  \
    SEEN_ACCESS(unaligned_write##bytes, bytes, emulator::WRITE)
SEEN_ACCESSES(1)
SEEN_ACCESSES(2)
SEEN_ACCESSES(4)
SEEN_ACCESSES(8)
SEEN_ACCESSES(16)
SEEN __tsan_read_range(void* at, unsigned long bytes) { emulator::note(at, bytes, emulator::READ, PLACE); }
SEEN __tsan_write_range(void* at, unsigned long bytes) { emulator::note(at, bytes, emulator::WRITE, PLACE); }
SEEN __tsan_func_entry(void*) {}
SEEN __tsan_func_exit() {}
SEEN __tsan_init() {}
