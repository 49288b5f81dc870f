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

// In one pass over x: these are the terms of sum(d) and sum(d^2), d = x - x0. x0 is a value of the image and channel, as near to
// the mean as any, so that little cancels: "shifted data" in Chan, Golub and LeVeque, Algorithms for computing the sample variance,
// 1983. It is the median of three pixels, none of them at the border, whose neighbours are padding: a single one might be an outlier.
template <class C, class Shifts, class Values, class Count>
HD auto moments_about(const Shifts& x0, const Values& x, Count n) {
  Terms<C, 2, Count> terms;
  for (int k = 0; k < n; k++) {
    const C d = x[k] - x0[k];
    terms[0][k] = d;
    terms[1][k] = d * d;
  }
  return terms;
}

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
    return moments_about<C>(shifts(s, n), load(n, x + i), n);
  }
};

// The same with each x0 known. The CPU computes them once; on a GPU that takes longer, as a kernel of its own, than each time.
template <class T, class C = Compute<T>>
struct MomentsAbout {
  const T* x;
  const C* x0;
  template <class Count>
  HD auto operator()(int64_t i, int64_t s, Count n) const {
    return moments_about<C>(load(n, x0 + s), load(n, x + i), n);
  }
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
struct NormInput {
  const T* x;
  const C *mean, *istd;    // (images, channels)
  const C *weight, *bias;  // (channels)
  bool relu;
};

// s = (x - mean) * istd * weight + bias: y, or what ReLU makes y of.
template <class C>
HD C scaled(C x, C mean, C istd, C weight, C bias) {
  return (x - mean) * istd * weight + bias;
}

template <class T, class C = Compute<T>>
struct NormalizeForward {  // channels first .. first+n-1 of one row
  Pixels by_image;
  int64_t channels;
  NormInput<T> in;
  T* y;
  template <class Count>
  HD void operator()(int64_t row, int64_t first, Count n) const {
    const int64_t i = row * channels + first, s = by_image[row].image * channels + first;
    const auto normalized = [low = in.relu ? C(0) : C(-INFINITY)](C x, C mean, C istd, C weight, C bias) {
      const C value = scaled(x, mean, istd, weight, bias);
      return value <= low ? low : value;  // NaN stays NaN
    };
    assign(n, y + i, normalized, load(n, in.x + i), load(n, in.mean + s), load(n, in.istd + s),
           load(n, in.weight + first), load(n, in.bias + first));
  }
};

// forward: y = relu(s), hence ds = s > 0 ? dy : 0. To compute s once more takes less time than to read y.
template <class C>
struct ReluGradient {
  bool relu;
  HD C operator()(C dy, C x, C mean, C istd, C weight, C bias) const {
    return !relu || scaled(x, mean, istd, weight, bias) > 0 ? dy : C(0);
  }
};

// The terms of sum(ds) and sum(ds * xhat).
template <class T, class C = Compute<T>>
struct GradientTerms {
  NormInput<T> in;
  const T* dy;
  Divisor channels;
  template <class Count>
  HD auto operator()(int64_t i, int64_t s, Count n) const {
    const int first = channels.remainder(int(s));
    const auto upstream = load(n, dy + i), x = load(n, in.x + i);
    const auto mean = load(n, in.mean + s), istd = load(n, in.istd + s);
    const auto weight = load(n, in.weight + first), bias = load(n, in.bias + first);
    const ReluGradient<C> gradient{in.relu};
    Terms<C, 2, Count> terms;
    for (int k = 0; k < n; k++) {
      terms[0][k] = gradient(upstream[k], x[k], mean[k], istd[k], weight[k], bias[k]);
      terms[1][k] = terms[0][k] * ((x[k] - mean[k]) * istd[k]);
    }
    return terms;
  }
};

template <class T, class C = Compute<T>>
struct NormalizeBackward {  // channels first .. first+n-1 of one row
  Pixels by_image;
  int64_t channels;
  NormInput<T> in;
  const T* dy;
  const C *mean_g, *mean_g_xhat;  // null for fixed statistics
  T* dx;                          // may be dy
  template <class Count>
  HD void operator()(int64_t row, int64_t first, Count n) const {
    const int64_t i = row * channels + first, s = by_image[row].image * channels + first;
    const auto upstream = load(n, dy + i), x = load(n, in.x + i);
    const auto mean = load(n, in.mean + s), istd = load(n, in.istd + s);
    const auto weight = load(n, in.weight + first), bias = load(n, in.bias + first);
    const ReluGradient<C> ds{in.relu};
    if (!mean_g) {
      const auto gradient = [ds](C dy, C x, C mean, C istd, C w, C b) {
        return istd * ds(dy, x, mean, istd, w, b) * w;
      };
      return assign(n, dx + i, gradient, upstream, x, mean, istd, weight, bias);
    }
    const auto gradient = [ds](C dy, C x, C mean, C istd, C w, C b, C mean_g, C mean_g_xhat) {
      return istd * (ds(dy, x, mean, istd, w, b) * w - mean_g - (x - mean) * istd * mean_g_xhat);
    };
    assign(n, dx + i, gradient, upstream, x, mean, istd, weight, bias, load(n, mean_g + s), load(n, mean_g_xhat + s));
  }
};

// What the gradient needs of the forward pass.
struct Saved {
  Tensor x, mean, istd, weight, bias;
  bool relu, fixed;
};

template <class T>
NormInput<T> input_of(const Saved& s) {
  using C = Compute<T>;
  return {s.x.ptr<T>(), s.mean.ptr<C>(), s.istd.ptr<C>(), s.weight.ptr<C>(), s.bias.ptr<C>(), s.relu};
}

template <class T>
void normalize_backward(const NormGeometry& g, const Saved& saved, const Tensor& dy, Inputs& in) {
  using C = Compute<T>;
  std::vector<Tensor> sums = reduce_columns<T>(dy.device(), g.images, g.rows, g.channels,  // of ds, of ds * xhat
                                               GradientTerms<T>{input_of<T>(saved), dy.ptr<T>(), g.channels});
  if (in[0].needs_grad()) {
    // Written over dy, unless another tensor shares that.
    Tensor dx = dy.is_unique() ? dy : Tensor(dy.shape(), dy.dtype(), dy.device()), g0, g1;
    if (!saved.fixed) g0 = group_mean<C>(g, sums[0], saved.weight), g1 = group_mean<C>(g, sums[1], saved.weight);
    for_each_row<T>(dy.device(), g.images * g.rows, g.channels,
                    NormalizeBackward<T>{g.pixels(), g.channels, input_of<T>(saved), dy.ptr<T>(),
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
    const ShiftedMoments<T> moments{x.ptr<T>(), g.rows, g.channels};
    const auto sums_by = [&](auto terms) {
      return reduce_columns<T, double>(x.device(), g.images, g.rows, g.channels, terms);
    };
    std::vector<C> x0;
    for (int64_t s = 0; x.device() == Device::cpu && s < g.images * g.channels; s++) x0.push_back(moments.shift(s));
    const std::vector<Tensor> sums =
        x.device() == Device::cpu ? sums_by(MomentsAbout<T>{x.ptr<T>(), x0.data()}) : sums_by(moments);
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
  const Saved saved{
      x.detach(), statistics.mean, map(InverseDeviation{eps}, statistics.var), weight.detach(), bias.detach(), relu,
      fixed};
  Tensor y(x.shape(), x.dtype(), x.device());
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_each_row<T>(x.device(), g.images * g.rows, g.channels,
                    NormalizeForward<T>{g.pixels(), g.channels, input_of<T>(saved), y.ptr<T>()});
  });
  return record(op, y, {x, weight, bias}, [g, saved](const Tensor& dy, Inputs& in) {
    dispatch(dy.dtype(), [&](auto zero) { normalize_backward<decltype(zero)>(g, saved, dy, in); });
  });
}

}  // namespace acinus
