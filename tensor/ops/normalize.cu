// The formulas are in normalize.h.
#include "tensor/ops/normalize.h"

#include "tensor/ops/shared.h"

namespace acinus {
namespace {

// Of sums over (images, channels), each times its channel's weight (or 1), the mean over each group.
template <class T>
struct GroupMean {
  int64_t channels, per_group, group_size;
  const T *sums, *weight;
  T* means;
  HD void operator()(int64_t s) const {
    const int64_t begin = s - s % channels % per_group;
    T total = 0;
    for (int64_t c = begin; c < begin + per_group; c++) total += weight ? sums[c] * weight[c % channels] : sums[c];
    means[s] = T(total / T(group_size));
  }
};

template <class C>
Tensor group_mean(const NormGeometry& g, const Tensor& sums, const Tensor& weight = {}) {
  Tensor means(sums.shape(), sums.dtype(), sums.device());
  for_each(sums.device(), sums.elements(),
           GroupMean<C>{g.channels, g.per_group, g.group_size(), sums.ptr<C>(), weight ? weight.ptr<C>() : nullptr,
                        means.ptr<C>()});
  return means;
}

// ---- mean and variance ----------------------------------------------------------------------------------------

// On the CPU by two passes over x, the mean first and then the squares of the deviations from it: sum(x^2) - mean^2 would
// cancel in float32.
template <class T, class C = Compute<T>>
struct SquaredDeviation {
  const T* x;
  const C* mean;
  template <class Count>
  HD auto operator()(int64_t i, int64_t s, Count n) const {
    const auto values = load(n, x + i);
    const auto means = load(n, mean + s);
    Terms<C, 1, Count> terms;
    for (int k = 0; k < n; k++) {
      const C d = values[k] - means[k];
      terms[0][k] = d * d;
    }
    return terms;
  }
  template <class... Ignored>
  HD void keep(const Ignored&...) const {}  // nothing
};

// On the GPU by one: these are the terms of sum(d) and sum(d^2), d = x - x0. x0 is a value of the image and channel, as near to the
// mean as any, so that little cancels: "shifted data" in Chan, Golub and LeVeque, Algorithms for computing the sample variance, 1983.
// It is the median of three pixels, none of them at the border, whose neighbours are padding: a single one might be an outlier.
template <class T, class C = Compute<T>>
struct ShiftedMoments {
  const T* x;
  int64_t rows;
  Divisor channels;
  // x0 of the sums s .. s+n-1; sum s is that of channel s % channels of image s / channels.
  template <class Count>
  HD auto shifts(int64_t s, Count n) const {
    const int64_t image = channels.quotient(int(s));
    const auto pixel = [&](int64_t row) { return load(n, x + (image * rows + row - image) * channels + s); };
    const auto a = pixel(rows * 7 / 31), b = pixel(rows * 17 / 31), c = pixel(rows * 25 / 31);
    Values<C, Count> median;
    for (int k = 0; k < n; k++) {
      const C low = a[k] < b[k] ? a[k] : b[k], high = a[k] < b[k] ? b[k] : a[k];
      median[k] = c[k] < low ? low : c[k] > high ? high : C(c[k]);
    }
    return median;
  }
  HD C shift(int64_t s) const { return shifts(s, Exactly<1>())[0]; }
  template <class Count>
  HD auto operator()(int64_t i, int64_t s, Count n) const {
    const auto values = load(n, x + i);
    const auto x0 = shifts(s, n);
    Terms<C, 2, Count> terms;
    for (int k = 0; k < n; k++) {
      const C d = values[k] - x0[k];
      terms[0][k] = d;
      terms[1][k] = d * d;
    }
    return terms;
  }
  template <class... Ignored>
  HD void keep(const Ignored&...) const {}  // nothing
};

// From these sums, mean and variance over the group of m = rows * per_group elements to which sum s belongs: with e = mean - x0
//   mean = sum over its channels of (rows * x0 + sum(d)) / m,    var = sum of (sum(d^2) - 2 e sum(d) + rows * e^2) / m
template <class T, class C = Compute<T>>
struct GroupStatistics {
  ShiftedMoments<T> moments;
  int64_t per_group;
  const double *sum, *square;
  C *mean, *var;
  HD void operator()(int64_t s) const {
    const int64_t begin = s - s % int(moments.channels) % per_group;
    const double rows = double(moments.rows), m = rows * double(per_group);
    double average = 0, variance = 0;
    for (int64_t c = begin; c < begin + per_group; c++) average += (rows * double(moments.shift(c)) + sum[c]) / m;
    for (int64_t c = begin; c < begin + per_group; c++) {
      const double e = average - double(moments.shift(c));
      variance += (square[c] - 2 * e * sum[c] + rows * e * e) / m;
    }
    mean[s] = C(average);
    var[s] = C(variance < 0 ? 0 : variance);
  }
};

// ---- y and its gradient ---------------------------------------------------------------------------------------

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

// The terms of sum(dy) and sum(dy * xhat). With ReLU dy is first set to 0 where y is 0, in place.
template <class T, bool relu, class C = Compute<T>>
struct GradientTerms {
  Xhat<T> xhat;
  const T* y;
  T* dy;
  template <class Count>
  HD auto operator()(int64_t i, int64_t s, Count n) const {
    const auto upstream = load(n, dy + i), x = load(n, xhat.x + i), after = load(n, (relu ? y : dy) + i);
    const auto mean = load(n, xhat.mean + s), istd = load(n, xhat.istd + s);
    Terms<C, 2, Count> terms;
    for (int k = 0; k < n; k++) {
      terms[0][k] = !relu || after[k] > 0 ? C(upstream[k]) : C(0);
      terms[1][k] = terms[0][k] * ((x[k] - mean[k]) * istd[k]);
    }
    return terms;
  }
  template <class Count>
  HD void keep(int64_t i, Count n, const Terms<C, 2, Count>& terms) const {
    if (relu) store(n, dy + i, terms[0]);
  }
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
  const Xhat<T> xhat{saved.x.ptr<T>(), saved.mean.ptr<C>(), saved.istd.ptr<C>()};
  const auto sums_by = [&](auto terms) { return reduce_columns<T>(dy.device(), g.images, g.rows, g.channels, terms); };
  std::vector<Tensor> sums =  // of dy, of dy * xhat
      saved.y ? sums_by(GradientTerms<T, true>{xhat, saved.y.ptr<T>(), dy.ptr<T>()})
              : sums_by(GradientTerms<T, false>{xhat, nullptr, dy.ptr<T>()});
  if (in[0].needs_grad()) {
    Tensor dx(dy.shape(), dy.dtype(), dy.device()), g0, g1;
    if (!saved.fixed) g0 = group_mean<C>(g, sums[0], saved.weight), g1 = group_mean<C>(g, sums[1], saved.weight);
    for_each_row<T>(dy.device(), g.images * g.rows, g.channels,
                    NormalizeBackward<T>{g.pixels(), g.channels, xhat, dy.ptr<T>(), saved.weight.ptr<C>(),
                                         g0 ? g0.ptr<C>() : nullptr, g1 ? g1.ptr<C>() : nullptr, dx.ptr<T>()});
    in[0].add_grad(std::move(dx));
  }
  for (const int k : {0, 1}) {  // dbias, dweight
    if (!in[2 - k].needs_grad()) continue;
    const ValueAt<C> of_image{sums[k].ptr<C>()};
    if (g.images > 1) sums[k] = reduce_columns<C>(dy.device(), 1, g.images, g.channels, of_image)[0];
    sums[k] = sums[k].viewed_as({g.channels});
    in[2 - k].add_grad(std::move(sums[k]));
  }
}

}  // namespace

NormStatistics norm_statistics(const NormGeometry& g, const Tensor& x) {
  return dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    const auto sums_by = [&](auto terms, auto zero) {
      return reduce_columns<T, decltype(zero)>(x.device(), g.images, g.rows, g.channels, terms);
    };
    if (x.device() == Device::cpu) {
      const Tensor mean = group_mean<C>(g, sums_by(ValueAt<T>{x.ptr<T>()}, C())[0]);
      return NormStatistics{mean, group_mean<C>(g, sums_by(SquaredDeviation<T>{x.ptr<T>(), mean.ptr<C>()}, C())[0])};
    }
    const ShiftedMoments<T> moments{x.ptr<T>(), g.rows, g.channels};
    const std::vector<Tensor> sums = sums_by(moments, double());
    const auto empty = [&] { return Tensor({g.images, g.channels}, dtype_of<C>(), x.device()); };
    const NormStatistics statistics{empty(), empty()};
    for_each(x.device(), g.images * g.channels,
             GroupStatistics<T>{moments, g.per_group, sums[0].ptr<double>(), sums[1].ptr<double>(),
                                statistics.mean.ptr<C>(), statistics.var.ptr<C>()});
    return statistics;
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
