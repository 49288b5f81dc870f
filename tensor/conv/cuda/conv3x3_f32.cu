// Convolutions with a 3x3 kernel and stride 1 in float32 by ordinary multiply-adds (FFMA): tensor cores would round the
// factors. Tiles, copies and sums are the same (conv3x3.h and conv3x3_weight_gradient.h); here is how a lane
// multiplies. It uses what it loads as often as it can. Only the innermost loops are unrolled, to a few hundred
// instructions, so that they fit into the innermost instruction cache; the larger ones probably cannot deliver an
// instruction every clock (docs/kernels.md).
#include "tensor/conv/cuda/conv3x3.h"
#include "tensor/conv/cuda/conv3x3_weight_gradient.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

// ---- forward and data gradient --------------------------------------------------------------------------------------
//
// In each of its warp's rows, a lane computes two pixels, g and g + 8, by 4 of every 16 channels (Conv3x3Sums). For each
// shift, and two channels of x at a time, it loads these pixels of all rows that its taps see, and for each tap and
// channel 8 weights, each of which it multiplies by 2 R pixels.
template <class V, class Part>
struct Conv3x3Ffma {
  using Table = typename Part::Table;
  static constexpr int R = V::warp_rows, N = V::channels, rows = Part::warp_rows + 2;
  uint32_t pixels, weights;  // addresses in the ring's first stage

  __device__ explicit Conv3x3Ffma(uint32_t ring) {
    pixels = ring + int(threadIdx.x) / 32 * Part::warp_rows * Part::Copy::row_bytes;
    weights = ring + Part::Copy::bytes + int(threadIdx.x) % 4 * 16;
  }

  __device__ void add_to(Conv3x3Sums<V>& sums, uint32_t stage) const {
    const int g = int(threadIdx.x) % 32 / 4;
    ACINUS_NO_UNROLL
    for (int shift = 0; shift < Part::shifts; shift++) {
      ACINUS_NO_UNROLL
      for (int k = 0; k < V::depth; k += 2) {
        uint32_t x[rows][2][2];  // row, pixel g or g + 8, channel k or k + 1
        ACINUS_UNROLL
        for (int i = 0; i < rows * 2; i++) {
          const uint32_t pixel = Part::Copy::offset(i / 2, (g + i % 2 * 8) * Part::split + shift, k / 4);
          load_shared_8(x[i / 2][i % 2], pixels + stage + pixel + k % 4 * 4);
        }
        ACINUS_UNROLL
        for (int i = 0; i < V::parities * Table::rows; i++) {
          const int parity = i / Table::rows, tap_row = i % Table::rows, tap_column = shift - parity;
          if (tap_column < 0 || tap_column >= Table::columns) continue;
          const int tap = Table::number(tap_row, parity, tap_column);
          ACINUS_UNROLL
          for (int j = 0; j < 2 * N / 16; j++) {  // fours of channels of y
            const int channel = j / (N / 16), four = j % (N / 16);
            uint32_t w[4];
            load_shared_16(w, weights + stage + tap * V::tap_bytes + (k + channel) * N * 4 + four * 64);
            ACINUS_UNROLL
            for (int e = 0; e < R * 2 * 4; e++) {
              const int r = e / 8, pixel = e / 4 % 2, row = Table::image_row(r, tap_row);
              if (row >= 0)
                sums.of[parity][r][four * 2 + e % 4 / 2][pixel * 2 + e % 2] +=
                    float_of(x[row][pixel][channel]) * float_of(w[e % 4]);
            }
          }
        }
      }
    }
  }
};

const Conv3x3Variants<float>& conv3x3_ffma_variants() {
  constexpr Products ffma = Products::ffma;
  static const Conv3x3Variants<float> all = {
      conv3x3_variant<float, Taps::four, 2, 32, 8, 2, ffma>(1),
      conv3x3_variant<float, Taps::nine, 4, 32, 8, 2, ffma>(1),
      conv3x3_variant<float, Taps::nine, 2, 32, 8, 2, ffma>(0),
      conv3x3_variant<float, Taps::sixteen, 2, 32, 8, 2, ffma>(0),
  };
  return all;
}

// ---- weight gradient ----------------------------------------------------------------------------------------------
//
// A lane computes 4 channels of x by 4 of dy, for all nine taps. It goes along each row of x, 4 pixels at a time: 6
// pixels of x and 4 of dy in each of three rows, 18 loads of 16 bytes, are enough for 576 multiplications.
struct Ffma {
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

    template <bool WithBias, int Count, class Copy>
    __device__ void multiply(float (&sums)[Count][4], const Copy& copy) const {
      copy(0);
      ACINUS_NO_UNROLL
      for (int row = 0; row < V::set_rows + 2; row++) {  // of x
        ACINUS_NO_UNROLL
        for (int column = 0; column < 16; column += 4) {
          const uint32_t flip = column % 8 * 16;  // how the swizzle differs 4 columns further on
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

void weight_gradient_by_ffma(const ConvGeometry& g, const SkipConcatData<const float>& x, const float* dy, float* dw,
                             float* db) {
  using Wide = GradientTiling<Ffma, 64, 8, 1, 2, 1>;
  using Narrow = GradientTiling<Ffma, 32, 8, 4, 2, 1>;
  const auto by = should_be_wide<Wide>(g, x.deep_channels) ? weight_gradient_by<Wide> : weight_gradient_by<Narrow>;
  by(g, x, dy, dw, db);
}

}  // namespace acinus::on_gpu
#endif
