// The weight gradient of conv3x3_weight_gradient.h on tensor cores, in bfloat16 or TF32. A warp walks down a tile:
//
//        x                 dy
//     +------+                               row r of x times row r - a of dy belongs to row a of the kernel. Earlier
//     |      |           +----+              rows of dy are still in registers. For the three columns b of the kernel,
//     |      |    a = 2  |----|  r - 2       fragments of x begin a pixel further to the right each:
//     |======|    a = 1  |----|  r - 1
//     |      |    a = 0  |====|  r           3 loads of x and 2 of dy for 36 products
//     |      |           +----+
//     +------+
//
// In memory the channels of a pixel are neighbours. The sum is over pixels, so in a fragment pixels have to be
// neighbours: the loads must transpose. ldmatrix can, but only 16-bit numbers; for TF32 each lane loads its numbers one
// by one. db is one more row of the product, with ones in place of x.
#include "tensor/conv/cuda/conv3x3_weight_gradient.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

// The fragments of a row: A is 16 channels of x by the pixels from column b on, B the pixels by 32 channels of dy. The
// 16 pixels take `steps` of each. `at` are the addresses from which this lane loads, first x's, then dy's.
template <class V, class T = typename V::T>
struct Fragments;

template <class V>
struct Fragments<V, bf16> {
  static constexpr int steps = 1;
  static constexpr uint32_t one = 0x3f803f80;  // twice
  uint32_t at[3 + 2];

  __device__ Fragments(uint32_t x, uint32_t dy, int warp_c, int warp_o, int lane) {
    for (int b = 0; b < 3; b++)
      at[b] = chunk_address<V::chunks>(x, b + lane % 8 + lane / 16 * 8, warp_c * 2 + lane / 8 % 2);
    for (int i = 0; i < 2; i++)
      at[3 + i] =
          chunk_address<V::chunks>(dy, lane % 16, warp_o * 4 + V::Part::Lanes::eight(warp_c, 2 * i + lane / 16));
  }
  __device__ void load_x(int row, int, int b, uint32_t (&to)[4]) const {
    ldmatrix_x4_trans(to, at[b] + row * V::XCopy::row_bytes);
  }
  __device__ void load_dy(int row, int, uint32_t (&to)[2][4]) const {
    for (int i = 0; i < 2; i++) ldmatrix_x4_trans(to[i], at[3 + i] + row * V::DyCopy::row_bytes);
  }
};

// The pixels of a sum may be in any order: k = t and k = t + 4 are pixels 2t and 2t + 1 of a step. So the lanes load
// from every second pixel, where the swizzle gives 32 lanes 32 different banks.
template <class V>
struct Fragments<V, float> {
  static constexpr int steps = 2;
  static constexpr uint32_t one = 0x3f800000;
  uint32_t at[8 + 8];

  __device__ Fragments(uint32_t x, uint32_t dy, int warp_c, int warp_o, int lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 8; i++) {
      const int c = warp_c * 16 + i % 2 * 8 + g, eight = V::Part::Lanes::eight(warp_c, i / 2);
      at[i] = chunk_address<V::chunks>(x + c / 32 * V::XCopy::bytes, 2 * t + i / 2, c / 4 % 8) + c % 4 * 4;
      at[8 + i] =
          chunk_address<V::chunks>(dy + warp_o * V::DyCopy::bytes, 2 * t + i % 2, eight * 2 + g / 4) + g % 4 * 4;
    }
  }
  __device__ void load_x(int row, int step, int b, uint32_t (&to)[4]) const {
    const int offset = row * V::XCopy::row_bytes + step * 8 * V::panel_bytes;
    for (int i = 0; i < 4; i++) to[i] = round_tf32(load_shared_4(at[2 * b + i] + offset));
  }
  __device__ void load_dy(int row, int step, uint32_t (&to)[2][4]) const {
    const int offset = row * V::DyCopy::row_bytes + step * 8 * V::panel_bytes;
    for (int i = 0; i < 8; i++) to[i / 4][i % 4] = round_tf32(load_shared_4(at[8 + i] + offset));
  }
};

template <class Element>
struct TensorCores {
  using T = Element;

