// Counter-based random numbers: number i of stream `seed` is a hash of (seed, i). So any thread can draw any element, in
// any order, and it is the same on every machine, on every device, and with any number of threads.
// The hash is SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014).
#pragma once
#include <cmath>
#include <cstdint>

#include "tensor/hd.h"

namespace acinus {

HD inline uint64_t random_bits(uint64_t seed, uint64_t i) {
  uint64_t z = seed * 0xD1342543DE82EF95ull + (i + 1) * 0x9E3779B97F4A7C15ull;
  for (int round = 0; round < 2; round++) {  // twice, since typical seeds are small: 0, 1, 2, ...
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    z ^= z >> 31;
  }
  return z;
}

// In [0, 1), from the upper 53 bits.
HD inline double random_uniform(uint64_t seed, uint64_t i) { return double(random_bits(seed, i) >> 11) * 0x1p-53; }

// A stream, read one number after the other.
class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  double uniform() { return random_uniform(seed_, next_++); }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  int64_t below(int64_t n) { return int64_t(uniform() * double(n)); }  // 0 .. n-1
  double normal() {                                                    // mean 0, variance 1, by Box and Muller (1958)
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }

 private:
  uint64_t seed_, next_ = 0;
};

}  // namespace acinus
