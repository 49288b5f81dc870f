// The formulas are in normalize.h.
#include "tensor/ops/normalize.h"

#include "tensor/ops/shared.h"

namespace acinus {
namespace {

// Of sums (images, channels) the mean over each group: the sum over its channels, divided by m. For channels begin ..
// begin+count-1 of one image.
template <class T>
struct GroupMean {
  int64_t channels, per_group, group_size;
  const T* sums;
  T* means;
  template <class Count>
  HD void operator()(int64_t image, int64_t begin, Count count) const {
    for (int64_t i = begin; i < begin + count; i++) {
      const int64_t first = image * channels + i / per_group * per_group;
      Compute<T> total = 0;
      for (int64_t c = first; c < first + per_group; c++) total += sums[c];
      means[image * channels + i] = T(total / Compute<T>(group_size));
    }
  }
};

Tensor group_mean(const NormGeometry& g, const Tensor& sums) {
  return map_rows<GroupMean>(sums, sums.shape(), g.channels, g.per_group, g.group_size());
}

// x may be bfloat16; statistics, weight and bias are of the type of its arithmetic, C.
template <class T, class C = Compute<T>>
struct SquaredDeviation {
  const T* x;
  const C* mean;
  HD C operator()(int64_t i, int64_t s) const {
    const C d = x[i] - mean[s];
    return d * d;
  }
};

struct InverseDeviation {
  double eps;
  template <class T>
  HD T operator()(T var) const {
    return 1 / std::sqrt(var + T(eps));
  }
};

template <class T, class C = Compute<T>>
struct Xhat {
  const T* x;
  const C *mean, *istd;
  HD C operator()(int64_t i, int64_t s) const { return (x[i] - mean[s]) * istd[s]; }
};

template <class T, class C = Compute<T>>
struct NormalizeForward {  // channels first .. first+n-1 of one row
  Pixels by_image;
  int64_t channels;
  Xhat<T> xhat;
  const C *weight, *bias;
  C low;  // 0 with ReLU, minus infinity without
  T* y;
  template <class Count>
  HD void operator()(int64_t row, int64_t first, Count n) const {
    const int64_t i = row * channels + first, s = by_image[row].image * channels + first;
    const auto normalized = [lowest = low](C x, C mean, C istd, C weight, C bias) {
      const C value = (x - mean) * istd * weight + bias;
      return value <= lowest ? lowest : value;  // NaN stays NaN
    };
    assign(n, y + i, normalized, load(n, xhat.x + i), load(n, xhat.mean + s), load(n, xhat.istd + s),
           load(n, weight + first), load(n, bias + first));
  }
};

template <class T, class C = Compute<T>>
struct GradientTimesXhat {
  Xhat<T> xhat;
  const T* dy;
  HD C operator()(int64_t i, int64_t s) const { return dy[i] * xhat(i, s); }
};

// Per-channel sums times the channel's weight: sum(dy) -> sum(g)
template <class T>
struct TimesWeight {
  int64_t channels;
  const T *sums, *weight;
  T* out;
  HD void operator()(int64_t i) const { out[i] = sums[i] * weight[i % channels]; }
};

template <class T, class C = Compute<T>>
struct NormalizeBackward {  // channels first .. first+n-1 of one row
  Pixels by_image;
  int64_t channels;
  Xhat<T> xhat;
  const T* dy;
  const C *weight, *mean_g, *mean_g_xhat;  // the means are null for fixed statistics
  T* dx;
  template <class Count>
  HD void operator()(int64_t row, int64_t first, Count n) const {
    const int64_t i = row * channels + first, s = by_image[row].image * channels + first;
    const auto g = load(n, dy + i);
    const auto istd = load(n, xhat.istd + s), w = load(n, weight + first);
    if (!mean_g)
      return assign(
          n, dx + i, [](C istd, C dy, C w) { return istd * dy * w; }, istd, g, w);
    const auto gradient = [](C istd, C dy, C w, C x, C mean, C mean_g, C mean_g_xhat) {
      return istd * (dy * w - mean_g - (x - mean) * istd * mean_g_xhat);
    };
    assign(n, dx + i, gradient, istd, g, w, load(n, xhat.x + i), load(n, xhat.mean + s), load(n, mean_g + s),
           load(n, mean_g_xhat + s));
  }
};

// What the gradient needs of the forward pass; y is empty without ReLU.
struct Saved {
  Tensor x, mean, istd, weight, y;
  bool fixed;
};

template <class T>
void normalize_backward(const NormGeometry& g, const Saved& saved, const Tensor& dy, Inputs& in) {
  using C = Compute<T>;
  const auto sum_rows = [&](auto f) { return reduce_columns<C>(dy.device(), g.images, g.rows, g.channels, f); };
  const auto sum_images = [&](const Tensor& sums) {
    return reduce_columns<C>(dy.device(), 1, g.images, g.channels, ValueAt<C>{sums.ptr<C>()}).viewed_as({g.channels});
  };
  const auto mean_times_weight = [&](const Tensor& sums) {
    Tensor weighted(sums.shape(), sums.dtype(), sums.device());
    for_each(dy.device(), sums.elements(),
             TimesWeight<C>{g.channels, sums.ptr<C>(), saved.weight.ptr<C>(), weighted.ptr<C>()});
    return group_mean(g, weighted);
  };

  const Xhat<T> xhat{saved.x.ptr<T>(), saved.mean.ptr<C>(), saved.istd.ptr<C>()};
  const Tensor sum_dy =
      saved.y ? sum_rows(ReluGradientAt<T>{saved.y.ptr<T>(), dy.ptr<T>()}) : sum_rows(ValueAt<T>{dy.ptr<T>()});
  const Tensor sum_dy_xhat = sum_rows(GradientTimesXhat<T>{xhat, dy.ptr<T>()});
  if (in[1].needs_grad()) in[1].add_grad(sum_images(sum_dy_xhat));
  if (in[2].needs_grad()) in[2].add_grad(sum_images(sum_dy));
  if (!in[0].needs_grad()) return;
  const Tensor mean_g = mean_times_weight(sum_dy), mean_g_xhat = mean_times_weight(sum_dy_xhat);
  Tensor dx(dy.shape(), dy.dtype(), dy.device());
  for_each_row<T>(dy.device(), g.images * g.rows, g.channels,
                  NormalizeBackward<T>{g.pixels(), g.channels, xhat, dy.ptr<T>(), saved.weight.ptr<C>(),
                                       saved.fixed ? nullptr : mean_g.ptr<C>(), mean_g_xhat.ptr<C>(), dx.ptr<T>()});
  in[0].add_grad(dx);
}

}  // namespace

NormStatistics norm_statistics(const NormGeometry& g, const Tensor& x) {
  return dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    // Two passes: the mean first, then deviations from it. sum(x^2) - mean^2 would cancel in float32.
    Tensor sums = reduce_columns<C>(x.device(), g.images, g.rows, g.channels, ValueAt<T>{x.ptr<T>()});
    Tensor mean = group_mean(g, sums);
    sums = reduce_columns<C>(x.device(), g.images, g.rows, g.channels, SquaredDeviation<T>{x.ptr<T>(), mean.ptr<C>()});
    return NormStatistics{mean, group_mean(g, sums)};
  });
}

