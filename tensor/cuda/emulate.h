// CUDA without a GPU: the words that kernels are written with, defined for the CPU. So the same source runs in the
// tests on any machine, under the address sanitizer, and in a debugger (break in the kernel, print threadIdx).
//
// The blocks of a grid are distributed over the CPU's threads. Of a block one warp runs at a time, until all of its
// threads wait at a barrier of the block or have ended, and of a warp one thread, until it comes to something that the
// warp does together; the order is random. So a warp is as far ahead of the others as the barriers allow: a kernel
// without a barrier that it needs reads values that are not yet written, or already overwritten, and its result is
// wrong. Each thread has a stack of its own (a *fiber*); where it waits, the emulation switches to the next one's. The
// emulation refuses, with an Error that names the kernel, and the line of a barrier:
//
//   - a barrier that some threads of the block do not reach, or threads of a block that wait at different barriers
//   - an operation of a warp (a shuffle, a matrix product) that only some of its 32 threads come to
//   - addresses that are not aligned as a GPU demands, or outside of the block's shared memory
//
// The instructions of mma.h are in emulate_mma.cpp. What they copy or multiply is NaN until it has been waited for.
//
// The emulation says nothing about time, and does not notice two blocks that write to the same address: only on a real
// GPU, where blocks run at the same time, would results change from run to run. So one thread alone writes an element.
#pragma once
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>

#include "tensor/cuda/count.h"
#include "tensor/dtype.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace acinus {

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
// Of the thread that is running. Only one axis is used.
inline thread_local dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace emulate {

struct Launch {
  const char* name;
  int64_t blocks;
  int threads;
  size_t shared_bytes;
  std::function<void()> thread;  // what each thread does
};
void run(const Launch& launch);

inline thread_local const Launch* launched;       // what is running
inline thread_local unsigned char* shared_bytes;  // of the block, filled with NaN when it begins

void wait_for_block(int line);  // __syncthreads()
// An operation of a warp. Each thread leaves its operands and waits; when all 32 have come to the same operation, in
// the same line, `execute` is called once with the operands of lanes 0 to 31, and they go on.
void wait_for_warp(const char* operation, int line, void* operands = nullptr, void (*execute)(void* const*) = nullptr);
uint64_t shuffle(uint64_t value, int from_lane, int line);  // the value that another lane gives
void check_aligned(const void* address, size_t bytes);      // Error unless it is a multiple of `bytes`
std::string kernel_name();                                  // "kernel conv_forward", for messages
void begin_block();                                         // emulate_mma.cpp's part of a block
void end_block();

}  // namespace emulate

template <class T>
T& shared_memory() {
  return *reinterpret_cast<T*>(emulate::shared_bytes);
}

inline void __syncthreads(int line = __builtin_LINE()) { emulate::wait_for_block(line); }
inline void __syncwarp(int line = __builtin_LINE()) { emulate::wait_for_warp("__syncwarp()", line); }

// The value of the lane `offset` further on, or the lane's own at the end of the warp.
template <class T>
T __shfl_down_sync(unsigned, T value, int offset, int line = __builtin_LINE()) {
  static_assert(sizeof(T) <= 8);
  const int lane = int(threadIdx.x % 32);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = emulate::shuffle(bits, lane + offset < 32 ? lane + offset : lane, line);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace acinus
