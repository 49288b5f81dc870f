// The tilings of conv3x3.h with wgmma, which only Hopper has, and nvcc compiles only for sm_90a: Makefile and
// CMakeLists.txt compile this file for that alone. ACINUS_WGMMA=0 in the environment does without it.
#include <cstdlib>
#include <cstring>

#include "tensor/conv/cuda/conv3x3.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

Conv3x3Variants<bf16> conv3x3_hopper_variants() {
#if defined(ACINUS_SM_90A) || defined(ACINUS_EMULATE)
  constexpr Products wgmma = Products::wgmma;
  const char* wanted = std::getenv("ACINUS_WGMMA");
  if (wanted && !std::strcmp(wanted, "0")) return {};
#ifdef __CUDACC__
  cuda::stream();  // selects the GPU
  cudaFuncAttributes code;
  if (cudaFuncGetAttributes(&code, conv3x3_kernel<Conv3x3Tiling<bf16, Taps::nine, 2, 128, 16, 2, wgmma>>) !=
      cudaSuccess) {
    cudaGetLastError();
    return {};  // another GPU
  }
#endif
  return {
      conv3x3_variant<bf16, Taps::four, 4, 32, 16, 3, wgmma>(0.375),
      conv3x3_variant<bf16, Taps::nine, 2, 128, 16, 2, wgmma>(1),
      conv3x3_variant<bf16, Taps::nine, 4, 64, 16, 3, wgmma>(1),
      conv3x3_variant<bf16, Taps::nine, 2, 64, 32, 2, wgmma>(0.375),
      conv3x3_variant<bf16, Taps::nine, 4, 32, 32, 2, wgmma>(0.375),
      conv3x3_variant<bf16, Taps::sixteen, 2, 64, 16, 2, wgmma>(0.375),
  };
#else
  return {};
#endif
}

}  // namespace acinus::on_gpu
#endif
