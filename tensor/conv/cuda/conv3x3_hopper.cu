// The tilings of conv3x3.h with wgmma, which only Hopper has, and nvcc compiles only for sm_90a: Makefile and
// CMakeLists.txt compile this file for that alone. ACINUS_WGMMA=0 in the environment does without it.
#include <cstdlib>
#include <cstring>

#include "tensor/conv/cuda/conv3x3.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

std::vector<Conv3x3Variant<bf16>> conv3x3_hopper_variants() {
#if defined(ACINUS_SM_90A) || defined(ACINUS_EMULATE)
  const char* wanted = std::getenv("ACINUS_WGMMA");
  if (wanted && !std::strcmp(wanted, "0")) return {};
  const std::vector<Conv3x3Variant<bf16>> variants = {
      conv3x3_variant<Conv3x3Tiling<bf16, Taps::four, 4, 32, 16, 3, Products::wgmma>>("wgmma four taps 512x32-c16-s3",
                                                                                      0.375),
      conv3x3_variant<Conv3x3Tiling<bf16, Taps::nine, 2, 128, 16, 2, Products::wgmma>>("wgmma 128x128-c16-s2", 1),
      conv3x3_variant<Conv3x3Tiling<bf16, Taps::nine, 4, 64, 16, 3, Products::wgmma>>("wgmma 256x64-c16-s3", 1),
      conv3x3_variant<Conv3x3Tiling<bf16, Taps::nine, 2, 64, 32, 2, Products::wgmma>>("wgmma 128x64-c32-s2", 0.375),
      conv3x3_variant<Conv3x3Tiling<bf16, Taps::nine, 4, 32, 32, 2, Products::wgmma>>("wgmma 256x32-c32-s2", 0.375),
      conv3x3_variant<Conv3x3Tiling<bf16, Taps::sixteen, 2, 64, 16, 2, Products::wgmma>>(
          "wgmma sixteen taps 128x64-c16-s2", 0.375)};
#ifdef __CUDACC__
  cuda::stream();  // selects the GPU
  cudaFuncAttributes code;
  if (cudaFuncGetAttributes(&code, conv3x3_kernel<Conv3x3Tiling<bf16, Taps::nine, 2, 128, 16, 2, Products::wgmma>>) !=
      cudaSuccess) {
    cudaGetLastError();
    return {};  // another GPU
  }
#endif
  return variants;
#else
  return {};
#endif
}

}  // namespace acinus::on_gpu
#endif
