// Which algorithm computes a convolution, on either device, and what each of them can do.
#include "tensor/conv/conv.h"

#include <atomic>

#include "tensor/conv/cpu/simd.h"
#include "tensor/conv/engine.h"
#include "tensor/cuda/device.h"

namespace acinus {
namespace {

std::atomic<bool> tf32_allowed = false;

ConvAlgorithm choose_on_gpu(const char* op, ConvAlgorithm wanted, DType dtype) {
  using A = ConvAlgorithm;
  check(wanted != A::winograd && wanted != A::im2col, op,
        ": the Winograd and im2col algorithms run on the CPU; those of the GPU are direct, tiled, halo and tensor");
  // halo and tensor both use cp.async, which came with tensor cores for these types.
  const bool recent = cuda::has_tensor_cores();
  check(wanted != A::tensor || (dtype != DType::f64 && recent), op,
        ": the tensor algorithm needs float32 or bfloat16, and a GPU of compute capability 8.0 or later");
  check(wanted != A::halo || (dtype == DType::f32 && recent), op,
        ": the halo algorithm needs float32, and a GPU of compute capability 8.0 or later");
  if (wanted != A::automatic) return wanted;
  if (dtype == DType::f64 || !recent) return A::tiled;
  return dtype == DType::bf16 || tf32_allowed ? A::tensor : A::halo;
}

ConvAlgorithm choose_on_cpu(const char* op, const ConvGeometry& g, ConvAlgorithm wanted, DType dtype) {
  using A = ConvAlgorithm;
  if (wanted == A::direct || (dtype == DType::bf16 && wanted == A::automatic)) return A::direct;
  check(wanted != A::tiled && wanted != A::halo && wanted != A::tensor, op,
        ": the tiled, halo and tensor algorithms run on the GPU");
  check(dtype != DType::bf16, op, ": on the CPU, bfloat16 is computed by the direct algorithm only");
  const bool can_winograd =
      g.stride == 1 && g.dilation == 1 && g.kh == 3 && g.kw == 3 && g.padding < 3 && g.c > 0 && g.o > 0;
  check(wanted != A::winograd || can_winograd, op,
        ": the Winograd algorithm needs stride 1, dilation 1, a 3x3 kernel, padding below 3, and channels; got stride ",
        g.stride, ", dilation ", g.dilation, ", kernel ", g.kh, "x", g.kw, ", padding ", g.padding);
  if (wanted != A::automatic) return wanted;
  // Few channels leave Winograd's vectors empty; few tiles do not repay the transformation of the weights.
  const int64_t tiles = g.n * ((g.oh + 3) / 4) * ((g.ow + 3) / 4);
  return can_winograd && g.c > 4 && g.o > 4 && tiles >= 8 ? A::winograd : A::im2col;
}

template <class T>
ConvEngine<T> engine(const ConvGeometry& g) {
  using A = ConvAlgorithm;
  if (g.algorithm == A::direct) return direct_engine<T>();
  if constexpr (!std::is_same_v<T, bf16>) {
    if (g.algorithm == A::im2col) return im2col_engine<T>();
    if (g.algorithm == A::winograd) return winograd_engine<T>();
  }
#ifdef ACINUS_CUDA
  if (g.algorithm == A::tiled || g.algorithm == A::halo || g.algorithm == A::tensor) return gpu_engine<T>();
#endif
  fail("a convolution's algorithm must be one of this build's; choose_algorithm finds it");
}

template <class T>
T* ptr_or_null(const Tensor& t) {
  return t ? t.ptr<std::remove_const_t<T>>() : nullptr;
}

template <class T>
SkipConcatData<T> data_of(const SkipConcat& x) {
  return {ptr_or_null<T>(x.skip), ptr_or_null<T>(x.deep), x.deep ? x.deep.shape()[3] : 0};
}

}  // namespace

void allow_tf32(bool on) { tf32_allowed = on; }

void choose_algorithm(const char* op, ConvGeometry& g, ConvAlgorithm wanted, const Tensor& x) {
  g.device = x.device();
  g.algorithm =
      g.device == Device::cuda ? choose_on_gpu(op, wanted, x.dtype()) : choose_on_cpu(op, g, wanted, x.dtype());
}

ConvFusions conv_fusions(const ConvGeometry& g, DType dtype, int64_t deep_channels) {
  if (g.algorithm == ConvAlgorithm::winograd) {
    const int64_t vector = dtype == DType::f32 ? lanes<float> : lanes<double>;
    return {.skip_concat = g.padding == 1 && deep_channels % vector == 0,
            .pooling = g.oh >= 2 && g.ow >= 2,
            .relu_gradient = true,
            .bias_gradient = true};
  }
#ifdef ACINUS_CUDA
  if (g.device == Device::cuda && g.algorithm != ConvAlgorithm::direct)
    return dispatch(dtype, [&](auto zero) { return gpu_fusions<decltype(zero)>(g, deep_channels); });
#endif
  return {};
}

Tensor conv_forward(const ConvGeometry& g, const SkipConcat& x, const Tensor& w, const Tensor& bias,
                    const ConvEpilogue& epilogue) {
  const ConvFusions fusions = conv_fusions(g, x.skip.dtype(), x.deep ? x.deep.shape()[3] : 0);
  check(!x.deep || fusions.skip_concat, "conv_forward: this algorithm reads one image only");
  check(!epilogue.pooled || fusions.pooling, "conv_forward: this algorithm does not pool");
  const Tensor y({g.n, g.oh, g.ow, g.o}, x.skip.dtype(), g.device);
  dispatch(y.dtype(), [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    engine<T>(g).forward(g, data_of<const T>(x), w.ptr<C>(), ptr_or_null<C>(bias), epilogue.relu, y.ptr<T>(),
                         ptr_or_null<T>(epilogue.pooled));
  });
  return y;
}

SkipConcat conv_data_gradient(const ConvGeometry& g, const Tensor& dy, const Tensor& w, const Tensor& bias,
                              int64_t deep_channels, const SkipConcat& relu_output) {
  SkipConcat dx = Tensor({g.n, g.h, g.w, g.c - deep_channels}, dy.dtype(), g.device);
  if (deep_channels > 0) dx.deep = Tensor({g.n, g.h / 2, g.w / 2, deep_channels}, dy.dtype(), g.device);
  dispatch(dy.dtype(), [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    engine<T>(g).data_gradient(g, dy.ptr<T>(), w.ptr<C>(), ptr_or_null<C>(bias), data_of<T>(dx),
                               data_of<const T>(relu_output));
  });
  return dx;
}

Tensor conv_weight_gradient(const ConvGeometry& g, const SkipConcat& x, const Tensor& dy, const Tensor& db) {
  return dispatch(dy.dtype(), [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    const Tensor dw({g.kh, g.kw, g.c, g.o}, dtype_of<C>(), g.device);
    engine<T>(g).weight_gradient(g, data_of<const T>(x), dy.ptr<T>(), dw.ptr<C>(), ptr_or_null<C>(db));
    return dw;
  });
}

}  // namespace acinus
