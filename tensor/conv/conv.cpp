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
        ": the Winograd and im2col algorithms run on the CPU; those of the GPU are direct, tiled and tensor");
  check(wanted != A::tensor || (dtype != DType::f64 && cuda::has_tensor_cores()), op,
        ": the tensor algorithm needs float32 or bfloat16, and a GPU of compute capability 8.0 or later");
  if (wanted != A::automatic) return wanted;
  const bool tensor = dtype == DType::bf16 || (dtype == DType::f32 && tf32_allowed);
  return tensor && cuda::has_tensor_cores() ? A::tensor : A::tiled;
}

ConvAlgorithm choose_on_cpu(const char* op, const ConvGeometry& g, ConvAlgorithm wanted, DType dtype) {
  using A = ConvAlgorithm;
  if (wanted == A::direct || (dtype == DType::bf16 && wanted == A::automatic)) return A::direct;
  check(wanted != A::tiled && wanted != A::tensor, op, ": the tiled and tensor algorithms run on the GPU");
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

const ConvEngine& engine(const ConvGeometry& g) {
  switch (g.algorithm) {
    case ConvAlgorithm::direct:
      return direct_engine;
    case ConvAlgorithm::im2col:
      return im2col_engine;
    case ConvAlgorithm::winograd:
      return winograd_engine;
#ifdef ACINUS_CUDA
    case ConvAlgorithm::tiled:
    case ConvAlgorithm::tensor:
      return gpu_engine;
#endif
    default:
      fail("a convolution's algorithm must be one of this build's; choose_algorithm finds it");
  }
}

}  // namespace

void allow_tf32(bool on) { tf32_allowed = on; }

ConvAlgorithm choose_algorithm(const char* op, const ConvGeometry& g, ConvAlgorithm wanted, const Tensor& x) {
  return x.device() == Device::cuda ? choose_on_gpu(op, wanted, x.dtype()) : choose_on_cpu(op, g, wanted, x.dtype());
}

bool supports_skip_concat(const ConvGeometry& g, const Tensor& deep) {
  if (deep.device() == Device::cuda) return g.algorithm != ConvAlgorithm::direct && g.stride == 1;
  const int64_t vector = deep.dtype() == DType::f32 ? lanes<float> : lanes<double>;
  return g.algorithm == ConvAlgorithm::winograd && g.padding == 1 && deep.shape()[3] % vector == 0;
}

bool supports_pooling(const ConvGeometry& g) {
  if (g.algorithm == ConvAlgorithm::winograd) return g.oh >= 2 && g.ow >= 2;
  const bool gpu = g.algorithm == ConvAlgorithm::tiled || g.algorithm == ConvAlgorithm::tensor;
  return gpu && g.oh % 2 == 0 && g.ow % 2 == 0;
}

void conv_forward(const ConvGeometry& g, const SkipConcat& x, const Tensor& w, const Tensor& bias, Tensor& y,
                  const ConvEpilogue& epilogue) {
  check(!x.deep || supports_skip_concat(g, x.deep), "conv_forward: this algorithm reads one image only");
  check(!epilogue.pooled || supports_pooling(g), "conv_forward: this algorithm does not pool");
  engine(g).forward(g, x, w, bias, epilogue, y);
}

void conv_data_gradient(const ConvGeometry& g, const Tensor& dy, const Tensor& w, const SkipConcat& dx) {
  engine(g).data_gradient(g, dy, w, Tensor(), dx);
}

void conv_weight_gradient(const ConvGeometry& g, const SkipConcat& x, const Tensor& dy, Tensor& dw) {
  engine(g).weight_gradient(g, x, dy, dw);
}

void conv_transpose_forward(const ConvGeometry& g, const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y) {
  engine(g).data_gradient(g, x, w, bias, y);
}

}  // namespace acinus
