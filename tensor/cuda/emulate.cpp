#ifdef ACINUS_EMULATE
#undef _FORTIFY_SOURCE  // whose longjmp refuses to go to another stack
#include "tensor/cuda/emulate.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <deque>
#include <exception>
#include <memory>
#include <numeric>
#include <vector>

#include "tensor/check.h"
#include "tensor/cuda/device.h"
#include "tensor/parallel.h"
#include "tensor/random.h"

#if defined(__SANITIZE_ADDRESS__) || defined(ACINUS_ADDRESS_SANITIZER)
#include <sanitizer/common_interface_defs.h>
#define ACINUS_TELL_SANITIZER(call) __sanitizer_##call
#else
#define ACINUS_TELL_SANITIZER(call)
#endif

// The compilers' own, where both have them: sanitizers replace the library's by slow ones.
#ifdef __x86_64__
#define ACINUS_SETJMP(registers) __builtin_setjmp(registers)
#define ACINUS_LONGJMP(registers) __builtin_longjmp(registers, 1)
using Registers = void* [5];
#else
#define ACINUS_SETJMP(registers) _setjmp(registers)
#define ACINUS_LONGJMP(registers) _longjmp(registers, 1)
using Registers = jmp_buf;
#endif

namespace acinus::emulate {
namespace {

// ---- fibers -----------------------------------------------------------------------------------------------------

constexpr size_t stack_bytes = 128 << 10;

// A stack, and the state in which its execution was left.
struct Fiber {
  std::unique_ptr<char[]> memory;  // none: the stack on which the CPU's thread began
  ucontext_t context;
  Registers registers;
  bool begun = false;
  const void* stack = nullptr;  // the address sanitizer wants to know; and what it keeps of a fiber
  size_t bytes = 0;
  void* fake_stack = nullptr;
};

thread_local Fiber* fiber;  // the one that runs
thread_local Fiber* left;   // the one that ran before

// Returns when something switches back. swapcontext would do, but saves the mask of signals by a call to the system
// each time, which takes longer than all else; it is only needed to begin on another stack.
__attribute__((noinline, no_sanitize_address)) void switch_to(Fiber& to) {
  left = fiber;
  fiber = &to;
  ACINUS_TELL_SANITIZER(start_switch_fiber(&left->fake_stack, to.stack, to.bytes));
  if (ACINUS_SETJMP(left->registers) == 0) {
    if (to.begun) ACINUS_LONGJMP(to.registers);
    to.begun = true;
    setcontext(&to.context);
  }
  ACINUS_TELL_SANITIZER(finish_switch_fiber(fiber->fake_stack, &left->stack, &left->bytes));
}

// ---- a block ------------------------------------------------------------------------------------------------------

struct Thread {
  Fiber* fiber = nullptr;  // none: it has not begun
  bool ready = true;       // neither running, nor waiting, nor at its end
};

struct BlockRunner {  // runs one block at a time, on one thread of the CPU
  std::vector<Thread> threads;
  int running = 0;
  int at_barrier = 0, barrier_line = 0;  // how many threads wait at the block's barrier

  std::vector<int> warps;               // in the order in which they run
  size_t warp = 0;                      // the running one's index among them
  int turns = 0;                        // how many of its lanes have had their turn since the warp last did something
  unsigned first_turn = 0, stride = 1;  // together, in the order first_turn, first_turn + stride, ... modulo 32
  int waiting = 0;                      // how many of them have come to `operation`, with these operands
  const char* operation = nullptr;
  int operation_line = 0;
  void* operands[32];

  uint64_t seed = 0, draws = 0;
  std::vector<unsigned char> shared;
  std::deque<Fiber> fibers;
  std::vector<Fiber*> idle;  // those without a thread
  Fiber main;
  std::exception_ptr error;

