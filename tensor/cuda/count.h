// What a kernel does, counted while it is emulated: what NVIDIA's profiler counts on a GPU, exactly, and without a GPU.
// ACINUS_COUNT=1 in the environment prints a table when the program ends, a line a kernel. A test writes
//
//   const cuda::KernelCounts c = cuda::counts_of([&] { conv2d(x, w, b); })["conv_forward"];
//   CHECK(c.shared_loads.actual == c.shared_loads.fewest);      // no bank conflicts
//
// Counted are the instructions of mma.h, load_sixteen and store_sixteen (not what is written as x[i] or a + b), as the
// warp's 32 threads execute them together. Shared memory has 32 banks, word number i (of 4 bytes) in bank i % 32, and
// one *wavefront* brings a word from each: 16 bytes for 8 threads at once, unless two of their words are in one bank;
// then it takes several (*bank conflicts*). Memory is read and written in *sectors* of 32 bytes.
#pragma once
#ifdef ACINUS_EMULATE
#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace acinus {
namespace cuda {

// Instructions, and how many wavefronts or sectors they took, beside the fewest for as many bytes.
struct AccessCounts {
  int64_t instructions = 0, actual = 0, fewest = 0;
};
struct KernelCounts {
  int64_t launches = 0, blocks = 0;
  int64_t products = 0, flops = 0;           // of tensor cores: a warp's mma, or its quarter of a wgmma
  AccessCounts shared_loads, shared_writes;  // wavefronts; writes by copy_async_16 and store_sixteen
  AccessCounts copies, loads, stores;        // sectors, of copy_async_16 (where inside), load_sixteen, store_sixteen
  int64_t copied_bytes = 0, stored_bytes = 0;
  double flops_per_byte() const { return copied_bytes ? double(flops) / double(copied_bytes) : 0; }
};
using CountsByKernel = std::map<std::string, KernelCounts>;  // by the name that it was launched with

CountsByKernel counts_of(const std::function<void()>& work);
std::string count_table(const CountsByKernel& counts);

}  // namespace cuda

// ---- for the emulation --------------------------------------------------------------------------------------------

namespace emulate {

extern bool counting;
inline thread_local cuda::KernelCounts counts;  // of the block that is running

// An instruction that reads or writes `bytes` at each of these addresses of shared memory, a lane's or `nowhere`.
constexpr uint32_t nowhere = ~0u;
void count_shared(cuda::AccessCounts& counts, const uint32_t (&addresses)[32], int bytes);
// Sixteen bytes that the running thread copies, loads or stores. The threads of a warp come to it one after the other:
// the n-th of each since they last did something together are one instruction, counted when they next do (count_moves).
enum class Move { copy, load, store };
void note_move(Move kind, const void* memory, uint32_t shared_address = nowhere);
void count_moves();
void add_counts(const char* kernel, const cuda::KernelCounts& more);

}  // namespace emulate
}  // namespace acinus
#endif
