// The convolution engine on the GPU; conv.h says what is computed, product.h how a product is. Each of the three sums
// is one matrix product:
//
//                      rows m          columns n       sum over k          A                B
//   forward            output pixels   o               taps (a,b), c       patches of x     w
//   data gradient      input pixels    c               taps (a,b), o       patches of dy    w, seen from the other side
//   weight gradient    taps (a,b), c   o               output pixels       patches of x     dy
//
// A row of patches is what one pixel sees, (KH,KW,C) numbers. As a matrix they would take nine times an image's memory
// for a 3x3 kernel; here the kernel computes where in the image each of them is when it needs it ("implicit GEMM",
// Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning").
#include "tensor/conv.h"
#include "tensor/for_each.h"
#include "tensor/product.h"

#ifdef ACINUS_CUDA
namespace acinus::on_gpu {
namespace {

// Which pixel is number m? Row by row, or `by_fours`: the four of each 2x2 one after the other, so that one thread has
// all four in its hands, for pooling and for the gradient of upsample2x.
struct PixelOrder {
  int rows, cols;
  bool by_fours;
  HD void find(int64_t m, int& n, int& i, int& j) const {
    const unsigned number = unsigned(m), r = unsigned(rows), c = unsigned(cols);
    if (!by_fours) {
      n = int(number / (r * c)), i = int(number / c % r), j = int(number % c);
      return;
    }
    const unsigned four = number / 4;
    n = int(four / (r * c / 4)), i = int(four / (c / 2) % (r / 2) * 2 + number % 4 / 2),
    j = int(four % (c / 2) * 2 + number % 2);
  }
};

// ---- operands -------------------------------------------------------------------------------------------------

// Line m: what pixel m of a picture sees in an image: tap (a,b) is at row i * stride + origin_row + a * step_row, and
// the columns alike. The image is concat(upsample2x(below), beside), read where they are.
template <class T, bool Along_k, bool Vector>
struct Patches {
  static constexpr bool along_k = Along_k, vector = Vector;
  const T *beside, *below;
  int height, width, channels, below_channels;
  PixelOrder order;
  int stride, origin_row, origin_col, step_row, step_col, taps_in_row;
  int64_t lines, length;  // pixels; taps * channels

