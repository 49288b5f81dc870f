#ifdef ACINUS_EMULATE
#include "tensor/cuda/emulate.h"

#include <ucontext.h>

#include <algorithm>
#include <deque>
#include <exception>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "tensor/check.h"
#include "tensor/cuda/device.h"
#include "tensor/parallel.h"
#include "tensor/random.h"

#if defined(__SANITIZE_ADDRESS__) || defined(ACINUS_ADDRESS_SANITIZER)
#include <sanitizer/common_interface_defs.h>
#define ACINUS_TELL_SANITIZER(call) call
#else
#define ACINUS_TELL_SANITIZER(call)
#endif

namespace acinus::emulate {
namespace {

enum class Where { not_begun, at_block_barrier, at_warp_barrier, ended };

struct Fiber;
struct Thread {  // of the block
  Where where = Where::not_begun;
  int line = 0;             // of the barrier
  int64_t collectives = 0;  // operations executed together with its warp
  Fiber* fiber = nullptr;   // on which it waits
};

constexpr size_t stack_bytes = 128 << 10;

// A stack and its state. A thread that ends leaves its fiber to the next one that has not begun: a kernel without barriers
// runs on a single fiber, as a plain loop.
struct Fiber {
  std::unique_ptr<char[]> stack = std::make_unique_for_overwrite<char[]>(stack_bytes);
  ucontext_t context;
  bool begun = false;
  void* fake_stack = nullptr;  // the address sanitizer's
};

struct BlockRunner {  // runs one block at a time, on one thread of the CPU
  const Launch* launch = nullptr;
  std::vector<Thread> threads;
  std::vector<int> order;
  size_t next = 0;  // index in `order` of the first that has not begun
  int running = 0;
  std::deque<Fiber> fibers;
  Fiber* fiber = nullptr;  // the running one
  ucontext_t scheduler;
  void* scheduler_fake_stack = nullptr;
  const void* scheduler_stack = nullptr;
  size_t scheduler_stack_bytes = 0;
  std::exception_ptr error;
  std::vector<uint64_t> slots;
  std::vector<unsigned char> shared;
  uint64_t seed = 0, draws = 0;

  void run_block(const Launch& launch, int64_t block);
  void shuffle() {
    for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random_bits(seed, draws++) % i]);
  }
  void set_thread(int t) {
    running = t;
    threadIdx.x = unsigned(t);
  }
  void enter(Fiber* f);
  void leave(bool for_good);
  void run_remaining_threads();
  std::string check_barriers();
};

thread_local BlockRunner runner;

void fiber_main() {
  ACINUS_TELL_SANITIZER(
      __sanitizer_finish_switch_fiber(nullptr, &runner.scheduler_stack, &runner.scheduler_stack_bytes));
  runner.run_remaining_threads();
  runner.leave(/*for_good=*/true);
}

// Runs the threads that have not begun, one after the other, each to its end.
void BlockRunner::run_remaining_threads() {
  try {
    while (next < order.size()) {
      set_thread(order[next++]);
      launch->thread();
      threads[running].where = Where::ended;
    }
  } catch (...) {
    error = std::current_exception();
  }
}

void BlockRunner::enter(Fiber* f) {
  fiber = f;
  if (!f->begun) {
    f->begun = true;
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack.get();
    f->context.uc_stack.ss_size = stack_bytes;
    f->context.uc_link = nullptr;
    makecontext(&f->context, fiber_main, 0);
  }
  ACINUS_TELL_SANITIZER(__sanitizer_start_switch_fiber(&scheduler_fake_stack, f->stack.get(), stack_bytes));
  swapcontext(&scheduler, &f->context);
  ACINUS_TELL_SANITIZER(__sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr));
}

void BlockRunner::leave(bool for_good) {
  Fiber* f = fiber;
  if (for_good) f->begun = false;
  ACINUS_TELL_SANITIZER(
      __sanitizer_start_switch_fiber(for_good ? nullptr : &f->fake_stack, scheduler_stack, scheduler_stack_bytes));
  swapcontext(&f->context, &scheduler);
  ACINUS_TELL_SANITIZER(__sanitizer_finish_switch_fiber(f->fake_stack, &scheduler_stack, &scheduler_stack_bytes));
}

