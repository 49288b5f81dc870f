// Sums over all pixels of a batch, such as a weight gradient, have few results and very many terms. So they are split:
// each block of threads sums a *part* of the terms, and a second kernel adds up the parts ("split-K"). The shapes alone
// decide how many parts there are and in which order they are added: the same bits every time, on every GPU.
#pragma once
#include <algorithm>

#include "tensor/cuda/kernel.h"
#include "tensor/tensor.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

// Within a block, where each thread has summed V numbers of its own: f(v, group, total), total the sum of number v over
// the threads t with t % groups == group.
template <int V, int Threads>
struct BlockSums {
  float own[V][Threads + 1];  // one more, so that own[0][t], own[1][t], ... are in different banks

  template <class F>
  __device__ void add_up(const float (&numbers)[V], int groups, F f) {
    ACINUS_UNROLL
    for (int v = 0; v < V; v++) own[v][threadIdx.x] = numbers[v];
    __syncthreads();
    for (int i = int(threadIdx.x); i < V * groups; i += Threads) {
      const int v = i % V, group = i / V;
      float total = 0;
      for (int t = group; t < Threads; t += groups) total += own[v][t];
      f(v, group, total);
    }
  }
};

// A block has up to max_threads_a_sum threads for each of its sums, which take turns at the parts.
constexpr int sums_a_block = 32, max_threads_a_sum = 32;

template <class C>
__global__ void sum_parts_kernel(int64_t parts, int64_t weights, int64_t size, const C* from, C* dw, C* db) {
  auto& shared = shared_memory<C[max_threads_a_sum][sums_a_block]>();
  const int column = int(threadIdx.x) % sums_a_block, row = int(threadIdx.x) / sums_a_block;
  const int rows = int(blockDim.x) / sums_a_block;
  const int64_t i = blockIdx.x * int64_t(sums_a_block) + column;
  C sum = 0;
  // Unrolled, so that many loads are in flight at once.
  ACINUS_UNROLL_16
  for (int64_t p = row; p < parts && i < size; p += rows) sum += from[p * size + i];
  shared[row][column] = sum;
  __syncthreads();
  if (row > 0 || i >= size) return;
  for (int r = 1; r < rows; r++) sum += shared[r][column];
  (i < weights ? dw[i] : db[i - weights]) = sum;
}

// parts (count, weights + biases) -> dw (weights), db (biases)
template <class C>
void sum_parts(const Tensor& parts, int64_t weights, C* dw, C* db = nullptr) {
  const int64_t count = parts.shape()[0], size = parts.shape()[1];
  const int threads = int(std::min<int64_t>(count, max_threads_a_sum)) * sums_a_block;
  launch("conv_sum_parts", sum_parts_kernel<C>, (size + sums_a_block - 1) / sums_a_block, threads,
         sizeof(C[max_threads_a_sum][sums_a_block]), count, weights, size, parts.ptr<C>(), dw, db);
}

}  // namespace acinus::on_gpu
#endif
