// im2col: a convolution as a product of two matrices. (Chellapilla et al. 2006, "High Performance Convolutional Neural
// Networks for Document Processing")
//
//   y = patches of x * w       one row for each output pixel: the KH*KW*C numbers that it sees, its *patch*; w is a
//                              matrix (KH*KW*C, O) as it lies in memory
//
// The patches are made for a *band* at a time, a few output rows of one image, and stay in the cache. How many rows a
// band has depends on the shapes alone, so results do not depend on the number of threads. There are two ways to make
// them:
//
//   explicit   copies each patch. Any stride and dilation.
//   implicit   without stride and dilation no copy is needed. In an image row padded to W' pixels, the KW*C numbers that
//              a pixel sees through kernel row a lie together, starting at its left neighbour:
//
//                memory of a row   |p0|p1|p2|p3|p4| ...          pi: the C channels of pixel i
//                matrix row 0      [p0 p1 p2]                     a (W' x 3C) matrix whose rows
//                matrix row 1         [p1 p2 p3]                  start C numbers apart: they overlap,
//                matrix row 2            [p2 p3 p4]               which a product does not mind
//
//              So KH products with row stride C do it. Rows that straddle two image rows give rubbish, KW-1 for each
//              image row, which is thrown away. For 3 to 16 channels of 64x64 pixels this takes 0.82 of the explicit
//              form's time forward and 0.69 for the weight gradient; for one output channel, half.
#include <algorithm>
#include <vector>

#include "tensor/conv/cpu/gemm.h"
#include "tensor/conv/engine.h"
#include "tensor/parallel.h"

namespace acinus {
namespace {

struct Band {
  int64_t image, first, rows;  // output rows first .. first+rows-1 of an image
};

// A convolution that also describes one phase of a data gradient (engine.h):
//   y[i,j] = sum over a,b  x[i*stride + origin_h + a*step_h, j*stride + origin_w + b*step_w] * w[a,b]
struct Convolution : ConvGeometry {
  int64_t origin_h = -padding, origin_w = -padding, step_h = dilation, step_w = dilation;
  Convolution(const ConvGeometry& g) : ConvGeometry(g) {}

  // For a 1x1 kernel the image itself is the matrix of patches.
  bool pointwise() const { return kh * kw == 1 && stride == 1 && origin_h == 0 && origin_w == 0 && oh == h && ow == w; }
  bool implicit() const { return kh * kw > 1 && stride == 1 && step_h == 1 && step_w == 1; }
  int64_t width() const { return implicit() ? ow + kw - 1 : ow; }  // rows of the matrix for each output row

