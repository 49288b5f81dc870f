// What kernels are written with. A kernel is a function that the GPU runs in many threads at once, a grid of blocks of
// threads; threadIdx and blockIdx say which thread it is. for_each.h has the simplest one.
//
//   template <class T>
//   __global__ void add_one(int64_t n, T* x) {
//     const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
//     if (i < n) x[i] += 1;
//   }
//   launch("add_one", add_one<float>, /*blocks*/ (n + 255) / 256, /*threads of each*/ 256, /*shared bytes*/ 0, n, x);
//
// The threads of a block may share memory, which is on the chip and fast:
//
//   struct Tiles { float a[16][16]; };
//   auto& tiles = shared_memory<Tiles>();     // launched with sizeof(Tiles) shared bytes; not initialised
//   tiles.a[..][..] = ...;
//   __syncthreads();                          // no thread continues before all of its block have arrived here
//
// Without CUDA's compiler, emulate.h defines the same words.
#pragma once
#include <cstdint>
#include <cstring>

#include "tensor/check.h"
#include "tensor/hd.h"

namespace acinus {

// Division by a number that all threads share. A GPU has no instruction for integer division, and needs about twenty
// others; with constants computed once on the CPU it is a multiplication and a shift (T. Granlund, P. Montgomery,
// Division by Invariant Integers using Multiplication, 1994, figure 4.1):
//   n / d = (n + floor(n * factor / 2^32)) >> shift   for all n below 2^31
class Divisor {
 public:
  Divisor() = default;
  Divisor(int64_t d) : d_(d > 0 ? unsigned(d) : 1) {  // 0 only where nothing is divided
    while ((uint64_t(1) << shift_) < d_) shift_++;
    factor_ = unsigned(((uint64_t(1) << 32) * ((uint64_t(1) << shift_) - d_)) / d_ + 1);
  }
  HD int quotient(int n) const {
    return int((unsigned(uint64_t(unsigned(n)) * factor_ >> 32) + unsigned(n)) >> shift_);
  }
  HD int remainder(int n) const { return n - quotient(n) * int(d_); }
  HD operator int() const { return int(d_); }

 private:
  unsigned d_ = 1, factor_ = 1, shift_ = 0;
};

}  // namespace acinus

#if defined(__CUDACC__) || defined(ACINUS_EMULATE)
#define ACINUS_KERNELS  // kernels can be compiled here: not by a C++ compiler in a build for the GPU
#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include "tensor/cuda/emulate.h"
#endif
#endif
#ifdef __CUDA_ARCH__  // nvcc compiling for the GPU; a C++ compiler does not know this pragma
#define ACINUS_UNROLL _Pragma("unroll")
#define ACINUS_UNROLL_4 _Pragma("unroll 4")
#define ACINUS_UNROLL_16 _Pragma("unroll 16")
#define ACINUS_NO_UNROLL _Pragma("unroll 1")
#else
#define ACINUS_UNROLL
#define ACINUS_UNROLL_4
#define ACINUS_UNROLL_16
#define ACINUS_NO_UNROLL
#endif

namespace acinus {

// load_sixteen and store_sixteen move numbers that are 16 bytes together, the most that one instruction moves. The
// address must be a multiple of 16.
struct alignas(16) Sixteen {
  uint32_t words[4];
};
template <class T, int Count>
HD void load_sixteen(T (&numbers)[Count], const void* from) {
  static_assert(sizeof(numbers) == sizeof(Sixteen));
#ifdef ACINUS_EMULATE
  emulate::check_aligned(from, 16);
  if (emulate::counting) emulate::note_move(emulate::Move::load, from);
#endif
  const Sixteen loaded = *static_cast<const Sixteen*>(from);
  memcpy(numbers, &loaded, 16);
}
template <class T, int Count>
HD void store_sixteen(void* to, const T (&numbers)[Count]) {
  static_assert(sizeof(numbers) == sizeof(Sixteen));
#ifdef ACINUS_EMULATE
  emulate::check_aligned(to, 16);
  if (emulate::counting) emulate::note_move(emulate::Move::store, to);
#endif
  Sixteen stored;
  memcpy(&stored, numbers, 16);
  *static_cast<Sixteen*>(to) = stored;
}

}  // namespace acinus

#ifdef ACINUS_KERNELS
namespace acinus {

#ifdef __CUDACC__
template <class T>
__device__ T& shared_memory() {
  extern __shared__ __align__(128) unsigned char acinus_shared_memory[];
  return *reinterpret_cast<T*>(acinus_shared_memory);
}
#endif

namespace cuda {
#ifdef __CUDACC__
cudaStream_t stream();                                    // created on the first call
void check_result(cudaError_t result, const char* what);  // Error unless it is a success
void check_launch(const char* kernel);                    // the same after the launch of a kernel
int processors();                                         // of the GPU: 132 of an H100
#else
void enqueue(std::function<void()> work);  // runs it, or keeps it for the Graph that is being recorded
#endif
}  // namespace cuda

#ifdef __CUDACC__
// A kernel may use more than 48 KB of shared memory per block only if it is allowed to.
template <class... P>
void allow_shared(const char* name, void (*kernel)(P...), size_t bytes) {
  if (bytes > 48 << 10)
    cuda::check_result(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)), name);
}
#endif

// How many blocks of a kernel the GPU runs at the same time. A kernel whose blocks are *persistent*, each doing one
// part of the work after another, is launched with this many.
template <class... P>
int64_t resident_blocks([[maybe_unused]] const char* name, [[maybe_unused]] void (*kernel)(P...),
                        [[maybe_unused]] int threads, [[maybe_unused]] size_t shared_bytes) {
#ifdef __CUDACC__
  int blocks = 0;
  allow_shared(name, kernel, shared_bytes);
  cuda::check_result(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared_bytes), name);
  return int64_t(blocks) * cuda::processors();
#else
  return 3;                                // few, so that even in a small test each does several parts
#endif
}

// Launches a kernel; `name` is for messages.
template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), int64_t blocks, int threads, size_t shared_bytes,
            const A&... args) {
  if (blocks == 0) return;
  check(blocks < (int64_t(1) << 31), name, ": ", blocks, " blocks are more than a GPU can launch; use a smaller batch");
#ifdef __CUDACC__
  allow_shared(name, kernel, shared_bytes);
  kernel<<<unsigned(blocks), unsigned(threads), shared_bytes, cuda::stream()>>>(P(args)...);
  cuda::check_launch(name);
#else
  cuda::enqueue([=] { emulate::run({name, blocks, threads, shared_bytes, [=] { kernel(args...); }}); });
#endif
}

}  // namespace acinus
#endif
