// IEEE 754 binary16, as files hold it: 1 sign, 5 exponent, 10 fraction bits. To be read only: nothing here computes in it.
#pragma once
#include <cmath>
#include <cstdint>

namespace acinus {

struct Half {
  uint16_t bits;
  operator float() const {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float sign = bits & 0x8000 ? -1.f : 1.f;
    if (exponent == 31) return fraction ? NAN : sign * INFINITY;
    return exponent == 0 ? sign * std::ldexp(float(fraction), -24)
                         : sign * std::ldexp(float(fraction + 1024), exponent - 25);
  }
};

}  // namespace acinus
