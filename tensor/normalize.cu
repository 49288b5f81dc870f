// The formulas are in normalize.h.
#include "tensor/normalize.h"

#include "tensor/for_each.h"

namespace acinus {
namespace {

// Replaces sums (images, channels) by the mean over each group: the sum over its channels, divided by m.
template <class T> struct GroupMean {
  int64_t channels, per_group;
  T group_size;
  const T* sums;
  T* means;
  HD void operator()(int64_t i) const {
    const int64_t first = i / channels * channels + i % channels / per_group * per_group;
    T total = 0;
    for (int64_t c = first; c < first + per_group; c++) total += sums[c];
    means[i] = total / group_size;
  }
};

template <class T> Tensor group_mean(const NormGeometry& g, const Tensor& sums) {
  Tensor means(sums.shape(), sums.dtype(), sums.device());
  for_each(sums.device(), sums.elements(),
           GroupMean<T>{g.channels, g.per_group, T(g.group_size()), sums.data<T>(), means.data<T>()});
  return means;
}

template <class T> struct Value {
  const T* x;
  HD T operator()(int64_t i, int64_t) const { return x[i]; }
};

template <class T> struct SquaredDeviation {
  int64_t rows, channels;
  const T *x, *mean;
  HD T operator()(int64_t i, int64_t c) const {
    const T d = x[i] - mean[i / (rows * channels) * channels + c];
    return d * d;
  }
};

// xhat of element i, and y from it
template <class T> struct Normalize {
  int64_t rows, channels;
  T eps;
  const T *x, *mean, *var, *weight, *bias;
  T* y;
  HD T istd(int64_t statistic) const { return 1 / std::sqrt(var[statistic] + eps); }
  HD T xhat(int64_t i, int64_t statistic) const { return (x[i] - mean[statistic]) * istd(statistic); }
  HD void operator()(int64_t row) const {  // one row of channels
    for (int64_t c = 0; c < channels; c++) {
      const int64_t i = row * channels + c;
      y[i] = xhat(i, row / rows * channels + c) * weight[c] + bias[c];
    }
  }
};

template <class T> struct GradientTimesXhat {
  Normalize<T> forward;
  const T* dy;
  HD T operator()(int64_t i, int64_t c) const {
    return dy[i] * forward.xhat(i, i / (forward.rows * forward.channels) * forward.channels + c);
  }
};

// per-channel sums times the channel's weight: sum(dy) -> sum(g)
template <class T> struct TimesWeight {
  int64_t channels;
  const T *sums, *weight;
  T* out;
  HD void operator()(int64_t i) const { out[i] = sums[i] * weight[i % channels]; }
};

template <class T> struct NormalizeBackward {  // one row of channels
  Normalize<T> forward;
  bool fixed;
  const T *dy, *mean_g, *mean_g_xhat;
  T* dx;
  HD void operator()(int64_t row) const {
    for (int64_t c = 0; c < forward.channels; c++) {
      const int64_t i = row * forward.channels + c, statistic = row / forward.rows * forward.channels + c;
      T g = dy[i] * forward.weight[c];
      if (!fixed) g -= mean_g[statistic] + forward.xhat(i, statistic) * mean_g_xhat[statistic];
      dx[i] = forward.istd(statistic) * g;
    }
  }
};

}  // namespace

NormStatistics norm_statistics(const NormGeometry& g, const Tensor& x) {
  return dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    // Two passes: the mean first, then deviations from it. sum(x^2) - mean^2 would cancel in float32.
    Tensor sums = reduce_columns<T>(x.device(), g.images, g.rows, g.channels, Value<T>{x.data<T>()});
    Tensor mean = group_mean<T>(g, sums);
    sums = reduce_columns<T>(x.device(), g.images, g.rows, g.channels,
                             SquaredDeviation<T>{g.rows, g.channels, x.data<T>(), mean.data<T>()});
    return NormStatistics{mean, group_mean<T>(g, sums)};
  });
}

Tensor normalize(const char* op, const NormGeometry& g, const Tensor& x, const NormStatistics& statistics, bool fixed,
                 const Tensor& weight, const Tensor& bias, double eps) {
  check_same_kind(op, {&x, &weight, &bias, &statistics.mean, &statistics.var});
  check(weight.shape() == Shape{g.channels} && bias.shape() == Shape{g.channels}, op, ": weight ", weight.shape(),
        " and bias ", bias.shape(), " must be (", g.channels, ") for x ", x.shape());
  Tensor y(x.shape(), x.dtype(), x.device());
  const auto forward = [g, eps, statistics](auto zero, const Tensor& x, const Tensor& weight) {
    using T = decltype(zero);
    return Normalize<T>{
        g.rows,           g.channels, T(eps), x.data<T>(), statistics.mean.data<T>(), statistics.var.data<T>(),
        weight.data<T>(), nullptr,    nullptr};
  };
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    Normalize<T> body = forward(zero, x, weight);
    body.bias = bias.data<T>();
    body.y = y.data<T>();
    for_each(x.device(), g.images * g.rows, body);
  });
  return record(op, y, {x, weight, bias}, [=, x = x.detach(), weight = weight.detach()](const Tensor& dy, Inputs& in) {
    dispatch(dy.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const Normalize<T> body = forward(zero, x, weight);
      const Tensor sum_dy = reduce_columns<T>(x.device(), g.images, g.rows, g.channels, Value<T>{dy.data<T>()});
      const Tensor sum_dy_xhat =
          reduce_columns<T>(x.device(), g.images, g.rows, g.channels, GradientTimesXhat<T>{body, dy.data<T>()});
      const auto over_images = [&](const Tensor& sums) {
        return reduce_columns<T>(x.device(), 1, g.images, g.channels, Value<T>{sums.data<T>()}).viewed_as({g.channels});
      };
      if (in[1].needs_grad()) in[1].add_grad(over_images(sum_dy_xhat));
      if (in[2].needs_grad()) in[2].add_grad(over_images(sum_dy));
      if (!in[0].needs_grad()) return;
      const auto mean_of_g = [&](const Tensor& sums) {
        Tensor weighted(sums.shape(), sums.dtype(), sums.device());
        for_each(x.device(), sums.elements(),
                 TimesWeight<T>{g.channels, sums.data<T>(), weight.data<T>(), weighted.data<T>()});
        return group_mean<T>(g, weighted);
      };
      const Tensor mean_g = mean_of_g(sum_dy), mean_g_xhat = mean_of_g(sum_dy_xhat);
      Tensor dx(x.shape(), x.dtype(), x.device());
      for_each(x.device(), g.images * g.rows,
               NormalizeBackward<T>{body, fixed, dy.data<T>(), mean_g.data<T>(), mean_g_xhat.data<T>(), dx.data<T>()});
      in[0].add_grad(dx);
    });
  });
}

}  // namespace acinus
