// The machine behind cuda_on_cpu.h: device memory, the blocks and threads of a launch, and the checks during a launch.
//
// Modules are compiled with -fsanitize=thread, which calls __tsan_read4 and the like before each access, and with
// -fsanitize=alignment and others, which call __ubsan_handle_... This file defines these functions.
#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <vector>

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#define CUDA_ON_CPU_MACHINE
#include "cuda_on_cpu.h"
#undef memcpy
#undef memset

extern "C" {
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
extern const int warpSize = 32;
char* cuda_on_cpu_dynamic_shared;
}

namespace {

// ---- errors: the first error ends the launch

char message[1024];
jmp_buf launch_over;

[[noreturn]] void fail(const char* format, ...) {
    const int length = snprintf(message, sizeof(message), "thread (%u, %u, %u) of block (%u, %u, %u): ", threadIdx.x,
                                threadIdx.y, threadIdx.z, blockIdx.x, blockIdx.y, blockIdx.z);
    va_list values;
    va_start(values, format);
    vsnprintf(message + length, sizeof(message) - length, format, values);
    va_end(values);
    _longjmp(launch_over, 1);
}

// ---- device memory: slots of one range of addresses. No two allocations share a slot, so an address gives its
// allocation, or a near one, in one step

struct Slot { uintptr_t begin, end; int device; };

constexpr uintptr_t SLOT = 1 << 20, SLOTS = 1 << 17, PAGE = 4096;
constexpr uintptr_t MARGIN = SLOTS / 8;  // unused slots at both ends, so that near addresses are in the range, too
constexpr uintptr_t ALIGNMENT = 512;  // that of CuPy and no more: an allocation begins at an odd multiple of it
Slot slots[SLOTS];
uintptr_t arena, lowest_free = MARGIN;
int current_device;

void* reserve(size_t bytes) {
    void* range = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return range == MAP_FAILED ? nullptr : range;
}

unsigned char next_poison() {
    static const unsigned char patterns[] = {0xA5, 0xFF, 0x5B, 0x7F, 0xC3};
    static unsigned next;
    return patterns[next++ % sizeof(patterns)];
}

uintptr_t allocate(size_t bytes, int device, uintptr_t offset) {
    if (!arena) {
        void* range = reserve(SLOT * (SLOTS + 1));
        if (!range) return 0;
        arena = ((uintptr_t)range + SLOT - 1) / SLOT * SLOT;
    }
    const uintptr_t count = (offset + bytes + ALIGNMENT) / SLOT + 1;  // with a gap before the next
    for (uintptr_t at = lowest_free, free = 0; at < SLOTS - MARGIN; ++at) {
        free = slots[at].end ? 0 : free + 1;
        if (free < count) continue;
        const uintptr_t first = at + 1 - count, begin = arena + first * SLOT + offset;
        std::fill_n(slots + first, count, Slot{begin, begin + bytes, device});
        if (first == lowest_free) lowest_free = at + 1;
        memset((void*)begin, next_poison(), bytes);
        return begin;
    }
    return 0;
}

void release(uintptr_t begin) {
    const uintptr_t first = (begin - arena) / SLOT, bytes = slots[first].end - begin;
    if (bytes > SLOT) madvise((void*)(begin / PAGE * PAGE), bytes, MADV_DONTNEED);
    for (uintptr_t at = first; slots[at].begin == begin; ++at) slots[at] = {};
    lowest_free = std::min(lowest_free, first);
}

inline void check(const volatile void* address, size_t bytes, const char* access) {
    const uintptr_t begin = (uintptr_t)address, from = begin - arena;
    if (begin < SLOT) fail("%s of %zu bytes at %zu, as of None or an empty array", access, bytes, (size_t)begin);
    if (from >= SLOT * SLOTS) return;  // a thread's stack or static shared memory; a wild pointer ends the process
    const Slot& slot = slots[from / SLOT];
    if (begin >= slot.begin && begin + bytes <= slot.end && slot.device == current_device) return;
    if (!slot.end) fail("%s of %zu bytes where no memory is allocated", access, bytes);
    if (slot.device != current_device)
        fail("%s of %zu bytes on device %d by a kernel on device %d", access, bytes, slot.device, current_device);
    fail("%s of %zu bytes at byte %lld of an allocation of %zu", access, bytes, (long long)(begin - slot.begin),
         (size_t)(slot.end - slot.begin));
}

// ---- the order of threads and blocks

enum Order { ASCENDING, DESCENDING, SHUFFLED };

Order order;
uint32_t dice;

unsigned roll(unsigned sides) {
    dice ^= dice << 13;
    dice ^= dice >> 17;
    dice ^= dice << 5;
    return dice % sides;
}

void arrange(std::vector<unsigned>& numbers) {
    std::iota(numbers.begin(), numbers.end(), 0u);
    if (order == DESCENDING) std::reverse(numbers.begin(), numbers.end());
    if (order == SHUFFLED)
        for (unsigned left = numbers.size(); left > 1; --left) std::swap(numbers[left - 1], numbers[roll(left)]);
}

// ---- threads: a fiber runs threads one after another. If a thread has to wait, another fiber runs the rest

enum State { NEW, READY, AT_BLOCK, AT_WARP, DONE };

struct Fiber {
    jmp_buf point;
    char* stack;
    bool born;
};

struct Thread {
    uint3 index;
    State state;
    Fiber* fiber;
    int line, vote;
    unsigned mask;
};

constexpr size_t STACK = 256 << 10;
constexpr unsigned TURN = 32;  // a shuffled thread yields after at most so many accesses

void (*run)(void* const*);
void* const* arguments;
jmp_buf scheduler;
std::vector<Fiber*> fibers, idle;
Thread threads[1024];
std::vector<unsigned> thread_order, block_order;
size_t turn;  // the position in thread_order of the next thread
unsigned current;
uint64_t patience;  // accesses and barriers left until a launch fails as endless
uint64_t left_of_turn = UINT64_MAX;  // accesses left until the thread yields: never outside of a launch
bool vote;

void enter(unsigned thread) {
    current = thread;
    threadIdx = threads[thread].index;
}

void leave() {
    if (!_setjmp(threads[current].fiber->point)) _longjmp(scheduler, 1);
}

[[noreturn]] void live() {
    for (;;) {
        Fiber* self = threads[current].fiber;
        threads[current].state = READY;
        run(arguments);
        threads[current].state = DONE;
        if (turn < thread_order.size() && threads[thread_order[turn]].state == NEW) {
            enter(thread_order[turn++]);
            threads[current].fiber = self;
        } else {
            idle.push_back(self);
            leave();
        }
    }
}

void resume(unsigned thread) {
    enter(thread);
    Fiber* fiber = threads[thread].fiber;
    if (_setjmp(scheduler)) return;
    if (fiber->born) _longjmp(fiber->point, 1);  // without the system calls of swapcontext
    fiber->born = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber->stack;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, live, 0);
    setcontext(&context);
}

