// Convolutions with a 3x3 kernel and stride 1 in float32 by ordinary instructions, one multiplication and addition (FFMA) a lane:
// for all digits, where TF32 rounds. The tiles are those of the tensor cores; each lane has a small matrix of sums, and what it
// loads, it multiplies several times.
#include "tensor/conv/cuda/conv3x3_weight_gradient.h"
#include "tensor/conv/cuda/eight_channels.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

// ---- weight gradient ----------------------------------------------------------------------------------------------
//
// A lane has 4 channels of x and 4 of dy, for all nine taps. It goes along each row of x by 4 pixels: with 6 pixels of x and 4 of
// dy in each of three rows, 18 loads of 16 bytes are enough for 576 multiplications.
struct Ordinary {
  using T = float;

  template <int WarpsC>
  struct Lanes {
    static constexpr int biases = 1;
    HD static int c(int j, int lane, int) { return lane / 8 * 4 + j; }
    HD static int o(int, int, int lane, int e) { return lane % 8 * 4 + e; }
    HD static bool has_bias(int warp_c, int lane, int) { return warp_c == 0 && lane < 8; }
  };

  template <class V>
  struct Warp {
    static constexpr int shares = 1;
    uint32_t at[6 + 4];  // addresses of this lane's channels: in columns 0 to 5 of x, in 0 to 3 of dy

    __device__ Warp(uint32_t x, uint32_t dy, int warp_c, int warp_o, int lane) {
      const int chunk = warp_c * 4 + lane / 8;
      for (int i = 0; i < 6; i++) at[i] = chunk_address<8>(x + chunk / 8 * V::XCopy::bytes, i, chunk % 8);
      for (int i = 0; i < 4; i++) at[6 + i] = chunk_address<8>(dy + warp_o * V::DyCopy::bytes, i, lane % 8);
    }

    // Loops that are not unrolled: a GPU fetches instructions fast enough only where they fit into its smallest cache.
    template <bool WithBias, int Count, class Ask>
    __device__ void multiply(float (&sums)[Count][4], const Ask& ask) const {
      ask(0);
      ACINUS_NO_UNROLL
      for (int row = 0; row < V::set_rows + 2; row++) {  // of x
        ACINUS_NO_UNROLL
        for (int column = 0; column < 16; column += 4) {
          const uint32_t flip = column % 8 * 16;  // what 4 columns further on is different about the swizzle
          float x[6][4], dy[4][4];
          ACINUS_UNROLL
          for (int i = 0; i < 6; i++) load(x[i], (at[i] ^ flip) + row * V::XCopy::row_bytes + column * 128);
          ACINUS_UNROLL
          for (int a = 0; a < 3; a++) {
            if (row < a || row - a >= V::set_rows) continue;
            ACINUS_UNROLL
            for (int i = 0; i < 4; i++)
              load(dy[i], (at[6 + i] ^ flip) + (row - a) * V::DyCopy::row_bytes + column * 128);
            ACINUS_UNROLL
            for (int i = 0; i < 4 * 4; i++) {
              const int pixel = i / 4, o = i % 4;
              if constexpr (WithBias)
                if (a == 0) sums[V::Part::weights][o] += dy[pixel][o];
              ACINUS_UNROLL
              for (int j = 0; j < 3 * 4; j++) sums[a * 12 + j][o] += x[pixel + j / 4][j % 4] * dy[pixel][o];
            }
          }
        }
      }
    }
    __device__ static void load(float (&to)[4], uint32_t address) {
      uint32_t words[4];
      load_shared_16(words, address);
      for (int e = 0; e < 4; e++) to[e] = float_of(words[e]);
    }
  };
};

bool conv3x3_f32_weight_gradient_supports(const ConvGeometry& g, int64_t deep_channels) {
  return conv3x3_weight_gradient_supports<float>(g, deep_channels);
}

void conv3x3_f32_weight_gradient(const ConvGeometry& g, const SkipConcatData<const float>& x, const float* dy,
                                 float* dw, float* db) {
  using Wide = GradientTiling<Ordinary, 64, 8, 1, 2, 1>;
  using Narrow = GradientTiling<Ordinary, 32, 8, 4, 2, 1>;
  const auto by = should_be_wide<Wide>(g, x.deep_channels) ? weight_gradient_by<Wide> : weight_gradient_by<Narrow>;
  by("conv3x3_f32_weight_gradient", g, x, dy, dw, db);
}

}  // namespace acinus::on_gpu
#endif
