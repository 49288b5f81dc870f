// bfloat16: the upper half of a float32: the sign, all 8 exponent bits and 7 of the 23 fraction bits. It has the same range
// with 2 to 3 decimal digits; the tensor cores of a GPU multiply it at twice the rate of any wider type. Numbers are rounded
// to it when they are stored; all arithmetic is done in float32.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tensor/hd.h"

namespace acinus {

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

}  // namespace acinus