Fiber* new_fiber() {
    void* stack = reserve(STACK);
    if (!stack) fail("no memory for a stack");
    mprotect(stack, PAGE, PROT_NONE);
    fibers.push_back(new Fiber{{}, (char*)stack, false});
    return fibers.back();
}

void start(unsigned thread) {
    if (idle.empty()) idle.push_back(new_fiber());
    threads[thread].fiber = idle.back();
    idle.pop_back();
    resume(thread);
}

void spend(uint64_t amount) {
    if (patience <= amount) fail("does not end");
    patience -= amount;
}

// Run before each access. A shuffled thread may yield here, so that others see its writes one by one.
inline void step() {
    if (--left_of_turn) return;
    const bool stops = order == SHUFFLED;
    spend(stops ? TURN : patience);
    left_of_turn = 1 + roll(TURN);
    if (stops) leave();
}

inline void access(const volatile void* address, size_t bytes, const char* what) {
    step();
    check(address, bytes, what);
}

void wait(State state, int line, int its_vote, unsigned mask) {
    spend(1);
    Thread& self = threads[current];
    self.state = state;
    self.line = line;
    self.vote = its_vote;
    self.mask = mask;
    leave();
}

// Release each warp in which every thread of the mask waits. Return true if there is one.
bool release_warps() {
    bool released = false;
    const unsigned count = thread_order.size();
    for (unsigned thread = 0; thread < count; ++thread) {
        const Thread self = threads[thread];
        if (self.state != AT_WARP) continue;
        if (!(self.mask >> thread % 32 & 1)) {
            enter(thread);
            fail("is not in the mask of its __syncwarp on line %d", self.line);
        }
        const unsigned first = thread / 32 * 32, end = std::min(first + 32, count);
        bool complete = true;
        for (unsigned other = first; other < end; ++other) {
            const Thread& its = threads[other];
            if (self.mask >> other % 32 & 1 && its.state != DONE)
                complete &= its.state == AT_WARP && its.mask == self.mask && its.line == self.line;
        }
        for (unsigned other = first; complete && other < end; ++other)
            if (self.mask >> other % 32 & 1 && threads[other].state == AT_WARP) threads[other].state = READY;
        released |= complete;
    }
    return released;
}

