// The convolution engine on the CPU; conv.h says what is computed. Work is shared out in *bands*, a few output
// rows of one image, whose size depends on the shapes alone: so results do not depend on the number of threads.
#include <algorithm>
#include <atomic>
#include <vector>

#include "tensor/conv/conv.h"
#include "tensor/cuda/device.h"
#include "tensor/conv/cpu/gemm.h"
#include "tensor/parallel.h"
#include "tensor/conv/cpu/winograd.h"

namespace acinus {
namespace {

// How many rows make a band: `floats_per_row` of each should fill about half a 1 MB L2 cache.
int64_t rows_per_band(int64_t rows, int64_t floats_per_row) {
  return std::clamp<int64_t>((int64_t(1) << 16) / std::max<int64_t>(floats_per_row, 1), 1, std::max<int64_t>(rows, 1));
}

struct Band {
  int64_t image, first, rows;  // rows first .. first+rows-1 of an image
};

std::vector<Band> bands_of(int64_t images, int64_t rows, int64_t rows_per_band) {
  std::vector<Band> bands;
  for (int64_t n = 0; n < images; n++)
    for (int64_t first = 0; first < rows; first += rows_per_band)
      bands.push_back({n, first, std::min(rows_per_band, rows - first)});
  return bands;
}

// ---- the two ways to see an image as a matrix ---------------------------------------------------------------

// view: copies image rows first .. first+rows-1 of x (h,w,c), shifted by the padding, into padded rows of
// `width` pixels; whatever is outside the image, and the tail of `tail` pixels, becomes 0.
template <class T>
void fill_padded(const T* x, int64_t h, int64_t w, int64_t c, int64_t padding, int64_t first, int64_t rows,
                 int64_t width, int64_t tail, T* out) {
  for (int64_t r = 0; r < rows; r++, out += width * c) {
    const int64_t row = first + r - padding;
    if (row < 0 || row >= h) {
      std::fill_n(out, width * c, T(0));
      continue;
    }
    std::fill_n(out, padding * c, T(0));
    std::copy_n(x + row * w * c, w * c, out + padding * c);
    std::fill_n(out + (padding + w) * c, (width - padding - w) * c, T(0));
  }
  std::fill_n(out, tail * c, T(0));
}

// gather: one matrix row for each output pixel of the band, holding the numbers it sees through kernel rows
// a_begin .. a_end-1: (a_end - a_begin) * kw * c of them.
template <class T>
void gather(const ConvGeometry& g, const T* x, const Band& band, int64_t a_begin, int64_t a_end, T* out) {
  x += band.image * g.h * g.w * g.c;
  for (int64_t i = band.first; i < band.first + band.rows; i++)
    for (int64_t j = 0; j < g.ow; j++)
      for (int64_t a = a_begin; a < a_end; a++) {
        const int64_t row = i * g.stride - g.padding + a * g.dilation, first = j * g.stride - g.padding;
        if (g.dilation == 1 && row >= 0 && row < g.h && first >= 0 && first + g.kw <= g.w) {  // as they lie
          std::copy_n(x + (row * g.w + first) * g.c, g.kw * g.c, out);
          out += g.kw * g.c;
          continue;
        }
        for (int64_t b = 0; b < g.kw; b++, out += g.c) {
          const int64_t col = first + b * g.dilation;
          if (row >= 0 && row < g.h && col >= 0 && col < g.w)
            std::copy_n(x + (row * g.w + col) * g.c, g.c, out);
          else
            std::fill_n(out, g.c, T(0));
        }
      }
}

// A product whose factors are in the cache: panel by panel, where the columns are whole vectors.
template <class T>
void multiply(Transpose transpose, Matrix<const T> a, Matrix<const T> b, Matrix<T> c, bool accumulate = false) {
  if (c.cols % lanes<T> != 0 || b.rows == 0) return gemm<T>(transpose, a, b, c, accumulate);
  for (int64_t k = 0; k < c.cols; k += panel_width<T>) {
    const int64_t here = std::min(panel_width<T>, c.cols - k);
    panel_product<T>(transpose, a, {b.data + k, b.rows, here, b.stride}, {c.data + k, c.rows, here, c.stride},
                     accumulate);
  }
}

// ---- forward --------------------------------------------------------------------------------------------------

// out (pixels, o) += bias, then ReLU, while the pixels are still in the cache
template <class T>
void finish(T* out, int64_t pixels, int64_t o, const T* bias, bool relu) {
  if (bias)
    for (int64_t i = 0; i < pixels; i++)
      for (int64_t k = 0; k < o; k++) out[i * o + k] += bias[k];
  if (relu)
    for (int64_t i = 0; i < pixels * o; i++) out[i] = out[i] <= 0 ? T(0) : out[i];  // NaN stays NaN
}

template <class T>
void forward_view(const ConvGeometry& g, const T* x, const T* w, const T* bias, bool relu, T* y) {
  const int64_t width = g.ow + g.kw - 1;  // of a padded row; equals w + 2*padding
  const auto bands = bands_of(g.n, g.oh, rows_per_band(g.oh, width * (g.c + g.o)));
  const int64_t most = bands.empty() ? 0 : bands[0].rows;
  const int64_t padded_size = ((most + g.kh - 1) * width + g.kw) * g.c, out_size = most * width * g.o;
  parallel<T>(int64_t(bands.size()), g.pays_threads(), padded_size + out_size, [&](int64_t i, T* padded) {
    const Band band = bands[size_t(i)];
    T* out = padded + padded_size;
    fill_padded(x + band.image * g.h * g.w * g.c, g.h, g.w, g.c, g.padding, band.first, band.rows + g.kh - 1, width,
                g.kw, padded);
    for (int64_t a = 0; a < g.kh; a++)
      multiply<T>(Transpose::none, {padded + a * width * g.c, band.rows * width, g.kw * g.c, g.c},
                  {w + a * g.kw * g.c * g.o, g.kw * g.c, g.o, g.o}, {out, band.rows * width, g.o, g.o},
                  /*accumulate=*/a > 0);
    for (int64_t r = 0; r < band.rows; r++) {
      T* row = y + ((band.image * g.oh + band.first + r) * g.ow) * g.o;
      std::copy_n(out + r * width * g.o, g.ow * g.o, row);
      finish(row, g.ow, g.o, bias, relu);
    }
  });
}

template <class T>
void forward_gather(const ConvGeometry& g, const T* x, const T* w, const T* bias, bool relu, T* y) {
  const int64_t depth = g.kh * g.kw * g.c;
  const bool is_matrix = g.kh == 1 && g.kw == 1 && g.stride == 1 && g.padding == 0;  // a 1x1 kernel needs no copy
  const auto bands = bands_of(g.n, g.oh, rows_per_band(g.oh, g.ow * (depth + g.o)));
  const int64_t copy_size = is_matrix || bands.empty() ? 0 : bands[0].rows * g.ow * depth;
  parallel<T>(int64_t(bands.size()), g.pays_threads(), copy_size, [&](int64_t i, T* copy) {
    const Band band = bands[size_t(i)];
    const T* matrix = x + (band.image * g.h + band.first) * g.w * g.c;
    if (!is_matrix) {
      gather(g, x, band, 0, g.kh, copy);
      matrix = copy;
    }
    T* out = y + (band.image * g.oh + band.first) * g.ow * g.o;
    multiply<T>(Transpose::none, {matrix, band.rows * g.ow, depth, depth}, {w, depth, g.o, g.o},
                {out, band.rows * g.ow, g.o, g.o});
    finish(out, band.rows * g.ow, g.o, bias, relu);
  });
}

// ---- data gradient --------------------------------------------------------------------------------------------

// With stride 1 the data gradient is itself a forward convolution, of dy with the kernel turned by 180 degrees
// and its two channel axes swapped:  dx[i] = sum over a  dy[i+p-a] w[a]^T  =  sum over a'  dy[i-(k-1-p)+a']
// w[k-1-a']^T.
template <class T>
void data_gradient_view(const ConvGeometry& g, const T* dy, const T* w, const T* bias, T* dx) {
  std::vector<T> turned(size_t(g.kh * g.kw * g.c * g.o));
  for (int64_t a = 0; a < g.kh; a++)
    for (int64_t b = 0; b < g.kw; b++)
      for (int64_t c = 0; c < g.c; c++)
        for (int64_t o = 0; o < g.o; o++)
          turned[size_t(((a * g.kw + b) * g.o + o) * g.c + c)] =
              w[(((g.kh - 1 - a) * g.kw + (g.kw - 1 - b)) * g.c + c) * g.o + o];
  ConvGeometry t = g;
  std::swap(t.h, t.oh);
  std::swap(t.w, t.ow);
  std::swap(t.c, t.o);
  t.padding = g.kh - 1 - g.padding;
  forward_view(t, dy, turned.data(), bias, /*relu=*/false, dx);
}

// Any stride: an input pixel (row, col) was seen by output pixel (i, j) through tap (a, b) where
// i*s - p + a*d = row. Which taps a can do so depends only on row's *phase*, row mod s; so the pixels of one
// phase see the same taps, and gathering those gives one matrix product a phase, without a wasted zero.
template <class T>
void data_gradient_gather(const ConvGeometry& g, const T* dy, const T* w, const T* bias, T* dx) {
  const auto taps_of = [&](int64_t phase, int64_t kernel) {
    std::vector<int64_t> taps;
    for (int64_t a = 0; a < kernel; a++)
      if ((phase + g.padding - a * g.dilation) % g.stride == 0) taps.push_back(a);
    return taps;
  };
  for (int64_t phase_row = 0; phase_row < std::min(g.stride, g.h); phase_row++)
    for (int64_t phase_col = 0; phase_col < std::min(g.stride, g.w); phase_col++) {
      const auto taps_a = taps_of(phase_row, g.kh), taps_b = taps_of(phase_col, g.kw);
      const int64_t taps = int64_t(taps_a.size() * taps_b.size()), depth = taps * g.o;
      std::vector<T> weights(size_t(depth * g.c));  // (taps, o, c): the taps of this phase, transposed
      T* out = weights.data();
      for (int64_t a : taps_a)
        for (int64_t b : taps_b)
          for (int64_t o = 0; o < g.o; o++)
            for (int64_t c = 0; c < g.c; c++) *out++ = w[((a * g.kw + b) * g.c + c) * g.o + o];

      const int64_t rows = (g.h - phase_row + g.stride - 1) / g.stride,
                    cols = (g.w - phase_col + g.stride - 1) / g.stride;
      const auto bands = bands_of(g.n, rows, rows_per_band(rows, cols * (depth + g.c)));
      const int64_t pixels = bands.empty() ? 0 : bands[0].rows * cols;
      parallel<T>(int64_t(bands.size()), g.pays_threads(), pixels * (depth + g.c), [&](int64_t i, T* matrix) {
        const Band band = bands[size_t(i)];
        T* product = matrix + pixels * depth;
        T* to = matrix;
        for (int64_t r = band.first; r < band.first + band.rows; r++)
          for (int64_t q = 0; q < cols; q++)
            for (int64_t a : taps_a)
              for (int64_t b : taps_b) {
                const int64_t row = (r * g.stride + phase_row + g.padding - a * g.dilation) / g.stride;
                const int64_t col = (q * g.stride + phase_col + g.padding - b * g.dilation) / g.stride;
                const bool inside = row >= 0 && row < g.oh && col >= 0 && col < g.ow;
                if (inside)
                  std::copy_n(dy + ((band.image * g.oh + row) * g.ow + col) * g.o, g.o, to);
                else
                  std::fill_n(to, g.o, T(0));
                to += g.o;
              }
        multiply<T>(Transpose::none, {matrix, band.rows * cols, depth, depth}, {weights.data(), depth, g.c, g.c},
                    {product, band.rows * cols, g.c, g.c});
        finish(product, band.rows * cols, g.c, bias, /*relu=*/false);
        for (int64_t r = 0; r < band.rows; r++)
          for (int64_t q = 0; q < cols; q++)
            std::copy_n(
                product + (r * cols + q) * g.c, g.c,
                dx + ((band.image * g.h + (band.first + r) * g.stride + phase_row) * g.w + q * g.stride + phase_col) *
                         g.c);
      });
    }
}

// Where the stride is as large as the kernel, no two output pixels see the same input pixel, and dx is made of patches
// side by side: one product gives them all, a row each. (The 2x2 transposed convolution that doubles an image.)
template <class T>
void data_gradient_patches(const ConvGeometry& g, const T* dy, const T* w, const T* bias, T* dx) {
  const int64_t patch_row = g.kw * g.c, patch = g.kh * patch_row;
  std::vector<T> weights(size_t(g.o * patch));  // (o, kh, kw, c)
  for (int64_t i = 0; i < patch; i++)
    for (int64_t o = 0; o < g.o; o++) weights[size_t(o * patch + i)] = w[i * g.o + o];
  const auto bands = bands_of(g.n, g.oh, rows_per_band(g.oh, g.ow * (patch + g.o)));
  const int64_t pixels = bands.empty() ? 0 : bands[0].rows * g.ow;
  parallel<T>(int64_t(bands.size()), g.pays_threads(), pixels * patch, [&](int64_t i, T* patches) {
    const Band band = bands[size_t(i)];
    multiply<T>(Transpose::none, {dy + (band.image * g.oh + band.first) * g.ow * g.o, band.rows * g.ow, g.o, g.o},
                {weights.data(), g.o, patch, patch}, {patches, band.rows * g.ow, patch, patch});
    for (int64_t r = 0; r < band.rows; r++)
      for (int64_t a = 0; a < g.kh; a++) {
        T* row = dx + (band.image * g.h + (band.first + r) * g.kh + a) * g.w * g.c;
        for (int64_t j = 0; j < g.ow; j++)
          std::copy_n(patches + (r * g.ow + j) * patch + a * patch_row, patch_row, row + j * patch_row);
        finish(row, g.w, g.c, bias, /*relu=*/false);
      }
  });
}

// ---- weight gradient ------------------------------------------------------------------------------------------

// A sum over all pixels, which the threads must share. The bands are dealt to a fixed number of parts, each part
// sums its bands in order, and the parts are added in order; kernel rows are independent. Many parts would cost
// memory (each holds a whole dw), so large weights get fewer.
template <class T, class AddBand>
void weight_gradient(const ConvGeometry& g, const std::vector<Band>& bands, T* dw, int64_t scratch_size,
                     AddBand add_band) {
  const int64_t row_size = g.kw * g.c * g.o, size = g.kh * row_size;
  const int64_t most = std::clamp<int64_t>((int64_t(1) << 22) / std::max<int64_t>(size, 1), 2, 32);
  const int64_t parts = std::min<int64_t>(most, std::max<int64_t>(int64_t(bands.size()), 1));
  std::vector<T> sums(size_t(parts * size), T(0));
  parallel<T>(parts * g.kh, g.pays_threads(), scratch_size, [&](int64_t task, T* scratch) {
    const int64_t part = task / g.kh, a = task % g.kh;
    for (int64_t i = part; i < int64_t(bands.size()); i += parts)
      add_band(bands[size_t(i)], a, scratch, sums.data() + part * size + a * row_size);
  });
#pragma omp parallel for simd schedule(static) if (g.pays_threads())
  for (int64_t i = 0; i < size; i++) {
    T sum = sums[size_t(i)];
    for (int64_t part = 1; part < parts; part++) sum += sums[size_t(part * size + i)];
    dw[i] = sum;
  }
}

template <class T>
void weight_gradient_view(const ConvGeometry& g, const T* x, const T* dy, T* dw) {
  const int64_t width = g.ow + g.kw - 1;
  const auto bands = bands_of(g.n, g.oh, rows_per_band(g.oh, width * (g.c + g.o)));
  const int64_t most = bands.empty() ? 0 : bands[0].rows, padded_size = (most * width + g.kw) * g.c;
  const auto add_band = [&](const Band& band, int64_t a, T* padded, T* sum) {
    // forward: out[pixel] += view[pixel] * w[a], hence dw[a] += view^T * dy, with dy = 0 where rows straddle
    T* dout = padded + padded_size;
    fill_padded(x + band.image * g.h * g.w * g.c, g.h, g.w, g.c, g.padding, band.first + a, band.rows, width, g.kw,
                padded);
    fill_padded(dy + band.image * g.oh * g.ow * g.o, g.oh, g.ow, g.o, 0, band.first, band.rows, width, 0, dout);
    multiply<T>(Transpose::a, {padded, band.rows * width, g.kw * g.c, g.c}, {dout, band.rows * width, g.o, g.o},
                {sum, g.kw * g.c, g.o, g.o}, /*accumulate=*/true);
  };
  weight_gradient(g, bands, dw, padded_size + most * width * g.o, add_band);
}

template <class T>
void weight_gradient_gather(const ConvGeometry& g, const T* x, const T* dy, T* dw) {
  const int64_t depth = g.kw * g.c;
  const auto bands = bands_of(g.n, g.oh, rows_per_band(g.oh, g.ow * (depth + g.o)));
  const auto add_band = [&](const Band& band, int64_t a, T* matrix, T* sum) {
    gather(g, x, band, a, a + 1, matrix);
    multiply<T>(Transpose::a, {matrix, band.rows * g.ow, depth, depth},
                {dy + (band.image * g.oh + band.first) * g.ow * g.o, band.rows * g.ow, g.o, g.o},
                {sum, depth, g.o, g.o},
                /*accumulate=*/true);
  };
  weight_gradient(g, bands, dw, bands.empty() ? 0 : bands[0].rows * g.ow * depth, add_band);
}

}  // namespace

static std::atomic<bool> tf32 = false;
void allow_tf32(bool on) { tf32 = on; }

static ConvAlgorithm choose_on_gpu(const char* op, ConvAlgorithm wanted, DType dtype) {
  using A = ConvAlgorithm;
  check(wanted != A::winograd && wanted != A::view && wanted != A::gather, op,
        ": the Winograd, view and gather algorithms are the CPU's; the GPU's are direct, tiled and tensor");
  check(wanted != A::tensor || (dtype != DType::f64 && cuda::has_tensor_cores()), op,
        ": the tensor algorithm needs float32 or bfloat16, and a GPU of compute capability 8.0 or later");
  if (wanted != A::automatic) return wanted;
  return cuda::has_tensor_cores() && (dtype == DType::bf16 || (dtype == DType::f32 && tf32)) ? A::tensor : A::tiled;
}

ConvAlgorithm choose_algorithm(const char* op, const ConvGeometry& g, ConvAlgorithm wanted, const Tensor& x) {
  if (x.device() == Device::cuda) return choose_on_gpu(op, wanted, x.dtype());
  if (wanted == ConvAlgorithm::direct || (x.dtype() == DType::bf16 && wanted == ConvAlgorithm::automatic))
    return ConvAlgorithm::direct;
  check(wanted != ConvAlgorithm::tiled && wanted != ConvAlgorithm::tensor, op,
        ": the tiled and tensor algorithms are the GPU's");
  check(x.dtype() != DType::bf16, op, ": on the CPU bfloat16 goes by the direct algorithm only");
  const bool can_view = g.stride == 1 && g.dilation == 1 && g.kh == g.kw && g.padding < g.kh;
  const bool can_winograd = can_view && g.kh == 3 && g.c > 0 && g.o > 0;
  const auto check_can = [&](bool can, const char* name, const char* kernel) {
    check(can, op, ": the ", name, " algorithm needs stride 1, dilation 1, a ", kernel,
          " kernel, padding less than it, and channels; got stride ", g.stride, ", dilation ", g.dilation, ", padding ",
          g.padding, ", kernel ", g.kh, "x", g.kw);
  };
  if (wanted == ConvAlgorithm::view) check_can(can_view, "view", "square");
  if (wanted == ConvAlgorithm::winograd) check_can(can_winograd, "Winograd", "3x3");
  if (wanted != ConvAlgorithm::automatic) return wanted;
  // Few channels leave Winograd's vectors empty; few tiles do not repay the transformation of the weights.
  const int64_t tiles = g.n * ((g.oh + 3) / 4) * ((g.ow + 3) / 4);
  if (can_winograd && g.c > 4 && g.o > 4 && tiles >= 8) return ConvAlgorithm::winograd;
  return can_view && g.kh > 1 ? ConvAlgorithm::view : ConvAlgorithm::gather;
}

bool can_read_below(const ConvGeometry& g, const Tensor& below) {
  if (below.device() == Device::cuda) return g.algorithm != ConvAlgorithm::direct && g.stride == 1;
  const int64_t vector = below.dtype() == DType::f32 ? lanes<float> : lanes<double>;
  return g.algorithm == ConvAlgorithm::winograd && g.padding == 1 && below.shape()[3] % vector == 0;
}

bool can_pool(const ConvGeometry& g) {
  if (g.algorithm == ConvAlgorithm::winograd) return g.oh >= 2 && g.ow >= 2;
  const bool gpu = g.algorithm == ConvAlgorithm::tiled || g.algorithm == ConvAlgorithm::tensor;
  return gpu && g.oh % 2 == 0 && g.ow % 2 == 0;
}

template <class T>
static Joint<T> joint(const Tensor& x, const Tensor& below) {
  return {x.data<std::remove_const_t<T>>(), ptr_or_null<std::remove_const_t<T>>(below), below ? below.shape()[3] : 0};
}

void conv_forward(const ConvGeometry& g, const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y,
                  const ConvFusion& fusion) {
  if (g.algorithm == ConvAlgorithm::direct) {
    check(!fusion.below && !fusion.pooled, "conv_forward: the direct algorithm neither reads two images nor pools");
    return direct_forward(g, x, w, bias, fusion.relu, y);
  }
#ifdef ACINUS_CUDA
  if (x.device() == Device::cuda) return on_gpu::conv_forward(g, x, w, bias, y, fusion);
#endif
  dispatch_precise(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    if (g.algorithm == ConvAlgorithm::winograd)
      return winograd_forward<T>(g, joint<const T>(x, fusion.below), w.data<T>(), ptr_or_null<T>(bias), fusion.relu,
                                 ptr_or_null<T>(fusion.pooled), y.data<T>());
    check(!fusion.below && !fusion.pooled, "conv_forward: only Winograd's algorithm reads two images and pools");
    const auto way = g.algorithm == ConvAlgorithm::view ? forward_view<T> : forward_gather<T>;
    way(g, x.data<T>(), w.data<T>(), ptr_or_null<T>(bias), fusion.relu, y.data<T>());
  });
}

