// Counter-based random numbers: number i of stream `seed` is a hash of (seed, i). So any thread can draw any element, in
// any order, and it is the same on every machine, on every device, and with any number of threads.
#pragma once
#include <cmath>
#include <cstdint>

#include "tensor/hd.h"

namespace acinus {

// SplitMix64's output function: a hash of 64 bits (Steele, Lea and Flood, OOPSLA 2014).
HD inline uint64_t splitmix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

// Hashed twice, since typical seeds are small: 0, 1, 2, ...
HD inline uint64_t random_bits(uint64_t seed, uint64_t i) {
  return splitmix64(splitmix64(seed * 0xD1342543DE82EF95ull + (i + 1) * 0x9E3779B97F4A7C15ull));
}

// The sum of the four 16-bit numbers in these bits, which is nearly normal (Irwin-Hall): mean 2 * 65535, standard
// deviation 65536 / sqrt(3).
HD inline int32_t sum_of_four(uint64_t bits) {
  const uint64_t halves = 0x0000ffff0000ffff, pairs = (bits & halves) + (bits >> 16 & halves);
  return int32_t(pairs & 0xffffffff) + int32_t(pairs >> 32);
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
