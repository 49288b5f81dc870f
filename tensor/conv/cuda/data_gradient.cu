// dx = bias + patches of dy * w, on the GPU, a product for each phase (engine.h); implicit_gemm.h.
#include "tensor/conv/cuda/implicit_gemm.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

// w (kh,kw,c,o) as the data gradient needs it: line c holds the o numbers of each tap of the phase, first + i * every.
template <class T, bool Vector>
struct TransposedWeights {
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
  HD const T* address(Line line, Step step) const { return w + line + step; }
  HD T at(Line line, Step step) const { return *address(line, step); }
};

// dx = bias + sum, for the pixels (i * stride + phase_row, j * stride + phase_col) of an image of (height, width). Of the
// gradient of upsample2x(deep), each pixel of deep gets four terms.
template <class T, class C = Compute<T>>
struct DataGradientEpilogue {
  PixelOrder order;
  int64_t pixels;
  int height, width, channels, stride, phase_row, phase_col;
  const C* bias;
  SkipConcatData<T> dx;
  HD void operator()(int64_t, int64_t m, int64_t channel, const C (&sums)[4]) const {
    const int64_t deep = dx.deep_channels, skip = channels - deep;
    if (channel < deep) {
      dx.deep[m / 4 * deep + channel] = T(sums[0] + sums[1] + sums[2] + sums[3]);
      return;
    }
    int64_t pixel[4];
    order.find_four(m, pixel);
    ACINUS_UNROLL
    for (int r = 0; r < 4; r++) {
      if (m + r >= pixels) break;
      if (stride > 1) {  // of dx, every stride-th row and column are of this phase
        int n, i, j;
        order.find(m + r, n, i, j);
        pixel[r] = (int64_t(n) * height + i * stride + phase_row) * width + j * stride + phase_col;
      }
      dx.skip[pixel[r] * skip + channel - deep] = T(sums[r] + (bias ? bias[channel] : C(0)));
    }
  }
};

template <class T, class C>
void data_gradient_of_phase(const ConvGeometry& g, int64_t phase_row, int64_t phase_col, const T* dy, const C* w,
                            const C* bias, const SkipConcatData<T>& dx) {
  const PhaseTaps down(phase_row, g.kh, g), across(phase_col, g.kw, g);
  const int64_t rows = (g.h - phase_row + g.stride - 1) / g.stride, cols = (g.w - phase_col + g.stride - 1) / g.stride;
  const int64_t pixels = g.n * rows * cols, k = down.count * across.count * g.o;
  const PixelOrder order(rows, cols, /*by_fours=*/dx.deep_channels > 0);
  product<T>("conv_data_gradient", g, {pixels, g.c, k, k}, common_alignment({g.o}), [&](auto vector) {
    constexpr bool v = decltype(vector)::value;
    Patches<T, true, v> a;
    a.x = {dy, nullptr, 0};
    a.height = int(g.oh), a.width = int(g.ow), a.channels = Divisor(g.o);
    a.order = order;
    a.stride = 1, a.origin_row = int(down.origin), a.origin_col = int(across.origin);
    a.step_row = -int(down.step), a.step_col = -int(across.step);
    a.taps_in_row = Divisor(std::max<int64_t>(across.count, 1));
    a.lines = pixels, a.length = k;
    TransposedWeights<C, v> b;
    b.w = w, b.kw = int(g.kw), b.channels = int(g.c), b.o = Divisor(g.o), b.taps_in_row = a.taps_in_row;
    b.first_row = int(down.first), b.every_row = int(down.every);
    b.first_col = int(across.first), b.every_col = int(across.every);
    b.lines = g.c, b.length = k;
    return std::make_tuple(a, b,
                           DataGradientEpilogue<T>{order, pixels, int(g.h), int(g.w), int(g.c), int(g.stride),
                                                   int(phase_row), int(phase_col), bias, dx});
  });
}

}  // namespace

// One product for each phase of the rows and columns (engine.h).
template <class T, class C>
void gemm_data_gradient(const ConvGeometry& g, const T* dy, const C* w, const C* bias, const SkipConcatData<T>& dx) {
  for (int64_t row = 0; row < std::min(g.stride, g.h); row++)
    for (int64_t col = 0; col < std::min(g.stride, g.w); col++) data_gradient_of_phase(g, row, col, dy, w, bias, dx);
}

template void gemm_data_gradient(const ConvGeometry&, const float*, const float*, const float*,
                                 const SkipConcatData<float>&);
template void gemm_data_gradient(const ConvGeometry&, const double*, const double*, const double*,
                                 const SkipConcatData<double>&);
template void gemm_data_gradient(const ConvGeometry&, const bf16*, const float*, const float*,
                                 const SkipConcatData<bf16>&);

}  // namespace acinus::on_gpu
#endif
