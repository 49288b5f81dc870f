// CUDA without a GPU: the words that kernels are written with, defined for the CPU. So the same source runs in the tests on
// any machine, under the address sanitizer, and step by step in a debugger (break in the kernel, print threadIdx).
//
// The blocks of a grid are distributed over the CPU's threads. Of a block one warp runs at a time, until all of its threads
// wait at a barrier of the block or have ended, and of a warp one thread, until it comes to something that the warp does
// together; the order is drawn anew each time. So a warp is as far ahead of the others as the barriers allow: a kernel without
// a barrier that it needs reads values that are not yet written, or already overwritten, and its result is wrong. Each
// thread has a stack of its own (a *fiber*); where it waits, the emulation switches to the next one's. The emulation refuses,
// with an Error that names the kernel, and the line of a barrier:
//
//   - a barrier that some threads of the block do not reach, or threads of a block that wait at different barriers
//   - an operation of a warp (a shuffle, a matrix product) that only some of its 32 threads come to
//   - addresses that are not aligned as a GPU demands, or outside of the block's shared memory
//
// The instructions of mma.h are in emulate_mma.cpp. There, what has been asked for but not been waited for is NaN.
//
// The emulation says nothing about time, and does not notice two blocks that write to the same address: only on a real GPU,
// where blocks run at the same time, would the result change from run to run. So each element is written by one thread alone.
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
// Of the thread that is running. We need one axis only.
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
// An operation of a warp. Each thread leaves its operands and waits; when all 32 have come to the same operation, in the same
// line, `execute` is called once with the operands of lanes 0 to 31, and they go on.
void wait_for_warp(const char* operation, int line, void* operands = nullptr, void (*execute)(void* const*) = nullptr);
uint64_t shuffle(uint64_t value, int from_lane, int line);  // the value that another lane gives
void collective();                                          // an operation of a warp that lane 0 performs alone
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

// ---- tensor cores ---------------------------------------------------------------------------------------------

using __nv_bfloat16 = bf16;

// A fragment is a tile of a matrix that the 32 threads of a warp hold together; which thread holds which element is not
// specified. Here lane 0 holds and computes everything. (Other lanes see what it stored after a __syncwarp, as on a GPU.)
namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };
namespace precision {
struct tf32;
}

template <class Use, int M, int N, int K, class T, class Layout = void>
struct fragment {
  static constexpr int rows = std::is_same_v<Use, matrix_b> ? K : M, cols = std::is_same_v<Use, matrix_a> ? K : N;
  static constexpr int num_elements = rows * cols;
  std::conditional_t<std::is_same_v<T, precision::tf32>, float, T> x[num_elements];
};

// 10 fraction bits instead of 23: rounded to nearest, ties away from zero (PTX's cvt.rna).
inline float __float_to_tf32(float v) {
  uint32_t u;
  std::memcpy(&u, &v, 4);
  if (v == v) u = (u + 0x1000) & ~0x1FFFu;
  std::memcpy(&v, &u, 4);
  return v;
}

inline bool takes_part() {
  emulate::collective();
  return threadIdx.x % 32 == 0;
}

template <class F, class V>
void fill_fragment(F& f, V value) {
  if (!takes_part()) return;
  for (auto& x : f.x) x = value;
}

template <class Use, int M, int N, int K, class T, class Layout, class P>
void load_matrix_sync(fragment<Use, M, N, K, T, Layout>& f, const P* from, unsigned stride) {
  if (!takes_part()) return;
  emulate::check_aligned(from, 32);
  emulate::check_aligned(from + stride, 16);
  using F = fragment<Use, M, N, K, T, Layout>;
  for (int i = 0; i < F::rows; i++)
    for (int j = 0; j < F::cols; j++)
      f.x[i * F::cols + j] = std::is_same_v<Layout, col_major> ? from[j * stride + i] : from[i * stride + j];
}

template <int M, int N, int K, class T, class LA, class LB>
void mma_sync(fragment<accumulator, M, N, K, float>& d, const fragment<matrix_a, M, N, K, T, LA>& a,
              const fragment<matrix_b, M, N, K, T, LB>& b, const fragment<accumulator, M, N, K, float>& c) {
  if (!takes_part()) return;
  for (int i = 0; i < M; i++)
    for (int j = 0; j < N; j++) {
      float sum = c.x[i * N + j];
      for (int k = 0; k < K; k++) sum += float(a.x[i * K + k]) * float(b.x[k * N + j]);
      d.x[i * N + j] = sum;
    }
}

template <int M, int N, int K>
void store_matrix_sync(float* to, const fragment<accumulator, M, N, K, float>& f, unsigned stride, layout_t layout) {
  if (!takes_part()) return;
  emulate::check_aligned(to, 32);
  emulate::check_aligned(to + stride, 16);
  for (int i = 0; i < M; i++)
    for (int j = 0; j < N; j++) (layout == mem_row_major ? to[i * stride + j] : to[j * stride + i]) = f.x[i * N + j];
}

}  // namespace nvcuda::wmma
}  // namespace acinus