void conv_data_gradient(const ConvGeometry& g, const Tensor& dy, const Tensor& w, const Tensor& bias, Tensor& dx,
                        const Tensor& dbelow) {
  if (g.algorithm == ConvAlgorithm::direct) return direct_data_gradient(g, dy, w, bias, dx);
#ifdef ACINUS_CUDA
  if (dy.device() == Device::cuda) return on_gpu::conv_data_gradient(g, dy, w, bias, dx, dbelow);
#endif
  dispatch_precise(dy.dtype(), [&](auto zero) {
    using T = decltype(zero);
    if (g.algorithm == ConvAlgorithm::winograd)
      return winograd_data_gradient<T>(g, dy.data<T>(), w.data<T>(), ptr_or_null<T>(bias), joint<T>(dx, dbelow));
    const bool patches = g.kh == g.stride && g.kw == g.stride && g.padding == 0 && g.dilation == 1 &&
                         g.h == g.oh * g.kh && g.w == g.ow * g.kw;
    const auto way = g.algorithm == ConvAlgorithm::view ? data_gradient_view<T>
                     : patches                          ? data_gradient_patches<T>
                                                        : data_gradient_gather<T>;
    way(g, dy.data<T>(), w.data<T>(), ptr_or_null<T>(bias), dx.data<T>());
  });
}

void conv_weight_gradient(const ConvGeometry& g, const Tensor& x, const Tensor& dy, Tensor& dw, const Tensor& below) {
  if (g.algorithm == ConvAlgorithm::direct) return direct_weight_gradient(g, x, dy, dw);
#ifdef ACINUS_CUDA
  if (x.device() == Device::cuda) return on_gpu::conv_weight_gradient(g, x, dy, dw, below);
#endif
  dispatch_precise(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    if (g.algorithm == ConvAlgorithm::winograd)
      return winograd_weight_gradient<T>(g, joint<const T>(x, below), dy.data<T>(), dw.data<T>());
    const auto way = g.algorithm == ConvAlgorithm::view ? weight_gradient_view<T> : weight_gradient_gather<T>;
    way(g, x.data<T>(), dy.data<T>(), dw.data<T>());
  });
}

}  // namespace acinus
