// One formula for the elements of many tensors, such as all parameters of a network with their gradients. On the GPU that is one
// launch: one for each tensor would take longer to begin than to run, since every second one is a bias.
//
//   update_all<1, 3>({{g, p, v}, ...}, [](auto zero) { return Update<decltype(zero)>{...}; });
//
// calls f(g[i], p[i], v[i]) for each i of each row of three tensors, which have one shape. f is an Update<float> or an Update<double>,
// as the row's type is. It only reads its first argument (<1, ...), and takes references to the others, which it may change.
#pragma once
#include <utility>
#include <vector>

#include "optim/optimizer.h"
#include "tensor/reduce.h"

namespace acinus {

// f for element i of one row, or for elements i .. i+n-1.
template <int Inputs, class F, class T, int N>
struct UpdateBody {
  F f;
  T* x[N];
  HD void operator()(int64_t i) const { one(i, std::make_integer_sequence<int, N>()); }
  template <class Count>
  HD void operator()(int64_t i, Count n) const {
    several(i, n, std::make_integer_sequence<int, N>());
  }
  template <int... K>
  HD void one(int64_t i, std::integer_sequence<int, K...>) const {
    f(x[K][i]...);
  }
  template <class Count, int... K>
  HD void several(int64_t i, Count n, std::integer_sequence<int, K...>) const {
    Values<T, Count> values[N] = {load(n, x[K] + i)...};
    ACINUS_UNROLL
    for (int k = 0; k < n; k++) f(values[K][k]...);
    ACINUS_UNROLL
    for (int k = Inputs; k < N; k++) store(n, x[k] + i, values[k]);
  }
};

#ifdef ACINUS_KERNELS
// The addresses of many rows, for a kernel of which each block of threads does `block_size` elements of one row. It is an argument of
// the kernel, of which CUDA passes on 4 KB: so a recorded Graph keeps the addresses, as it does those of all tensors.
template <class T, int N>
struct TensorTable {
  static constexpr int most = 3600 / (8 * N + 12);
  int64_t elements[most];
  T* x[most][N];
  int first_block[most + 1] = {};
  int rows = 0;

  void add(const std::vector<Tensor>& row, int64_t block_size) {
    elements[rows] = row[0].elements();
    for (int k = 0; k < N; k++) x[rows][k] = row[k].ptr<T>();
    first_block[rows + 1] = first_block[rows] + int((elements[rows] + block_size - 1) / block_size);
    rows++;
  }
  HD int row_of(int block) const {
    int low = 0, high = rows;  // the first block of `low` is not after it, that of `high` is
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first_block[middle] <= block ? low : high) = middle;
    }
    return low;
  }
};

// launch(table, blocks) for the rows of type T, in as many tables as it takes.
template <class T, int N, class Launch>
void for_each_table(const TensorRows& rows, int64_t block_size, Launch launch) {
  TensorTable<T, N> table;
  for (size_t r = 0; r <= rows.size(); r++) {
    if (table.rows == table.most || r == rows.size()) {
      launch(table, table.first_block[table.rows]);
      table.rows = 0;
    }
    if (r < rows.size() && rows[r][0].dtype() == dtype_of<T>()) table.add(rows[r], block_size);
  }
}

template <int Inputs, class F, class T, int N>
__global__ void update_kernel(F f, TensorTable<T, N> table) {
  constexpr Exactly<sixteen_bytes_of<T>> n;
  const int block = int(blockIdx.x), row = table.row_of(block);
  const int64_t begin = (int64_t(block - table.first_block[row]) * threads_per_block + threadIdx.x) * n;
  UpdateBody<Inputs, F, T, N> body{f, {}};
  for (int k = 0; k < N; k++) body.x[k] = table.x[row][k];
  if (begin + n <= table.elements[row])
    body(begin, n);
  else
    for (int64_t i = begin; i < table.elements[row]; i++) body(i);
}
#endif

template <int Inputs, int N, class MakeF>
void update_all(const TensorRows& rows, MakeF make_f) {
  for (const std::vector<Tensor>& row : rows)
    for (int k = 0; k < N; k++) {
      check_precise("update_all", {&row[0], &row[k]});
      check(row[k].shape() == row[0].shape(), "update_all: shapes differ: ", row[0].shape(), " vs ", row[k].shape());
      if (k >= Inputs) row[k].mark_overwritten();
    }
  if (rows.empty()) return;
  for (DType dtype : {DType::f32, DType::f64})
    dispatch_precise(dtype, [&](auto zero) {
      using T = decltype(zero);
      const auto f = make_f(zero);
      using F = std::decay_t<decltype(f)>;
#ifdef ACINUS_KERNELS
      if (rows[0][0].device() == Device::cuda) {
        static_assert(sizeof(F) + sizeof(TensorTable<T, N>) < 4000);
        return for_each_table<T, N>(
            rows, threads_per_block * sixteen_bytes_of<T>, [&](const auto& table, int64_t blocks) {
              launch(typeid(F).name(), update_kernel<Inputs, F, T, N>, blocks, threads_per_block, 0, f, table);
            });
      }
#endif
      for (const std::vector<Tensor>& row : rows) {
        if (row[0].dtype() != dtype) continue;
        UpdateBody<Inputs, F, T, N> body{f, {}};
        for (int k = 0; k < N; k++) body.x[k] = row[k].ptr<T>();
        for_each_on_cpu(row[0].elements(), body);
      }
    });
}

}  // namespace acinus