  // Four sums are a lane's part of a fragment (mma.h): of a tap, 16 channels of x and 8 of dy. Warps with the same
  // channels of dy share the work of db: each begins with different channels, and adds up db of its first `biases`.
  template <int WarpsC>
  struct Lanes {
    static constexpr int biases = 4 / WarpsC;
    HD static int eight(int warp_c, int j) { return j ^ (warp_c * biases); }
    HD static int c(int, int lane, int e) { return lane / 4 + e / 2 * 8; }
    HD static int o(int warp_c, int j, int lane, int e) { return eight(warp_c, j) * 8 + lane % 4 * 2 + e % 2; }
    HD static bool has_bias(int, int lane, int e) { return lane < 4 && e < 2; }  // all rows are the same
  };

  template <class V>
  struct Warp : Fragments<V> {
    using Fragments<V>::Fragments;
    using F = Fragments<V>;

    // copy(share) starts a share of the next copies, one after each of the first rows, so that products go on.
    static constexpr int walk = V::set_rows + 2, shares = walk / 2;  // rows of x
    template <bool WithBias, int Count, class Copy>
    __device__ void multiply(float (&sums)[Count][4], const Copy& copy) const {
      constexpr int weights = V::Part::weights;
      const uint32_t ones[4] = {F::one, F::one, F::one, F::one};
      uint32_t dy[3][2][4];  // row r in dy[r % 3], as fragments of B
      ACINUS_UNROLL
      for (int i = 0; i < walk * F::steps; i++) {
        const int row = i % walk, step = i / walk;
        if (row < V::set_rows) {
          this->load_dy(row, step, dy[row % 3]);
          mma<T, Count - weights>(sums + weights, ones, dy[row % 3]);
        }
        ACINUS_UNROLL
        for (int b = 0; b < 3; b++) {
          uint32_t x[4];
          this->load_x(row, step, b, x);
          ACINUS_UNROLL
          for (int a = 0; a < 3; a++)
            if (row >= a && row - a < V::set_rows) mma<T, 4>(sums + (a * 3 + b) * 4, x, dy[(row - a) % 3]);
        }
        if (i < shares) copy(i);
      }
    }
  };
};

}  // namespace

bool conv3x3_weight_gradient_supports(const ConvGeometry& g, int64_t deep_channels) {
  const auto small = [](int64_t n) { return n < int64_t(1) << 30; };
  return g.kh == 3 && g.kw == 3 && g.stride == 1 && g.dilation == 1 && g.padding >= 0 && g.padding <= 2 &&
         g.n * g.oh * g.ow > 0 && g.c > 0 && g.o > 0 && g.c % 32 == 0 && g.o % 32 == 0 && deep_channels % 32 == 0 &&
         (deep_channels == 0 || (g.h % 2 == 0 && g.w % 2 == 0)) &&
         small((g.c / 32) * (g.o / 32) * g.n * (g.oh / 8 + 1) * (g.ow / 16 + 1)) && small(g.w * g.c * 4) &&
         small(g.ow * g.o * 4);
}

template <class T>
void conv3x3_weight_gradient(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* dy, float* dw,
                             float* db) {
  if constexpr (std::is_same_v<T, float>)
    if (g.algorithm == ConvAlgorithm::halo) return weight_gradient_by_ffma(g, x, dy, dw, db);
  constexpr bool tf32 = sizeof(T) == 4;
  using M = TensorCores<T>;
  using Wide = GradientTiling<M, 64, tf32 ? 8 : 16, 1, 2, 1>;
  using Narrow = GradientTiling<M, 32, tf32 ? 8 : 16, tf32 ? 4 : 2, 3, tf32 ? 1 : 2>;
  using Small = GradientTiling<M, 32, tf32 ? 8 : 16, tf32 ? 4 : 2, 2, tf32 ? 1 : 2>;  // Narrow for less shared memory
  const auto by = should_be_wide<Wide>(g, x.deep_channels) ? weight_gradient_by<Wide>
                  : fits<Narrow>()                         ? weight_gradient_by<Narrow>
                                                           : weight_gradient_by<Small>;
  by(g, x, dy, dw, db);
}

template void conv3x3_weight_gradient(const ConvGeometry&, const SkipConcatData<const float>&, const float*, float*,
                                      float*);
template void conv3x3_weight_gradient(const ConvGeometry&, const SkipConcatData<const bf16>&, const bf16*, float*,
                                      float*);

}  // namespace acinus::on_gpu
#endif