// All threads wait or have ended. Releases those whose barrier is complete; returns what is wrong if there are none.
std::string BlockRunner::check_barriers() {
  const auto release = [&](size_t begin, size_t end, Where where, const char* group) -> std::string {
    std::vector<int> waiting;
    for (size_t t = begin; t < end; t++)
      if (threads[t].where == where) waiting.push_back(int(t));
    if (waiting.empty()) return "";
    const int line = threads[waiting[0]].line;
    if (waiting.size() != end - begin)
      return text(waiting.size(), " of ", end - begin, " threads of a ", group, " wait at the barrier in line ", line,
                  "; the others do not reach it");
    for (int t : waiting)
      if (threads[t].line != line)
        return text("threads of one ", group, " wait at barriers in lines ", line, " and ", threads[t].line);
    order.insert(order.end(), waiting.begin(), waiting.end());
    return "";
  };
  order.clear();
  std::string wrong;
  for (size_t begin = 0; begin < threads.size(); begin += 32) {
    const std::string problem = release(begin, std::min(begin + 32, threads.size()), Where::at_warp_barrier, "warp");
    if (!problem.empty()) wrong = problem;
  }
  if (order.empty() && wrong.empty()) wrong = release(0, threads.size(), Where::at_block_barrier, "block");
  return order.empty() ? wrong : "";
}

void BlockRunner::run_block(const Launch& l, int64_t block) {
  launch = &l;
  gridDim.x = unsigned(l.blocks);
  blockDim.x = unsigned(l.threads);
  blockIdx.x = unsigned(block);
  threads.assign(l.threads, Thread());
  slots.assign(l.threads, 0);
  shared.assign(l.shared_bytes + 128, 0xFF);
  shared_bytes = shared.data() + (128 - uintptr_t(shared.data()) % 128);
  seed = uint64_t(block);
  order.resize(threads.size());
  std::iota(order.begin(), order.end(), 0);
  shuffle();
  next = 0;
  error = nullptr;
  for (size_t waiting = 0; next < order.size() && !error; waiting++) {
    if (waiting == fibers.size()) fibers.emplace_back();
    enter(&fibers[waiting]);
  }
  while (!error) {
    const std::string problem = check_barriers();
    if (!problem.empty())
      error = std::make_exception_ptr(Error(text("kernel ", cuda::readable(l.name), ": ", problem)));
    if (order.empty()) break;
    shuffle();
    next = order.size();  // they have begun
    for (int t : order) {
      set_thread(t);
      enter(threads[t].fiber);
      if (error) break;
    }
  }
  // After an error the stacks of the other threads are dropped: kernels own nothing.
  for (Fiber& f : fibers) f.begun = false;
  if (error) std::rethrow_exception(error);
  for (size_t t = 0; t < threads.size(); t++)
    if (threads[t].collectives != threads[t / 32 * 32].collectives)
      fail("kernel ", cuda::readable(l.name), ": thread ", t, " took part in ", threads[t].collectives,
           " collective operations of its warp, but thread ", t / 32 * 32, " ", threads[t / 32 * 32].collectives);
}

}  // namespace

void wait(bool whole_block, int line) {
  BlockRunner& m = runner;
  const int t = m.running;
  Thread& thread = m.threads[t];
  thread = {whole_block ? Where::at_block_barrier : Where::at_warp_barrier, line, thread.collectives, m.fiber};
  m.leave(/*for_good=*/false);
}

void collective() { runner.threads[runner.running].collectives++; }

void* exchange_slot(int lane) { return &runner.slots[runner.running / 32 * 32 + lane]; }

void check_aligned(const void* address, size_t bytes) {
  if (uintptr_t(address) % bytes == 0) return;
  fail("kernel ", cuda::readable(runner.launch->name), ": an address that should be a multiple of ", bytes, " is not");
}

void run(const Launch& launch) {
  parallel(launch.blocks, launch.blocks * launch.threads > 1 << 12,
           [&](int64_t block) { runner.run_block(launch, block); });
}

}  // namespace acinus::emulate
#endif
