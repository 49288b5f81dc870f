// What a tensor's elements are, and where: the types float32, float64 and bfloat16, and the devices CPU and GPU.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tensor/check.h"
#include "tensor/hd.h"

namespace acinus {

// bfloat16: the upper half of a float32: the sign, all 8 exponent bits and 7 of the 23 fraction bits. It has the same range
// with 2 to 3 decimal digits; the tensor cores of a GPU multiply it at twice the rate of any wider type. Numbers are rounded
// to it when they are stored; all arithmetic is done in float32.
struct bf16 {
  uint16_t bits;

  bf16() = default;
  HD bf16(float value) {
    uint32_t u;
    memcpy(&u, &value, 4);
    // Round to nearest, ties to even; a NaN must not be rounded up to infinity.
    bits = uint16_t(value != value ? (u >> 16) | 0x40 : (u + 0x7FFF + ((u >> 16) & 1)) >> 16);
  }
  HD operator float() const {
    const uint32_t u = uint32_t(bits) << 16;
    float value;
    memcpy(&value, &u, 4);
    return value;
  }
};

// The type in which arithmetic on T is performed.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, bf16>, float, T>;

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
