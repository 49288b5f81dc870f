// What conv3x3.h does with its sums before it stores them: ReLU or its gradient, and the maximum of each 2x2.
#pragma once
#include "tensor/conv/cuda/eight_channels.h"
#include "tensor/conv/engine.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

// Stores y (n,height,width,channels); the names are those of ConvSum (kernels.h).
template <class T>
struct Conv3x3Epilogue {
  static constexpr int run = 16 / sizeof(T);  // channels that are stored at once
  using Run = Channels<T, run>;
  int height, width, channels;
  bool relu;
  T *y, *pooled;
  const T* relu_output;

  // Takes values[r], a run of channels from `channel` on, of the pixels (row + r, column), which may lie outside of
  // image n. The warp's lanes call it together: row is even, and (to pool) lane ^ 4 has the neighbouring column.
  __device__ void operator()(int n, int row, int column, int channel, float (&values)[2][run]) const {
    if (relu) {
      ACINUS_UNROLL
      for (int i = 0; i < 2 * run; i++)
        if (values[i / run][i % run] <= 0) values[i / run][i % run] = 0;  // NaN stays NaN
    }
    Run result[2];
    ACINUS_UNROLL
    for (int r = 0; r < 2; r++) {
      const bool inside = channel < channels && column < width && row + r < height;
      const int64_t at = int64_t((n * height + row + r) * width + column) * channels + channel;
      if (relu_output && inside) mask_by_relu(values[r], Run(relu_output + at));
      result[r] = Run(values[r]);
      if (inside) result[r].store(y + at);
    }
    if (pooled) {
      ACINUS_UNROLL
      for (int i = 0; i < Run::words; i++) {
        uint32_t& word = result[0].word[i];
        word = Run::greater(word, result[1].word[i]);
        word = Run::greater(word, shuffle_xor(word, 4));
      }
      const int64_t pooled_pixel = (n * (height / 2) + row / 2) * (width / 2) + column / 2;
      if (channel < channels && column % 2 == 0 && column + 1 < width && row + 1 < height)
        result[0].store(pooled + pooled_pixel * channels + channel);
    }
  }

  // The gradient of y = relu(x) on its way from y to x: 0 where y is not positive.
  __device__ static void mask_by_relu(float (&values)[run], const Run& y) {
    ACINUS_UNROLL
    for (int i = 0; i < run; i++)
      if (!(y[i] > 0)) values[i] = 0;
  }
};

}  // namespace acinus::on_gpu
#endif