  void run_block(const Launch& launch, int64_t block);
  void run_threads();
  void add_fiber();
  void run(int thread);
  int next();
  void begin_warps();
  void begin_turns();
  int lanes() const { return std::min(32, int(threads.size()) - warps[warp] * 32); }  // of the running warp
};

thread_local BlockRunner runner;

[[noreturn]] void fiber_main() {
  ACINUS_TELL_SANITIZER(finish_switch_fiber(nullptr, &left->stack, &left->bytes));
  try {
    runner.run_threads();
  } catch (...) {
    runner.error = std::current_exception();
  }
  for (;;) switch_to(runner.main);
}

void BlockRunner::add_fiber() {
  Fiber& f = fibers.emplace_back();
  f.memory = std::make_unique_for_overwrite<char[]>(stack_bytes);
  // Each begins elsewhere within a page: else what all of them use would be in the same few lines of the cache.
  f.stack = f.memory.get(), f.bytes = stack_bytes - fibers.size() % 64 * 320;
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = f.memory.get();
  f.context.uc_stack.ss_size = f.bytes;
  f.context.uc_link = nullptr;
  makecontext(&f.context, fiber_main, 0);
  idle.push_back(&f);
}

// Runs a thread to its end, then, if the next one has not begun, that one: a kernel without barriers runs on a single
// fiber, as a plain loop. Where the next one waits on a fiber of its own, this one is idle until it is given another.
void BlockRunner::run_threads() {
  for (;;) {
    launched->thread();
    const int t = next();
    idle.push_back(fiber);
    t >= 0 ? run(t) : switch_to(main);
  }
}

// Goes on with a thread, on its fiber; returns when it is the turn of the caller's.
void BlockRunner::run(int t) {
  Thread& thread = threads[t];
  if (!thread.fiber) {
    if (idle.empty()) add_fiber();
    thread.fiber = idle.back();
    idle.pop_back();
  }
  thread.ready = false;
  running = t;
  threadIdx.x = unsigned(t);
  if (thread.fiber != fiber) switch_to(*thread.fiber);
}

// The thread whose turn it is, or -1 if all of the block have ended.
int BlockRunner::next() {
  for (;;) {
    while (turns < 32) {
      const int lane = int((first_turn + unsigned(turns++) * stride) % 32), t = warps[warp] * 32 + lane;
      if (lane < lanes() && threads[t].ready) return t;
    }
    if (waiting > 0)
      fail(kernel_name(), ": ", waiting, " of ", lanes(), " threads of a warp are at ", operation,
           operation_line ? text(" in line ", operation_line) : "", "; the others do not come to it");
    if (counting) count_moves();
    if (++warp == warps.size()) {
      if (at_barrier == 0) return -1;
      if (at_barrier < int(threads.size()))
        fail(kernel_name(), ": ", at_barrier, " of ", threads.size(),
             " threads of a block wait at the barrier in line ", barrier_line, "; the others do not reach it");
      at_barrier = 0;
      for (Thread& t : threads) t.ready = true;
      begin_warps();
    }
    begin_turns();
  }
}

void BlockRunner::begin_warps() {
  for (size_t i = warps.size(); i > 1; i--) std::swap(warps[i - 1], warps[random_bits(seed, draws++) % i]);
  warp = 0;
}
void BlockRunner::begin_turns() {
  const uint64_t bits = random_bits(seed, draws++);
  turns = 0, first_turn = bits % 32, stride = bits / 32 % 32 | 1;
}

void BlockRunner::run_block(const Launch& l, int64_t block) {
  launched = &l;
  gridDim.x = unsigned(l.blocks);
  blockDim.x = unsigned(l.threads);
  blockIdx.x = unsigned(block);
  threads.assign(l.threads, Thread());
  shared.assign(l.shared_bytes + 128, 0xFF);
  shared_bytes = shared.data() + (128 - uintptr_t(shared.data()) % 128);
  begin_block();
  if (counting) count_moves(), counts = {};
  seed = uint64_t(block), draws = 0;
  warps.resize((threads.size() + 31) / 32);
  std::iota(warps.begin(), warps.end(), 0);
  begin_warps();
  begin_turns();
  waiting = at_barrier = 0;
  error = nullptr;
  fiber = &main, main.begun = true;
  run(next());
  if (error) {  // the stacks of the other threads are dropped: kernels own nothing
    fibers.clear();
    idle.clear();
    std::rethrow_exception(error);
  }
  end_block();
  if (counting) counts.blocks = 1, add_counts(l.name, counts);
}

}  // namespace

// ---- what kernels call --------------------------------------------------------------------------------------------

void wait_for_block(int line) {
  BlockRunner& r = runner;
  if (r.at_barrier++ == 0) r.barrier_line = line;
  if (line != r.barrier_line)
    fail(kernel_name(), ": threads of one block wait at barriers in lines ", r.barrier_line, " and ", line);
  r.run(r.next());
}

void wait_for_warp(const char* operation, int line, void* operands, void (*execute)(void* const*)) {
  BlockRunner& r = runner;
  const int lanes = r.lanes();
  if (execute && lanes < 32) fail(kernel_name(), ": ", operation, " in a warp of only ", lanes, " threads");
  if (r.waiting++ == 0) r.operation = operation, r.operation_line = line;
  if (operation != r.operation || line != r.operation_line)
    fail(kernel_name(), ": threads of one warp are at different operations, ", r.operation, " and ", operation,
         line ? text(", in lines ", r.operation_line, " and ", line) : "");
  r.operands[r.running % 32] = operands;
  if (r.waiting < lanes) return r.run(r.next());
  // The last one does it for all, and goes on.
  r.waiting = 0;
  if (execute) execute(r.operands);
  if (counting) count_moves();
  for (int lane = 0; lane < lanes; lane++) r.threads[r.running / 32 * 32 + lane].ready = true;
  r.threads[r.running].ready = false;
  r.begin_turns();
}

uint64_t shuffle(uint64_t value, int from_lane, int line) {
  struct Operands {
    uint64_t value;
    int from;
  } mine{value, from_lane};
  wait_for_warp("a shuffle", line, &mine, [](void* const* lanes) {
    uint64_t values[32];
    for (int lane = 0; lane < 32; lane++) values[lane] = static_cast<Operands*>(lanes[lane])->value;
    for (int lane = 0; lane < 32; lane++) {
      Operands& o = *static_cast<Operands*>(lanes[lane]);
      o.value = values[o.from];
    }
  });
  return mine.value;
}

std::string kernel_name() { return "kernel " + cuda::readable(launched->name); }

void check_aligned(const void* address, size_t bytes) {
  if (uintptr_t(address) % bytes == 0) return;
  fail(kernel_name(), ": an address that should be a multiple of ", bytes, " is not");
}

void run(const Launch& launch) {
  if (launch.threads > 1024 || launch.shared_bytes > 227 << 10)
    fail("kernel ", cuda::readable(launch.name), ": a block of ", launch.threads, " threads with ", launch.shared_bytes,
         " bytes of shared memory; no GPU has more than 1024 and 232448");
  cuda::KernelCounts one;
  one.launches = 1;
  if (counting) add_counts(launch.name, one);
  parallel(launch.blocks, launch.blocks * launch.threads > 1 << 12,
           [&](int64_t block) { runner.run_block(launch, block); });
}

}  // namespace acinus::emulate
#endif