  struct Line {
    int n, row, col;
  };
  HD Line line(int64_t m) const {
    int n, i, j;
    order.find(m, n, i, j);
    return {n, i * stride + origin_row, j * stride + origin_col};
  }
  HD const T* place(const Line& line, int64_t element) const {
    const int tap = int(element) / channels, c = int(element) % channels;
    const int row = line.row + tap / taps_in_row * step_row, col = line.col + tap % taps_in_row * step_col;
    if (row < 0 || row >= height || col < 0 || col >= width) return nullptr;
    if (c < below_channels)
      return below + ((int64_t(line.n) * (height / 2) + row / 2) * (width / 2) + col / 2) * below_channels + c;
    const int own = channels - below_channels;
    return beside + ((int64_t(line.n) * height + row) * width + col) * own + c - below_channels;
  }
  HD T at(const Line& line, int64_t element) const { return zero_or(place(line, element)); }
};

// A matrix in memory; its lines are its rows.
template <class T, bool Vector>
struct Rows {
  static constexpr bool along_k = false, vector = Vector;
  const T* data;
  int64_t lines, length;
  using Line = const T*;
  HD Line line(int64_t i) const { return data + i * length; }
  HD const T* place(Line line, int64_t element) const { return line + element; }
  HD T at(Line line, int64_t element) const { return line[element]; }
};

// w (kh,kw,c,o) as the data gradient needs it: line c holds, for some of the taps, first + i * every, the o numbers of
// each.
template <class T, bool Vector>
struct TurnedWeights {
  static constexpr bool along_k = true, vector = Vector;
  const T* w;
  int kw, channels, o;
  int first_row, every_row, first_col, every_col, taps_in_row;
  int64_t lines, length;
  using Line = int;
  HD Line line(int64_t c) const { return int(c); }
  HD const T* place(Line c, int64_t element) const {
    const int tap = int(element) / o, k = int(element) % o;
    const int a = first_row + tap / taps_in_row * every_row, b = first_col + tap % taps_in_row * every_col;
    return w + (int64_t(a * kw + b) * channels + c) * o + k;
  }
  HD T at(Line c, int64_t element) const { return *place(c, element); }
};

// ---- epilogues ------------------------------------------------------------------------------------------------

// y = relu(bias + sum), and the largest of each 2x2.
template <class T, class C = Compute<T>>
struct ForwardEpilogue {
  PixelOrder order;
  int64_t pixels;
  int o;
  const C* bias;
  bool relu;
  T *y, *pooled;
  HD void operator()(int64_t, int64_t m, int64_t channel, const C (&sums)[4]) const {
    T largest = T(0);
    for (int r = 0; r < 4 && m + r < pixels; r++) {
      C value = sums[r] + (bias ? bias[channel] : C(0));
      if (relu && value <= 0) value = 0;  // NaN stays NaN
      const T stored = T(value);
      int n, i, j;
      order.find(m + r, n, i, j);
      y[((int64_t(n) * order.rows + i) * order.cols + j) * o + channel] = stored;
      if (r == 0 || stored > largest || stored != stored) largest = stored;  // as max_pool2d does
    }
    if (pooled) pooled[m / 4 * o + channel] = largest;
  }
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
    for (int r = 0; r < 4 && m + r < pixels; r++) {
      int n, i, j;
      order.find(m + r, n, i, j);
      const int64_t pixel = (int64_t(n) * height + i * stride + phase_row) * width + j * stride + phase_col;
      dx[pixel * own + channel - below_channels] = T(sums[r] + (bias ? bias[channel] : C(0)));
    }
  }
};

template <class C>
struct WeightGradientEpilogue {
  int64_t rows, o;
  C* parts;  // (splits, rows, o)
  HD void operator()(int64_t split, int64_t m, int64_t channel, const C (&sums)[4]) const {
    for (int r = 0; r < 4 && m + r < rows; r++) parts[(split * rows + m + r) * o + channel] = sums[r];
  }
};

template <class C>
struct SumOfParts {
  int64_t size, splits;
  const C* parts;
  C* dw;
  HD void operator()(int64_t i) const {
    C sum = parts[i];
    for (int64_t s = 1; s < splits; s++) sum += parts[s * size + i];
    dw[i] = sum;
  }
};

// ---- which kernel ---------------------------------------------------------------------------------------------

template <class T>
T* optional(const Tensor& t) {
  return t ? t.ptr<T>() : nullptr;
}

// How many columns a tile of C should have on tensor cores.
template <class F>
void with_columns(int64_t n, F f) {
  if (n <= 32)
    f(std::integral_constant<int, 32>());
  else if (n <= 64)
    f(std::integral_constant<int, 64>());
  else
    f(std::integral_constant<int, 128>());
}

// Calls make(vector) for the operands and epilogue, and launches the product that g's algorithm wants. `together`: do
// all runs of channels begin at multiples of `together`?
template <class T, class Make>
void product(const char* name, const ConvGeometry& g, const ProductSize& size, int64_t together, Make make) {
  check(size.m < (int64_t(1) << 31) - 256 && size.n < (1 << 30) && size.k < (int64_t(1) << 31) - 256, name,
        ": more than 2^31 pixels at once; use a smaller batch");
  using C = Compute<T>;
  if (g.algorithm != ConvAlgorithm::tensor) {
    const auto [a, b, epilogue] = make(std::false_type());
    return launch_tiled<C>(name, size, a, b, epilogue);
  }
  if constexpr (!std::is_same_v<T, double>) {
    using Type = std::conditional_t<std::is_same_v<T, bf16>, Bfloat16, Tf32>;
    if (together % Type::run == 0) {
      const auto [a, b, epilogue] = make(std::true_type());
      with_columns(size.n, [&, &a = a, &b = b, &epilogue = epilogue](auto columns) {
        launch_tensor<Type, decltype(columns)::value>(name, size, a, b, epilogue);
      });
    } else {
      const auto [a, b, epilogue] = make(std::false_type());
      launch_tensor<Type, 64>(name, size, a, b, epilogue);
    }
  }
}

// The greatest power of two that divides all of them.
int64_t common_run(std::initializer_list<int64_t> numbers) {
  int64_t run = 16;
  for (int64_t n : numbers)
    while (n % run) run /= 2;
  return run;
}

template <class A, class B, class E>
struct Parts {
  A a;
  B b;
  E epilogue;
};
template <class A, class B, class E>
Parts<A, B, E> parts(const A& a, const B& b, const E& epilogue) {
  return {a, b, epilogue};
}

template <class T, bool Along_k, bool Vector>
Patches<T, Along_k, Vector> patches_of_x(const ConvGeometry& g, const Tensor& x, const Tensor& below, bool by_fours) {
  Patches<T, Along_k, Vector> p;
  p.beside = x.ptr<T>();
  p.below = optional<T>(below);
  p.height = int(g.h), p.width = int(g.w), p.channels = int(g.c);
  p.below_channels = below ? int(below.shape()[3]) : 0;
  p.order = {int(g.oh), int(g.ow), by_fours};
  p.stride = int(g.stride), p.origin_row = p.origin_col = -int(g.padding);
  p.step_row = p.step_col = int(g.dilation), p.taps_in_row = int(g.kw);
  p.lines = g.n * g.oh * g.ow, p.length = g.kh * g.kw * g.c;
  return p;
}

template <class T>
void forward(const ConvGeometry& g, const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y,
             const ConvFusion& fusion) {
  using C = Compute<T>;
  const int64_t pixels = g.n * g.oh * g.ow, k = g.kh * g.kw * g.c, below = fusion.below ? fusion.below.shape()[3] : 0;
  product<T>("conv_forward", g, {pixels, g.o, k, k}, common_run({g.c, below, g.o}), [&](auto vector) {
    constexpr bool v = decltype(vector)::value;
    const auto a = patches_of_x<T, true, v>(g, x, fusion.below, bool(fusion.pooled));
    return parts(a, Rows<C, v>{w.ptr<C>(), k, g.o},
                 ForwardEpilogue<T>{a.order, pixels, int(g.o), optional<C>(bias), fusion.relu, y.ptr<T>(),
                                    optional<T>(fusion.pooled)});
  });
}

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
      const PixelOrder order{int(rows), int(cols), bool(dbelow)};
      product<T>("conv_data_gradient", g, {pixels, g.c, k, k}, common_run({g.o}), [&](auto vector) {
        constexpr bool v = decltype(vector)::value;
        Patches<T, true, v> a;
        a.beside = dy.ptr<T>();
        a.below = nullptr;
        a.height = int(g.oh), a.width = int(g.ow), a.channels = int(g.o), a.below_channels = 0;
        a.order = order;
        a.stride = 1;
        a.origin_row = int((phase_row + g.padding - down.first * g.dilation) / g.stride);
        a.origin_col = int((phase_col + g.padding - across.first * g.dilation) / g.stride);
        a.step_row = -int(down.every * g.dilation / g.stride), a.step_col = -int(across.every * g.dilation / g.stride);
        a.taps_in_row = int(std::max<int64_t>(across.count, 1));
        a.lines = pixels, a.length = k;
        const TurnedWeights<C, v> b{
            w.ptr<C>(),        int(g.kw),     int(g.c), int(g.o), int(down.first), int(down.every), int(across.first),
            int(across.every), a.taps_in_row, g.c,      k};
        return parts(
            a, b,
            DataGradientEpilogue<T>{order, pixels, int(g.h), int(g.w), int(g.c), below, int(g.stride), int(phase_row),
                                    int(phase_col), optional<C>(bias), dx.ptr<T>(), optional<T>(dbelow)});
      });
    }
}