// Release the block, in which every thread waits at one barrier.
void release_block() {
    const Thread* first = nullptr;
    vote = false;
    for (unsigned thread = 0; thread < thread_order.size(); ++thread) {
        Thread& self = threads[thread];
        if (self.state == DONE) continue;
        enter(thread);
        if (self.state == AT_WARP) fail("waits in vain at the __syncwarp on line %d", self.line);
        if (!first) first = &self;
        if (self.line != first->line)
            fail("waits at the barrier on line %d, and thread %d of its block at the one on line %d", self.line,
                 (int)(first - threads), first->line);
        vote |= self.vote;
        self.state = READY;
    }
}

void run_block() {
    Thread* const end = threads + thread_order.size();
    std::for_each(threads, end, [](Thread& thread) { thread.state = NEW; });
    for (;;) {
        arrange(thread_order);
        for (turn = 0; turn < thread_order.size();) {
            const unsigned thread = thread_order[turn++];
            if (threads[thread].state == NEW)
                start(thread);
            else if (threads[thread].state == READY)
                resume(thread);
        }
        if (std::any_of(threads, end, [](const Thread& thread) { return thread.state == READY; })) continue;
        if (std::all_of(threads, end, [](const Thread& thread) { return thread.state == DONE; })) return;
        if (!release_warps()) release_block();
    }
}

}  // namespace

