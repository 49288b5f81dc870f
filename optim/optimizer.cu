#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>

#include "optim/update_all.h"
#include "tensor/cuda/graph.h"
#include "tensor/io/safetensors.h"
#include "tensor/trace.h"

namespace acinus {

namespace {

struct Square {
  template <class T>
  HD double operator()(T g) const {
    return double(g) * double(g);
  }
};

struct SquareRoot {
  template <class T>
  HD T operator()(T x) const {
    return std::sqrt(x);
  }
};

// Reads the norm on its device, so that the CPU need not wait for the GPU.
struct Clip {
  double max_norm;
  const double* norm;
  template <class T>
  HD void operator()(T& g) const {
    const bool too_long = *norm > max_norm && *norm < INFINITY;
    g = too_long ? T(max_norm / *norm) * g : g;
  }
};

#ifdef ACINUS_KERNELS
constexpr int64_t square_block = 1 << 13;  // elements that a block of threads adds up

template <class T>
__global__ void square_sum_kernel(TensorTable<T, 1> table, double* sums) {
  constexpr Exactly<sixteen_bytes_of<T>> n;
  const int block = int(blockIdx.x), row = table.row_of(block);
  const T* const x = table.x[row][0];
  const int64_t begin = (block - table.first_block[row]) * square_block, all = table.elements[row];
  const int64_t end = begin + square_block < all ? begin + square_block : all;
  double own = 0;
  for (int64_t i = begin + threadIdx.x * n; i < end; i += threads_per_block * n)
    if (i + n <= end) {
      const auto squares = each(Square(), load(n, x + i));
      for (int k = 0; k < n; k++) own += squares[k];
    } else {
      for (int64_t k = i; k < end; k++) own += Square()(x[k]);
    }
  const double sum = block_sum(own);
  if (threadIdx.x == 0) sums[block] = sum;
}
#endif

// The sum of the squares of all elements, in float64: in float32, 2e19^2 is infinite.
Tensor square_sum(const TensorRows& rows) {
#ifdef ACINUS_KERNELS
  if (rows[0][0].device() == Device::cuda) {
    int64_t blocks = 0;
    for (const auto& row : rows) blocks += (row[0].elements() + square_block - 1) / square_block;
    const Tensor sums({blocks}, DType::f64, Device::cuda);
    double* at = sums.ptr<double>();
    for (DType dtype : {DType::f32, DType::f64})
      dispatch_precise(dtype, [&](auto zero) {
        for_each_table<decltype(zero), 1>(rows, square_block, [&](const auto& table, int64_t blocks) {
          launch("square_sum", square_sum_kernel<decltype(zero)>, blocks, threads_per_block,
                 sizeof(double[threads_per_block]), table, at);
          at += blocks;
        });
      });
    return reduce(Same(), sums);
  }
#endif
  Tensor total = reduce_precisely(Square{}, rows[0][0]);
  for (size_t r = 1; r < rows.size(); r++) total.accumulate(reduce_precisely(Square{}, rows[r][0]));
  return total;
}

}  // namespace

void check_distinct(const char* op, const NamedTensors& tensors) {
  std::vector<std::pair<const void*, const std::string*>> places;
  for (const auto& named : tensors) {
    const Tensor &t = named.second, &first = tensors[0].second;
    check(t.device() == first.device(), op, ": ", tensors[0].first, " is on ", name(first.device()), ", ", named.first,
          " on ", name(t.device()), "; move the whole network to one device");
    const void* const place = dispatch(t.dtype(), [&](auto zero) -> const void* { return t.ptr<decltype(zero)>(); });
    if (t.elements() > 0) places.emplace_back(place, &named.first);
  }
  std::stable_sort(places.begin(), places.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 1; i < places.size(); i++)
    check(places[i - 1].first != places[i].first, op, ": ", *places[i - 1].second, " and ", *places[i].second,
          " are the same tensor; give it once");
}

Optimizer::Optimizer(const char* kind, NamedTensors parameters, const std::vector<std::string>& moments)
    : kind_(kind), parameters_(std::move(parameters)) {
  check_distinct(kind, parameters_);
  const Device device = parameters_.empty() ? Device::cpu : parameters_[0].second.device();
  scalars_ = Tensor::zeros({3}, DType::f64, device);
  for (const auto& [name, p] : parameters_) {
    moments_.emplace_back();
    for (const std::string& moment : moments)
      moments_.back().emplace_back(text(kind, ".", moment, ".", name), Tensor::zeros(p.shape(), p.dtype(), p.device()));
  }
}

void Optimizer::step() {
  const ProfileScope scope(kind_);
  cuda::before_each_run([this] {
    const Scalars scalars = next_scalars();
    scalars_.copy_from(Tensor::from({3}, std::vector<double>(scalars.begin(), scalars.end())));
  });
  TensorRows rows;
  for (size_t k = 0; k < parameters_.size(); k++) {
    const Tensor gradient = parameters_[k].second.grad();
    if (!gradient) continue;
    rows.push_back({gradient, parameters_[k].second});
    for (const auto& [name, moment] : moments_[k]) rows.back().push_back(moment);
  }
  update(rows, scalars_.ptr<double>());
}

NamedTensors Optimizer::state() const {
  NamedTensors state;
  for (const NamedTensors& moments : moments_) state.insert(state.end(), moments.begin(), moments.end());
  return state;
}

void Optimizer::load(const SafeTensors& saved) { load_training_state(kind_, state(), saved); }

void load_training_state(const std::string& kind, const NamedTensors& own, const SafeTensors& saved) {
  std::string problems =
      saved.differences(own, [&](const std::string& name) { return name.rfind(kind + ".", 0) == 0; });
  for (const auto& [name, tensor] : own)
    if (problems.empty() && name == kind + ".step") {
      const double steps = saved[name].item();
      if (!(steps >= 0 && steps < 1e15 && steps == std::floor(steps)))
        problems = text("\n  no count:   ", name, " is ", steps);
    }
  if (!problems.empty()) fail(kind, ": the saved state is that of another network or optimiser:", problems);
  for (const auto& entry : own) Tensor(entry.second).copy_from(saved[entry.first]);
}

Tensor clip_grad_norm(const NamedTensors& parameters, double max_norm) {
  const ProfileScope profile_scope("clip_grad_norm");
  check(max_norm >= 0, "clip_grad_norm: max_norm ", max_norm, " must be at least 0");
  check_distinct("clip_grad_norm", parameters);
  TensorRows gradients;
  for (const auto& [name, p] : parameters)
    if (const Tensor g = p.grad()) gradients.push_back({g});
  if (gradients.empty()) return Tensor::zeros(Shape{}, DType::f64);
  const Tensor norm = map(SquareRoot{}, square_sum(gradients));
  if (max_norm == INFINITY || (norm.device() == Device::cpu && !(norm.item() > max_norm))) return norm;
  update_all<0, 1>(gradients, [&](auto) { return Clip{max_norm, norm.ptr<double>()}; });
  return norm;
}

}  // namespace acinus