Tensor normalize(const char* op, const NormGeometry& g, const Tensor& x, const NormStatistics& statistics, bool fixed,
                 const Tensor& weight, const Tensor& bias, double eps, bool relu) {
  check_parameters(op, x, {&weight, &bias, &statistics.mean, &statistics.var});
  check(weight.shape() == Shape{g.channels} && bias.shape() == Shape{g.channels}, op, ": weight ", weight.shape(),
        " and bias ", bias.shape(), " must be (", g.channels, ") for x ", x.shape());
  const Tensor mean = statistics.mean, istd = map(InverseDeviation{eps}, statistics.var);
  Tensor y(x.shape(), x.dtype(), x.device());
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    const Xhat<T> xhat{x.ptr<T>(), mean.ptr<C>(), istd.ptr<C>()};
    for_each_row<T>(x.device(), g.images * g.rows, g.channels,
                    NormalizeForward<T>{g.pixels(), g.channels, xhat, weight.ptr<C>(), bias.ptr<C>(),
                                        relu ? C(0) : C(-INFINITY), y.ptr<T>()});
  });
  return record(op, y, {x, weight, bias},
                [g, saved = Saved{x.detach(), mean, istd, weight.detach(), relu ? y : Tensor(), fixed}](
                    const Tensor& upstream, Inputs& in) {
                  // With ReLU, its gradient is written over dy, unless another tensor shares that.
                  const Tensor dy = !saved.y || upstream.is_unique() ? upstream : upstream.clone();
                  dispatch(dy.dtype(), [&](auto zero) { normalize_backward<decltype(zero)>(g, saved, dy, in); });
                });
}

}  // namespace acinus