extern "C" {

// ---- functions for kernels

int cuda_on_cpu_sync_block(int line, int its_vote) {
    wait(AT_BLOCK, line, its_vote, 0);
    return vote;
}

void cuda_on_cpu_sync_warp(int line, unsigned mask) { wait(AT_WARP, line, 0, mask); }

void cuda_on_cpu_atomic(void* address, unsigned long bytes) {
    access(address, bytes, "write");
}

void* cuda_on_cpu_memcpy(void* to, const void* from, unsigned long bytes) {
    access(from, bytes, "read");
    access(to, bytes, "write");
    return memcpy(to, from, bytes);
}

void* cuda_on_cpu_memset(void* to, int value, unsigned long bytes) {
    access(to, bytes, "write");
    return memset(to, value, bytes);
}

#define ACCESSES(BYTES) \
    void __tsan_read##BYTES(const volatile void* address) { access(address, BYTES, "read"); } \
    void __tsan_write##BYTES(volatile void* address) { access(address, BYTES, "write"); } \
    void __tsan_unaligned_read##BYTES(const volatile void* address) { access(address, BYTES, "read"); } \
    void __tsan_unaligned_write##BYTES(volatile void* address) { access(address, BYTES, "write"); }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)
void __tsan_read_range(const volatile void* address, size_t bytes) { access(address, bytes, "read"); }
void __tsan_write_range(volatile void* address, size_t bytes) { access(address, bytes, "write"); }
void __tsan_init() {}

struct Place { const char* file; unsigned line, column; };
struct Type { short kind, info; char name[1]; };

void __ubsan_handle_type_mismatch_v1(const void* data, uintptr_t address) {
    struct Mismatch { Place place; const Type* type; unsigned char log_alignment, kind; };
    const Mismatch& found = *(const Mismatch*)data;
    if (!address) fail("%s:%u: access through a null pointer", found.place.file, found.place.line);
    fail("%s:%u: misaligned access to %s at 0x%llx, which is no multiple of %u", found.place.file, found.place.line,
         found.type->name, (unsigned long long)address, 1u << found.log_alignment);
}

#define UNDEFINED(NAME, WHAT) \
    void __ubsan_handle_##NAME(const Place* place) { fail("%s:%u: " WHAT, place->file, place->line); }
UNDEFINED(out_of_bounds, "index out of bounds")
UNDEFINED(shift_out_of_bounds, "shift by more bits than there are")
UNDEFINED(add_overflow, "signed addition overflows")
UNDEFINED(sub_overflow, "signed subtraction overflows")
UNDEFINED(mul_overflow, "signed multiplication overflows")
UNDEFINED(negate_overflow, "signed negation overflows")
UNDEFINED(divrem_overflow, "division by zero, or overflow")
UNDEFINED(load_invalid_value, "neither true nor false")

// ---- functions for Python

uintptr_t cuda_on_cpu_allocate(size_t bytes, int device) { return allocate(bytes, device, ALIGNMENT); }

void cuda_on_cpu_release(uintptr_t begin) { release(begin); }

// Run a kernel. Return null, or the message of the error.
const char* cuda_on_cpu_launch(void (*kernel)(void* const*), void* const* its_arguments, const unsigned* sizes,
                               size_t dynamic_shared, char* shared_begin, char* shared_end, int device, int its_order,
                               unsigned seed, uint64_t its_patience) {
    gridDim = {sizes[0], sizes[1], sizes[2]};
    blockDim = {sizes[3], sizes[4], sizes[5]};
    run = kernel;
    arguments = its_arguments;
    current_device = device;
    order = Order(its_order);
    dice = seed * 2654435761u | 1;
    patience = its_patience;
    left_of_turn = order == SHUFFLED ? 1 : patience;
    thread_order.resize(blockDim.x * blockDim.y * blockDim.z);
    for (unsigned thread = 0, x = blockDim.x, y = blockDim.y; thread < thread_order.size(); ++thread)
        threads[thread].index = {thread % x, thread / x % y, thread / x / y};
    block_order.resize((size_t)gridDim.x * gridDim.y * gridDim.z);
    arrange(block_order);
    // Aligned as uint4 is, and no more.
    const uintptr_t dynamic = dynamic_shared ? allocate(dynamic_shared, device, ALIGNMENT + 16) : 0;
    cuda_on_cpu_dynamic_shared = (char*)dynamic;
    const bool failed = _setjmp(launch_over);
    if (failed) {
        for (Fiber* fiber : fibers) fiber->born = false;  // they stopped within a kernel
        idle = fibers;
    } else {
        for (unsigned block : block_order) {
            blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y};
            const unsigned char poison = next_poison();
            memset(shared_begin, poison, shared_end - shared_begin);
            memset((void*)dynamic, poison, dynamic_shared);
            run_block();
        }
    }
    left_of_turn = UINT64_MAX;
    if (dynamic) release(dynamic);
    return failed ? message : nullptr;
}
}
