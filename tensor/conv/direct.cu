// The three sums of conv.h, computed as they are written: each element of a result is one loop over all that it depends
// on. It runs on every device, in any type, and is slow, because every number is read from memory again and again. The
// tests compare the faster algorithms with it, and docs/kernels.md starts from it.
#include "tensor/conv/engine.h"
#include "tensor/rows.h"

namespace acinus {
namespace {

template <class T, class C = Compute<T>>
struct DirectForward {  // output channels first .. first+count-1 of one output pixel
  ConvGeometry g;
  const T* x;
  const C *w, *bias;
  bool relu;
  T* y;
  template <class Count>
  HD void operator()(int64_t pixel, int64_t first, Count count) const {
    const int64_t n = pixel / (g.oh * g.ow), i = pixel / g.ow % g.oh, j = pixel % g.ow;
    for (int64_t o = first; o < first + count; o++) {
      C sum = bias ? bias[o] : C(0);
      for (int64_t a = 0; a < g.kh; a++)
        for (int64_t b = 0; b < g.kw; b++) {
          const int64_t r = i * g.stride - g.padding + a * g.dilation, q = j * g.stride - g.padding + b * g.dilation;
          if (r < 0 || r >= g.h || q < 0 || q >= g.w) continue;
          for (int64_t c = 0; c < g.c; c++)
            sum += x[((n * g.h + r) * g.w + q) * g.c + c] * w[((a * g.kw + b) * g.c + c) * g.o + o];
        }
      y[pixel * g.o + o] = T(relu && sum <= 0 ? C(0) : sum);
    }
  }
};

template <class T, class C = Compute<T>>
struct DirectDataGradient {  // channels first .. first+count-1 of one input pixel
  ConvGeometry g;
  const T* dy;
  const C *w, *bias;
  T* dx;
  template <class Count>
  HD void operator()(int64_t pixel, int64_t first, Count count) const {
    const int64_t n = pixel / (g.h * g.w), r = pixel / g.w % g.h, q = pixel % g.w;
    for (int64_t c = first; c < first + count; c++) {
      C sum = bias ? bias[c] : C(0);
      for (int64_t a = 0; a < g.kh; a++)
        for (int64_t b = 0; b < g.kw; b++) {
          // forward: r = i*s - p + a*d, hence up = i*s; and left = j*s
          const int64_t up = r + g.padding - a * g.dilation, left = q + g.padding - b * g.dilation;
          if (up < 0 || up % g.stride || up / g.stride >= g.oh) continue;
          if (left < 0 || left % g.stride || left / g.stride >= g.ow) continue;
          for (int64_t o = 0; o < g.o; o++)
            sum += dy[((n * g.oh + up / g.stride) * g.ow + left / g.stride) * g.o + o] *
                   w[((a * g.kw + b) * g.c + c) * g.o + o];
        }
      dx[pixel * g.c + c] = T(sum);
    }
  }
};

template <class T, class C = Compute<T>>
struct DirectWeightGradient {  // output channels first .. first+count-1 of one (tap, input channel)
  ConvGeometry g;
  const T *x, *dy;
  C* dw;
  template <class Count>
  HD void operator()(int64_t row, int64_t first, Count count) const {
    const int64_t a = row / g.c / g.kw, b = row / g.c % g.kw, c = row % g.c;
    for (int64_t o = first; o < first + count; o++) {
      C sum = 0;
      for (int64_t n = 0; n < g.n; n++)
        for (int64_t i = 0; i < g.oh; i++)
          for (int64_t j = 0; j < g.ow; j++) {
            const int64_t r = i * g.stride - g.padding + a * g.dilation, q = j * g.stride - g.padding + b * g.dilation;
            if (r >= 0 && r < g.h && q >= 0 && q < g.w)
              sum += x[((n * g.h + r) * g.w + q) * g.c + c] * dy[((n * g.oh + i) * g.ow + j) * g.o + o];
          }
      dw[row * g.o + o] = sum;
    }
  }
};

template <class T, class C = Compute<T>>
void forward(const ConvGeometry& g, const SkipConcatData<const T>& x, const C* w, const C* bias, bool relu, T* y, T*) {
  for_each_row<T>(g.device, g.n * g.oh * g.ow, g.o, DirectForward<T>{g, x.skip, w, bias, relu, y}, 1);
}

template <class T, class C = Compute<T>>
void data_gradient(const ConvGeometry& g, const T* dy, const C* w, const C* bias, const SkipConcatData<T>& dx,
                   const SkipConcatData<const T>&) {
  for_each_row<T>(g.device, g.n * g.h * g.w, g.c, DirectDataGradient<T>{g, dy, w, bias, dx.skip}, 1);
}

template <class T, class C = Compute<T>>
void weight_gradient(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* dy, C* dw, C*) {
  for_each_row<T>(g.device, g.kh * g.kw * g.c, g.o, DirectWeightGradient<T>{g, x.skip, dy, dw}, 1);
}

}  // namespace

template <class T>
ConvEngine<T> direct_engine() {
  return {forward<T>, data_gradient<T>, weight_gradient<T>};
}

template ConvEngine<float> direct_engine();
template ConvEngine<double> direct_engine();
template ConvEngine<bf16> direct_engine();

}  // namespace acinus