// Few rows and columns, a long sum: split it, until there are some hundred tiles for the GPU's processors. Into how
// many parts depends on the shapes alone, and they are added in order.
template <class T>
void weight_gradient(const ConvGeometry& g, const Tensor& x, const Tensor& dy, Tensor& dw, const Tensor& below) {
  using C = Compute<T>;
  const int64_t rows = g.kh * g.kw * g.c, pixels = g.n * g.oh * g.ow,
                tiles = ((rows + 127) / 128) * ((g.o + 127) / 128);
  const int64_t wanted = std::clamp<int64_t>(std::min(512 / std::max<int64_t>(tiles, 1), pixels / 512), 1, 256);
  const int64_t k_each = std::max<int64_t>((pixels / wanted + 31) / 32 * 32, 32);
  const ProductSize size{rows, g.o, pixels, k_each};
  const bool split = size.splits() > 1;
  const Tensor sums = split ? Tensor({size.splits(), rows, g.o}, dw.dtype(), dw.device()) : dw;
  product<T>("conv_weight_gradient", g, size, common_run({g.c, below ? below.shape()[3] : 0, g.o}), [&](auto vector) {
    constexpr bool v = decltype(vector)::value;
    return parts(patches_of_x<T, false, v>(g, x, below, /*by_fours=*/false), Rows<T, v>{dy.ptr<T>(), pixels, g.o},
                 WeightGradientEpilogue<C>{rows, g.o, sums.ptr<C>()});
  });
  if (split) for_each(dw.device(), rows * g.o, SumOfParts<C>{rows * g.o, size.splits(), sums.ptr<C>(), dw.ptr<C>()});
}

}  // namespace

void conv_forward(const ConvGeometry& g, const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y,
                  const ConvFusion& fusion) {
  dispatch(x.dtype(), [&](auto zero) { forward<decltype(zero)>(g, x, w, bias, y, fusion); });
}
void conv_data_gradient(const ConvGeometry& g, const Tensor& dy, const Tensor& w, const Tensor& bias, Tensor& dx,
                        const Tensor& dbelow) {
  dispatch(dy.dtype(), [&](auto zero) { data_gradient<decltype(zero)>(g, dy, w, bias, dx, dbelow); });
}
void conv_weight_gradient(const ConvGeometry& g, const Tensor& x, const Tensor& dy, Tensor& dw, const Tensor& below) {
  dispatch(x.dtype(), [&](auto zero) { weight_gradient<decltype(zero)>(g, x, dy, dw, below); });
}

}  // namespace acinus::on_gpu
#endif