  // Each band's patches (for `kernel_rows` of the kernel) and results should fill about half a 1 MB L2 cache.
  std::vector<Band> bands(int64_t kernel_rows) const {
    const int64_t floats_a_row = width() * ((implicit() ? c : kernel_rows * kw * c) + o);
    const int64_t rows =
        std::clamp<int64_t>((int64_t(1) << 16) / std::max<int64_t>(floats_a_row, 1), 1, std::max<int64_t>(oh, 1));
    std::vector<Band> result;
    for (int64_t image = 0; image < n; image++)
      for (int64_t first = 0; first < oh; first += rows) result.push_back({image, first, std::min(rows, oh - first)});
    return result;
  }
  int64_t patches_size(int64_t rows, int64_t kernel_rows) const {
    if (pointwise()) return 0;
    return implicit() ? ((rows + kernel_rows - 1) * width() + kw) * c : rows * ow * kernel_rows * kw * c;
  }
};

// ---- patches --------------------------------------------------------------------------------------------------

// Rows first_row .. first_row+rows-1 of an image (h,w,c), and of those the `width` pixels from first_col on, with zeros
// for what is outside; and `tail` more pixels of zeros.
template <class T>
void copy_padded(const T* image, int64_t h, int64_t w, int64_t c, int64_t first_row, int64_t rows, int64_t first_col,
                 int64_t width, int64_t tail, T* out) {
  const int64_t begin = std::clamp<int64_t>(-first_col, 0, width), end = std::clamp(w - first_col, begin, width);
  for (int64_t row = first_row; row < first_row + rows; row++, out += width * c) {
    const bool inside = row >= 0 && row < h;
    std::fill_n(out, (inside ? begin : width) * c, T(0));
    if (!inside) continue;
    std::copy_n(image + (row * w + first_col + begin) * c, (end - begin) * c, out + begin * c);
    std::fill_n(out + end * c, (width - end) * c, T(0));
  }
  std::fill_n(out, tail * c, T(0));
}

// The patches of a band through kernel rows a_begin .. a_end-1, one after the other.
template <class T>
void copy_patches(const Convolution& g, const T* image, const Band& band, int64_t a_begin, int64_t a_end, T* out) {
  for (int64_t i = band.first; i < band.first + band.rows; i++)
    for (int64_t j = 0; j < g.ow; j++)
      for (int64_t a = a_begin; a < a_end; a++) {
        const int64_t row = i * g.stride + g.origin_h + a * g.step_h, first = j * g.stride + g.origin_w;
        if (g.step_w == 1 && row >= 0 && row < g.h && first >= 0 && first + g.kw <= g.w) {  // they lie together
          std::copy_n(image + (row * g.w + first) * g.c, g.kw * g.c, out);
          out += g.kw * g.c;
          continue;
        }
        for (int64_t b = 0; b < g.kw; b++, out += g.c) {
          const int64_t col = first + b * g.step_w;
          if (row >= 0 && row < g.h && col >= 0 && col < g.w)
            std::copy_n(image + (row * g.w + col) * g.c, g.c, out);
          else
            std::fill_n(out, g.c, T(0));
        }
      }
}

// Where the patches of a band through kernel rows a_begin .. a_end-1 begin: in `buffer`, of patches_size, or in x.
template <class T>
const T* patches(const Convolution& g, const T* x, const Band& band, int64_t a_begin, int64_t a_end, T* buffer) {
  const T* image = x + band.image * g.h * g.w * g.c;
  if (g.pointwise()) return image + band.first * g.w * g.c;
  if (g.implicit())
    copy_padded(image, g.h, g.w, g.c, band.first + g.origin_h + a_begin, band.rows + a_end - a_begin - 1, g.origin_w,
                g.width(), g.kw, buffer);
  else
    copy_patches(g, image, band, a_begin, a_end, buffer);
  return buffer;
}

// A product whose factors are in the cache: panel by panel, where the columns are whole vectors.
template <class T>
void multiply(Transpose transpose, Matrix<const T> a, Matrix<const T> b, Matrix<T> c, bool accumulate = false) {
  if (c.cols % lanes<T> != 0 || b.rows == 0) return gemm<T>(transpose, a, b, c, accumulate);
  for (int64_t k = 0; k < c.cols; k += panel_width<T>) {
    const int64_t width = std::min(panel_width<T>, c.cols - k);
    gebp<T>(transpose, a, {b.data + k, b.rows, width, b.stride}, {c.data + k, c.rows, width, c.stride}, accumulate);
  }
}

// ---- forward --------------------------------------------------------------------------------------------------

// out (pixels, o) += bias, then ReLU, while the pixels are still in the cache
template <class T>
void add_bias_relu(T* out, int64_t pixels, int64_t o, const T* bias, bool relu) {
  if (bias)
    for (int64_t i = 0; i < pixels; i++) {
#pragma omp simd
      for (int64_t k = 0; k < o; k++) out[i * o + k] += bias[k];
    }
  if (relu) {
#pragma omp simd
    for (int64_t i = 0; i < pixels * o; i++) out[i] = out[i] <= 0 ? T(0) : out[i];  // NaN stays NaN
  }
}

// The image that results are stored in: pixel (i, j) at (i * stride + row, j * stride + col).
template <class T>
struct Output {
  T* data;
  int64_t h, w, stride = 1, row = 0, col = 0;
};

template <class T>
void convolve(const Convolution& g, const T* x, const T* w, const T* bias, bool relu, const Output<T>& y) {
  const std::vector<Band> bands = g.bands(g.kh);
  const int64_t width = g.width(), products = g.implicit() ? g.kh : 1, depth = g.kh * g.kw * g.c / products;
  const int64_t max_rows = bands.empty() ? 0 : bands[0].rows, size = g.patches_size(max_rows, g.kh);
  const bool in_place = y.stride == 1 && width == g.ow;
  const int64_t out_size = in_place ? 0 : max_rows * width * g.o;
  parallel<T>(bands.size(), g.pays_threads(), size + out_size, [&](int64_t i, T* scratch) {
    const Band band = bands[i];
    const T* matrix = patches(g, x, band, 0, g.kh, scratch);
    T* out = in_place ? y.data + (band.image * g.oh + band.first) * g.ow * g.o : scratch + size;
    for (int64_t p = 0; p < products; p++)
      multiply<T>(Transpose::none, {matrix + p * width * g.c, band.rows * width, depth, g.implicit() ? g.c : depth},
                  {w + p * depth * g.o, depth, g.o, g.o}, {out, band.rows * width, g.o, g.o}, /*accumulate=*/p > 0);
    for (int64_t r = 0; r < band.rows; r++) {
      T* row = out + r * width * g.o;
      add_bias_relu(row, g.ow, g.o, bias, relu);
      if (in_place) continue;
      T* to = y.data + ((band.image * y.h + (band.first + r) * y.stride + y.row) * y.w + y.col) * g.o;
      if (y.stride == 1) std::copy_n(row, g.ow * g.o, to);
      for (int64_t j = 0; j < g.ow && y.stride > 1; j++) std::copy_n(row + j * g.o, g.o, to + j * y.stride * g.o);
    }
  });
}

template <class T>
void forward(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* w, const T* bias, bool relu, T* y, T*) {
  convolve<T>(g, x.skip, w, bias, relu, {y, g.oh, g.ow});
}

// ---- data gradient --------------------------------------------------------------------------------------------

// One convolution of dy for each phase of the rows and columns (engine.h), with the phase's taps in reverse, so that
// they see dy from left to right. With stride 1 there is one phase.
template <class T>
void data_gradient_by_phase(const ConvGeometry& g, const T* dy, const T* w, const T* bias, T* dx) {
  for (int64_t phase_h = 0; phase_h < std::min(g.stride, g.h); phase_h++)
    for (int64_t phase_w = 0; phase_w < std::min(g.stride, g.w); phase_w++) {
      const PhaseTaps down(phase_h, g.kh, g), across(phase_w, g.kw, g);
      Convolution t = g.transposed();
      t.oh = (g.h - phase_h + g.stride - 1) / g.stride, t.ow = (g.w - phase_w + g.stride - 1) / g.stride;
      t.kh = down.count, t.kw = across.count, t.stride = 1;
      t.origin_h = down.origin - (down.count - 1) * down.step;
      t.origin_w = across.origin - (across.count - 1) * across.step;
      t.step_h = down.step, t.step_w = across.step;
      std::vector<T> weights(t.kh * t.kw * g.o * g.c);  // (taps, o, c)
      T* out = weights.data();
      for (int64_t a = t.kh - 1; a >= 0; a--)
        for (int64_t b = t.kw - 1; b >= 0; b--, out += g.o * g.c)
          transpose(w + ((down.first + a * down.every) * g.kw + across.first + b * across.every) * g.c * g.o, g.c, g.o,
                    out);
      convolve(t, dy, weights.data(), bias, /*relu=*/false, Output<T>{dx, g.h, g.w, g.stride, phase_h, phase_w});
    }
}

// Where the stride is as large as the kernel, no two output pixels see the same input pixel, and dx is made of patches
// side by side: one product gives them all, a row each. (The 2x2 transposed convolution that doubles an image.)
template <class T>
void data_gradient_of_disjoint_patches(const ConvGeometry& g, const T* dy, const T* w, const T* bias, T* dx) {
  const int64_t patch_row = g.kw * g.c, patch = g.kh * patch_row;
  std::vector<T> weights(g.o * patch);  // (o, kh, kw, c)
  transpose(w, patch, g.o, weights.data());
  const std::vector<Band> bands = Convolution(g).bands(g.kh);
  const int64_t pixels = bands.empty() ? 0 : bands[0].rows * g.ow;
  parallel<T>(bands.size(), g.pays_threads(), pixels * patch, [&](int64_t i, T* patches) {
    const Band band = bands[i];
    multiply<T>(Transpose::none, {dy + (band.image * g.oh + band.first) * g.ow * g.o, band.rows * g.ow, g.o, g.o},
                {weights.data(), g.o, patch, patch}, {patches, band.rows * g.ow, patch, patch});
    for (int64_t r = 0; r < band.rows; r++)
      for (int64_t a = 0; a < g.kh; a++) {
        T* row = dx + (band.image * g.h + (band.first + r) * g.kh + a) * g.w * g.c;
        for (int64_t j = 0; j < g.ow; j++)
          std::copy_n(patches + (r * g.ow + j) * patch + a * patch_row, patch_row, row + j * patch_row);
        add_bias_relu(row, g.w, g.c, bias, /*relu=*/false);
      }
  });
}

template <class T>
void data_gradient(const ConvGeometry& g, const T* dy, const T* w, const T* bias, const SkipConcatData<T>& dx,
                   const SkipConcatData<const T>&) {
  const bool disjoint = g.kh == g.stride && g.kw == g.stride && g.padding == 0 && g.dilation == 1 &&
                        g.h == g.oh * g.kh && g.w == g.ow * g.kw;
  const auto compute = disjoint ? data_gradient_of_disjoint_patches<T> : data_gradient_by_phase<T>;
  compute(g, dy, w, bias, dx.skip);
}

// ---- weight gradient ------------------------------------------------------------------------------------------

// forward: y = patches * w, hence dw = patches^T * dy; where implicit patches straddle two image rows, dy = 0.
//
// A sum over all pixels, which the threads must share: the bands are dealt out to a fixed number of partial sums, each of
// which adds up its bands in order, and the partial sums are added in order. Each holds a whole dw, so large weights get
// fewer. Kernel rows are independent.
template <class T>
void weight_gradient(const ConvGeometry& geometry, const SkipConcatData<const T>& x, const T* dy, T* dw, T*) {
  const Convolution g = geometry;
  const std::vector<Band> bands = g.bands(/*kernel_rows=*/1);
  const int64_t depth = g.kw * g.c, row_size = depth * g.o, size = g.kh * row_size, width = g.width();
  const int64_t max_sums = std::clamp<int64_t>((int64_t(1) << 22) / std::max<int64_t>(size, 1), 2, 32);
  const int64_t count = std::clamp<int64_t>(bands.size(), 1, max_sums);
  const int64_t max_rows = bands.empty() ? 0 : bands[0].rows, patches_size = g.patches_size(max_rows, 1);
  const int64_t dy_size = g.implicit() ? max_rows * width * g.o : 0;
  std::vector<T> sums(count * size, T(0));
  parallel<T>(count * g.kh, g.pays_threads(), patches_size + dy_size, [&](int64_t task, T* scratch) {
    const int64_t part = task / g.kh, a = task % g.kh;
    for (int64_t i = part; i < int64_t(bands.size()); i += count) {
      const Band& band = bands[i];
      const T* matrix = patches(g, x.skip, band, a, a + 1, scratch);
      const T* dout = dy + (band.image * g.oh + band.first) * g.ow * g.o;
      if (g.implicit()) {
        T* padded = scratch + patches_size;
        copy_padded(dout, band.rows, g.ow, g.o, 0, band.rows, 0, width, 0, padded);
        dout = padded;
      }
      multiply<T>(Transpose::a, {matrix, band.rows * width, depth, g.implicit() ? g.c : depth},
                  {dout, band.rows * width, g.o, g.o}, {sums.data() + part * size + a * row_size, depth, g.o, g.o},
                  /*accumulate=*/true);
    }
  });
#pragma omp parallel for simd schedule(static) if (g.pays_threads())
  for (int64_t i = 0; i < size; i++) {
    T sum = sums[i];
    for (int64_t part = 1; part < count; part++) sum += sums[part * size + i];
    dw[i] = sum;
  }
}

}  // namespace

template <class T>
ConvEngine<T> im2col_engine() {
  return {forward<T>, data_gradient<T>, weight_gradient<T>};
}

template ConvEngine<float> im2col_engine();
template ConvEngine<double> im2col_engine();

}  // namespace acinus
