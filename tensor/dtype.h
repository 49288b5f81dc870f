// What a tensor's elements are, and where: the types float32, float64 and bfloat16, and the devices CPU and GPU.
#pragma once
#include <cstdint>
#include <type_traits>

#include "tensor/bf16.h"
#include "tensor/check.h"

namespace acinus {

enum class DType { f32, f64, bf16 };
enum class Device { cpu, cuda };  // cuda: the one GPU this process uses, see cuda/device.h

constexpr int64_t size_of(DType dtype) { return dtype == DType::f32 ? 4 : dtype == DType::f64 ? 8 : 2; }  // bytes
constexpr const char* name(DType dtype) {
  return dtype == DType::f32 ? "float32" : dtype == DType::f64 ? "float64" : "bfloat16";
}
constexpr const char* name(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }

template <class T>
constexpr DType dtype_of() {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bf16>);
  return std::is_same_v<T, float> ? DType::f32 : std::is_same_v<T, double> ? DType::f64 : DType::bf16;
}

// Calls f(T()) with the C++ type T that holds dtype:
//   dispatch(x.dtype(), [&](auto zero) { using T = decltype(zero); ... });
template <class F>
auto dispatch(DType dtype, F f) {
  return dtype == DType::f32 ? f(float()) : dtype == DType::f64 ? f(double()) : f(bf16());
}
// The same for what must not lose digits: sums, losses, parameters. bfloat16 is an Error.
template <class F>
auto dispatch_precise(DType dtype, F f) {
  check(dtype != DType::bf16, "bfloat16 has too few digits for this");
  return dtype == DType::f32 ? f(float()) : f(double());
}

}  // namespace acinus
