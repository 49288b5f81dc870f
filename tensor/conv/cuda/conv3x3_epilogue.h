// What conv3x3.h does with its sums before it stores them: ReLU, or the gradient of a ReLU; the maximum of each 2x2, or the
// sum, which is the gradient of upsample2x. All of it in registers.
#pragma once
#include "tensor/conv/cuda/eight_channels.h"
#include "tensor/conv/engine.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

// Of y (n,height,width,channels), with the letters of ConvSum.
template <class T>
struct Conv3x3Epilogue {
  int height, width, channels, deep_channels;
  bool relu;
  SkipConcatData<T> y;
  T* pooled;
  SkipConcatData<const T> relu_output;

  // Takes values[r], eight channels from `channel` on, of the pixels (row + r, column) of image n; they may lie outside of it.
  // A warp comes here together: lane ^ 4 has the neighbouring column, and the row is even.
  __device__ void operator()(int n, int row, int column, int channel, float (&values)[2][8]) const {
    if (relu) {
      ACINUS_UNROLL
      for (int i = 0; i < 16; i++)
        if (values[i / 8][i % 8] <= 0) values[i / 8][i % 8] = 0;  // NaN stays NaN
    }
    const bool exists = channel < channels && column < width;
    const bool first_of_four = exists && column % 2 == 0 && row + 1 < height && column + 1 < width;
    const int four = (n * (height / 2) + row / 2) * (width / 2) + column / 2;  // a pixel of the image of half the size

    if (channel / 32 * 32 < deep_channels) {
      float sum[8];
      ACINUS_UNROLL
      for (int i = 0; i < 8; i++) {
        sum[i] = values[0][i] + values[1][i];
        sum[i] += float_of(shuffle_xor(bits_of(sum[i]), 4));
      }
      if (first_of_four && channel < deep_channels) {
        const int64_t at = int64_t(four) * deep_channels + channel;
        stopped(sum, relu_output.deep, at).store(y.deep + at);
      }
    }
    EightChannels<T> result[2];
    ACINUS_UNROLL
    for (int r = 0; r < 2; r++) {
      const int64_t pixel = (n * height + row + r) * width + column;
      const int64_t at = pixel * (channels - deep_channels) + channel - deep_channels;
      const bool stores = exists && row + r < height && channel >= deep_channels;
      result[r] = stopped(values[r], stores ? relu_output.skip : nullptr, at);
      if (stores) result[r].store(y.skip + at);
    }
    if (pooled) {
      ACINUS_UNROLL
      for (uint32_t i = 0; i < EightChannels<T>::words; i++) {
        uint32_t& word = result[0].word[i];
        word = EightChannels<T>::greater(word, result[1].word[i]);
        word = EightChannels<T>::greater(word, shuffle_xor(word, 4));
      }
      if (first_of_four) result[0].store(pooled + int64_t(four) * channels + channel);
    }
  }

  // The gradient of y = relu(x) on its way: 0 where y is not positive. Then rounded.
  __device__ static EightChannels<T> stopped(float (&values)[8], const T* relu_output, int64_t at) {
    if (relu_output) {
      const EightChannels<T> y(relu_output + at);
      ACINUS_UNROLL
      for (int i = 0; i < 8; i++)
        if (!(y[i] > 0)) values[i] = 0;
    }
    return EightChannels<T>(values);
  }
};

}  // namespace acinus::on_gpu
#endif
