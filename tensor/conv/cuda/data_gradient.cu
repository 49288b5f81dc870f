// dx = bias + patches of dy * w, on the GPU, by phases; conv_cuda.h.
#include "tensor/conv/cuda/implicit_gemm.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

// w (kh,kw,c,o) as the data gradient needs it: line c holds, for some of the taps, first + i * every, the o numbers of
// each.
template <class T, bool Vector>
struct TurnedWeights {
  static constexpr bool along_k = true, vector = Vector;
  const T* w;
  int kw, channels;
  Divisor o;
  int first_row, every_row, first_col, every_col;
  Divisor taps_in_row;
  int64_t lines, length;
  using Line = int64_t;
  using Step = int64_t;
  HD Line line(int64_t c) const { return c * o; }
  HD Step step(int64_t element) const {
    const int tap = o.quotient(int(element)), row = taps_in_row.quotient(tap);
    const int a = first_row + row * every_row, b = first_col + (tap - row * taps_in_row) * every_col;
    return int64_t(a * kw + b) * channels * o + int(element) - tap * o;
  }
  HD const T* place(Line line, Step step) const { return w + line + step; }
  HD T at(Line line, Step step) const { return *place(line, step); }
};

// dx = bias + sum, for the pixels (i * stride + phase_row, j * stride + phase_col) of an image of (height, width). The
// first channels are the gradient of upsample2x(below): each pixel of below is in four.
template <class T, class C = Compute<T>>
struct DataGradientEpilogue {
  PixelOrder order;
  int64_t pixels;
  int height, width, channels, below_channels, stride, phase_row, phase_col;
  const C* bias;
  T *dx, *dbelow;
  HD void operator()(int64_t, int64_t m, int64_t channel, const C (&sums)[4]) const {
    if (channel < below_channels) {
      dbelow[m / 4 * below_channels + channel] = T(sums[0] + sums[1] + sums[2] + sums[3]);
      return;
    }
    const int own = channels - below_channels;
    int64_t places[4];
    order.find_four(m, places);
    ACINUS_UNROLL
    for (int r = 0; r < 4; r++) {
      if (m + r >= pixels) break;
      if (stride > 1) {  // every so many pixels of dx are of this phase
        int n, i, j;
        order.find(m + r, n, i, j);
        places[r] = (int64_t(n) * height + i * stride + phase_row) * width + j * stride + phase_col;
      }
      dx[places[r] * own + channel - below_channels] = T(sums[r] + (bias ? bias[channel] : C(0)));
    }
  }
};

// The taps through which the pixels of one phase, those with row % stride = phase, are seen: first, first + every, ...
struct Taps {
  int64_t first = 0, every = 1, count = 0;
  Taps(int64_t phase, int64_t kernel, const ConvGeometry& g) {
    const auto sees = [&](int64_t a) { return (phase + g.padding - a * g.dilation) % g.stride == 0; };
    while (first < kernel && !sees(first)) first++;
    if (first == kernel) return;
    while (first + every < kernel && !sees(first + every)) every++;
    count = (kernel - first + every - 1) / every;
  }
};

// Forward, output pixel i sees row i*s - p + a*d through tap a. So row r of x was seen through tap a by output pixel
// (r + p - a*d) / s, if that is a whole number; which taps a can be depends on r mod s alone. For the rows of one such
// phase, r = r' * s + phase, with taps a = first + t * every:  pixel r' + (phase + p - first*d) / s - t * (every*d /
// s). That is a patch again, of dy: one product a phase.
template <class T>
void data_gradient(const ConvGeometry& g, const Tensor& dy, const Tensor& w, const Tensor& bias, Tensor& dx,
                   const Tensor& dbelow) {
  using C = Compute<T>;
  const int below = dbelow ? int(dbelow.shape()[3]) : 0;
  for (int64_t phase_row = 0; phase_row < std::min(g.stride, g.h); phase_row++)
    for (int64_t phase_col = 0; phase_col < std::min(g.stride, g.w); phase_col++) {
      const Taps down(phase_row, g.kh, g), across(phase_col, g.kw, g);
      const int64_t rows = (g.h - phase_row + g.stride - 1) / g.stride,
                    cols = (g.w - phase_col + g.stride - 1) / g.stride;
      const int64_t pixels = g.n * rows * cols, k = down.count * across.count * g.o;
      const PixelOrder order(rows, cols, bool(dbelow));
      product<T>("conv_data_gradient", g, {pixels, g.c, k, k}, common_run({g.o}), [&](auto vector) {
        constexpr bool v = decltype(vector)::value;
        Patches<T, true, v> a;
        a.beside = dy.ptr<T>();
        a.below = nullptr;
        a.height = int(g.oh), a.width = int(g.ow), a.channels = Divisor(g.o), a.below_channels = 0;
        a.order = order;
        a.stride = 1;
        a.origin_row = int((phase_row + g.padding - down.first * g.dilation) / g.stride);
        a.origin_col = int((phase_col + g.padding - across.first * g.dilation) / g.stride);
        a.step_row = -int(down.every * g.dilation / g.stride), a.step_col = -int(across.every * g.dilation / g.stride);
        a.taps_in_row = Divisor(std::max<int64_t>(across.count, 1));
        a.lines = pixels, a.length = k;
        const TurnedWeights<C, v> b{w.ptr<C>(),
                                    int(g.kw),
                                    int(g.c),
                                    Divisor(g.o),
                                    int(down.first),
                                    int(down.every),
                                    int(across.first),
                                    int(across.every),
                                    a.taps_in_row,
                                    g.c,
                                    k};
        return parts(
            a, b,
            DataGradientEpilogue<T>{order, pixels, int(g.h), int(g.w), int(g.c), below, int(g.stride), int(phase_row),
                                    int(phase_col), ptr_or_null<C>(bias), dx.ptr<T>(), ptr_or_null<T>(dbelow)});
      });
    }
}

}  // namespace

void conv_data_gradient(const ConvGeometry& g, const Tensor& dy, const Tensor& w, const Tensor& bias, Tensor& dx,
                        const Tensor& dbelow) {
  dispatch(dy.dtype(), [&](auto zero) { data_gradient<decltype(zero)>(g, dy, w, bias, dx, dbelow); });
}

}  // namespace acinus::on_gpu
#endif
