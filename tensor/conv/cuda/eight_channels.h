// Neighbouring channels of a pixel, as they are in memory: mostly eight, which are 16 bytes of bfloat16, the most that
// a thread reads or writes at once, or 32 of float32.
#pragma once
#include "tensor/cuda/mma.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

__device__ inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}
__device__ inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

template <class T, int Count>
struct Channels {
  static constexpr bool packed = sizeof(T) == 2;  // two in a word
  static constexpr int words = Count * int(sizeof(T)) / 4;
  uint32_t word[words];

  Channels() = default;
  __device__ explicit Channels(const float (&values)[Count]) {
    ACINUS_UNROLL
    for (int i = 0; i < words; i++)
      word[i] = packed ? pack_bf16(values[i * Count / words], values[i * Count / words + packed]) : bits_of(values[i]);
  }
  __device__ explicit Channels(const T* from) {
    ACINUS_UNROLL
    for (int i = 0; i < words; i += 4) {
      uint32_t four[4];
      load_sixteen(four, from + i * Count / words);
      ACINUS_UNROLL
      for (int j = 0; j < 4; j++) word[i + j] = four[j];
    }
  }
  __device__ void store(T* to) const {
    ACINUS_UNROLL
    for (int i = 0; i < words; i += 4)
      store_sixteen(to + i * Count / words, {word[i], word[i + 1], word[i + 2], word[i + 3]});
  }
  __device__ float operator[](int channel) const {
    if (!packed) return float_of(word[channel]);
    return float_of(channel % 2 ? word[channel / 2] & 0xffff0000u : word[channel / 2] << 16);
  }
  // The greater of each two, NaN if one of them is, as in max_pool2d.
  __device__ static uint32_t greater(uint32_t a, uint32_t b) {
    if (packed) return max_bf16x2(a, b);
    return float_of(a) > float_of(b) || float_of(a) != float_of(a) ? a : b;
  }
};
template <class T>
using EightChannels = Channels<T, 8>;

}  // namespace acinus::on_gpu
#endif
