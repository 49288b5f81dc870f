// The emulated GPU: it executes the instructions of mma.h as the PTX manual says, and a kernel with one of the mistakes that
// such kernels invite is wrong on it, or refused. Each mistake is planted in a kernel that is right without it.
#ifdef ACINUS_EMULATE
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "tensor/cuda/mma.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

// Whole numbers from -8 to 8, which no type rounds, nor do their sums.
std::vector<float> whole_numbers(size_t n, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(n);
  for (float& v : values) v = float(random.below(17) - 8);
  return values;
}

std::vector<bf16> to_bf16(const std::vector<float>& values) { return {values.begin(), values.end()}; }

// a (m,k) * b (k,n)
std::vector<float> product(const std::vector<float>& a, const std::vector<float>& b, int m, int k, int n) {
  std::vector<float> d(size_t(m * n), 0.0f);
  for (int i = 0; i < m; i++)
    for (int j = 0; j < n; j++)
      for (int l = 0; l < k; l++) d[i * n + j] += a[i * k + l] * b[l * n + j];
  return d;
}

uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

template <class... P, class... A>
std::string problem(void (*kernel)(P...), int threads, size_t shared_bytes, const A&... args) {
  return error_of([&] { launch("the_kernel", kernel, 2, threads, shared_bytes, args...); });
}

}  // namespace

// ---- barriers -----------------------------------------------------------------------------------------------------

namespace {

// Each turns 64 numbers round, through shared memory.
__global__ void turn_round(const float* x, float* y) {
  auto& shared = shared_memory<float[64]>();
  shared[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = shared[63 - threadIdx.x];
}
__global__ void turn_round_without_barrier(const float* x, float* y) {
  auto& shared = shared_memory<float[64]>();
  shared[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = shared[63 - threadIdx.x];
}
// Right but for the second turn, which overwrites what others have yet to read.
__global__ void turn_round_twice(const float* x, float* y) {
  auto& shared = shared_memory<float[64]>();
  for (int turn = 0; turn < 2; turn++) {
    shared[threadIdx.x] = turn ? 100 : x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = turn ? y[threadIdx.x] : shared[63 - threadIdx.x];
  }
}
// Each half of a warp turns the other's numbers round: between lanes of a warp, too, something must be waited for.
template <bool with_barrier>
__global__ void turn_warps_round(const float* x, float* y) {
  auto& shared = shared_memory<float[64]>();
  const int first = int(threadIdx.x) / 32 * 32, lane = int(threadIdx.x) % 32;
  shared[threadIdx.x] = x[threadIdx.x];
  if (with_barrier) __syncwarp();
  y[threadIdx.x] = shared[first + 31 - lane];
}
__global__ void half_at_barrier(int) {
  if (threadIdx.x < 32) __syncthreads();
}
__global__ void two_barriers(int) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void half_a_warp(int) {
  if (threadIdx.x % 32 < 16) __syncwarp();
}
__global__ void two_warp_barriers(int) {
  if (threadIdx.x % 32 < 16)
    __syncwarp();
  else
    __syncwarp();
}
__global__ void warp_and_block(int) {
  if (threadIdx.x % 32 < 16)
    __syncwarp();
  else
    __syncthreads();
}
__global__ void warp_sum(const float* x, float* y) {
  float sum = x[threadIdx.x];
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xFFFFFFFF, sum, offset);
  if (threadIdx.x % 32 == 0) y[threadIdx.x / 32] = sum;
}
__global__ void butterfly_sum(const float* x, float* y) {
  float sum = x[threadIdx.x];
  for (int mask = 16; mask > 0; mask /= 2) {
    const uint32_t other = shuffle_xor(bits_of(sum), mask);
    float value;
    std::memcpy(&value, &other, 4);
    sum += value;
  }
  y[threadIdx.x] = sum;
}
__global__ void throws(int) { fail("from within"); }

}  // namespace

TEST_CASE("emulator: a barrier that is missing makes a kernel wrong, one that not all come to is refused", "[cuda]") {
  const std::vector<float> x = whole_numbers(64, 1);
  const auto run = [&](void (*kernel)(const float*, float*)) {
    std::vector<float> y(64, NAN);
    launch("kernel", kernel, 1, 64, sizeof(float[64]), x.data(), y.data());
    return y;
  };
  std::vector<float> turned = x, warps_turned = x;
  std::reverse(turned.begin(), turned.end());
  CHECK(run(turn_round) == turned);
  CHECK(run(turn_round_without_barrier) != turned);
  CHECK(run(turn_round_twice) != turned);
  for (int warp : {0, 32}) std::reverse(warps_turned.begin() + warp, warps_turned.begin() + warp + 32);
  CHECK(run(turn_warps_round<true>) == warps_turned);
  CHECK(run(turn_warps_round<false>) != warps_turned);
  for (size_t warp = 0; warp < 2; warp++) {
    const float sum = std::accumulate(x.begin() + 32 * warp, x.begin() + 32 * warp + 32, 0.0f);
    CHECK(run(warp_sum)[warp] == sum);
    CHECK(run(butterfly_sum)[32 * warp + 7] == sum);
  }

  CHECK_THAT(problem(half_at_barrier, 64, 0, 0), Catch::Contains("the_kernel") && Catch::Contains("32 of 64"));
  CHECK_THAT(problem(two_barriers, 64, 0, 0), Catch::Contains("barriers in lines"));
  CHECK_THAT(problem(half_a_warp, 64, 0, 0), Catch::Contains("16 of 32 threads of a warp"));
  CHECK_THAT(problem(two_warp_barriers, 64, 0, 0), Catch::Contains("of one warp") && Catch::Contains("in lines"));
  CHECK_THAT(problem(warp_and_block, 64, 0, 0), Catch::Contains("16 of 32 threads of a warp"));
  std::vector<float> y(2);
  CHECK_THAT(problem(warp_sum, 48, 0, x.data(), y.data()), Catch::Contains("only 16 threads"));
  CHECK_THAT(problem(throws, 64, 0, 0), Catch::Contains("from within"));
  CHECK(run(turn_round) == turned);  // afterwards all is well
}

// ---- fragments ----------------------------------------------------------------------------------------------------

namespace {

// d (16,8) += a (16,K) * b (K,8) by one warp; the fragments by the table in mma.h.
template <int K>
__global__ void multiply(const float* a, const float* b, float* d) {
  const int g = int(threadIdx.x) / 4, t = int(threadIdx.x) % 4;
  uint32_t fa[4], fb[2];
  float fd[4];
  for (int e = 0; e < 4; e++) fd[e] = d[(g + e / 2 * 8) * 8 + 2 * t + e % 2];
  if (K == 16) {
    for (int r = 0; r < 4; r++) {
      const float* at = a + (g + r % 2 * 8) * 16 + 2 * t + r / 2 * 8;
      fa[r] = pack_bf16(at[0], at[1]);
    }
    for (int r = 0; r < 2; r++) fb[r] = pack_bf16(b[(2 * t + r * 8) * 8 + g], b[(2 * t + r * 8 + 1) * 8 + g]);
    mma_bf16(fd, fa, fb[0], fb[1]);
  } else {
    for (int r = 0; r < 4; r++) fa[r] = round_tf32(bits_of(a[(g + r % 2 * 8) * 8 + t + r / 2 * 4]));
    for (int r = 0; r < 2; r++) fb[r] = round_tf32(bits_of(b[(t + r * 4) * 8 + g]));
    mma_tf32(fd, fa, fb[0], fb[1]);
  }
  for (int e = 0; e < 4; e++) d[(g + e / 2 * 8) * 8 + 2 * t + e % 2] = fd[e];
}

// y[r][lane][e]: half e of register r, after ldmatrix of 4 matrices (8,8), one after the other in shared memory
template <bool transposed>
__global__ void load_fragments(const bf16* x, bf16* y) {
  auto& m = shared_memory<bf16[4][8][8]>();
  for (int i = int(threadIdx.x); i < 256; i += 32) m[i / 64][i / 8 % 8][i % 8] = x[i];
  __syncthreads();
  uint32_t words[4];
  const uint32_t address = shared_address(m[threadIdx.x / 8][threadIdx.x % 8]);
  transposed ? ldmatrix_x4_trans(words, address) : ldmatrix_x4(words, address);
  for (int r = 0; r < 4; r++) std::memcpy(y + (r * 32 + threadIdx.x) * 2, &words[r], 4);
}

__global__ void load_words(const uint32_t* x, uint32_t* y) {
  auto& m = shared_memory<uint32_t[128]>();
  for (int i = int(threadIdx.x); i < 128; i += 32) m[i] = x[i];
  __syncthreads();
  uint32_t words[4];
  load_shared_16(words, shared_address(&m[(31 - threadIdx.x) * 4]));
  for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = words[i] + load_shared_4(shared_address(&m[threadIdx.x]));
}

}  // namespace

TEST_CASE("emulator: products of fragments are the products of the matrices", "[cuda]") {
  for (int k : {16, 8}) {
    const std::vector<float> a = whole_numbers(size_t(16 * k), 1), b = whole_numbers(size_t(k * 8), 2);
    std::vector<float> d = whole_numbers(16 * 8, 3), expected = product(a, b, 16, k, 8);
    for (size_t i = 0; i < d.size(); i++) expected[i] += d[i];
    launch("multiply", k == 16 ? multiply<16> : multiply<8>, 1, 32, 0, a.data(), b.data(), d.data());
    CHECK(d == expected);
  }
  // The tensor cores do not look at the last 13 of 23 digits.
  const std::vector<float> a(16 * 8, 1 + 3.0f / 4096), b(8 * 8, 1);
  std::vector<float> d(16 * 8, 0.0f);
  launch("multiply", multiply<8>, 1, 32, 0, a.data(), b.data(), d.data());
  CHECK(d == std::vector<float>(16 * 8, 8 + 8.0f / 1024));
}

TEST_CASE("emulator: loads bring the numbers that the manual says", "[cuda]") {
  const std::vector<bf16> x = to_bf16(whole_numbers(256, 1));
  for (bool transposed : {false, true}) {
    std::vector<bf16> y(256, bf16(NAN));
    launch("load", transposed ? load_fragments<true> : load_fragments<false>, 1, 32, 512, x.data(), y.data());
    for (int r = 0; r < 4; r++)
      for (int lane = 0; lane < 32; lane++)
        for (int e = 0; e < 2; e++) {
          const int i = lane / 4, j = lane % 4 * 2 + e;
          CHECK(float(y[(r * 32 + lane) * 2 + e]) == float(x[r * 64 + (transposed ? j * 8 + i : i * 8 + j)]));
        }
  }
  std::vector<uint32_t> words(128), loaded(128);
  std::iota(words.begin(), words.end(), 100);
  launch("load_words", load_words, 1, 32, 512, words.data(), loaded.data());
  for (uint32_t i = 0; i < 128; i++) CHECK(loaded[i] == words[(31 - i / 4) * 4 + i % 4] + words[i / 4]);
}

TEST_CASE("emulator: rounding, packing and the maximum keep NaN", "[cuda]") {
  const auto rounded = [](float v) { return round_tf32(bits_of(v)); };
  CHECK(rounded(1 + 1.0f / 1024) == bits_of(1 + 1.0f / 1024));
  CHECK(rounded(1 + 1.0f / 2048) == bits_of(1 + 1.0f / 1024));  // ties away from zero
  CHECK(rounded(1 + 0.99f / 2048) == bits_of(1));
  CHECK(rounded(-1 - 3.0f / 2048) == bits_of(-1 - 2.0f / 1024));
  CHECK(rounded(INFINITY) == bits_of(INFINITY));
  CHECK(rounded(NAN) == bits_of(NAN));
  CHECK(pack_bf16(1, -2) == 0xC0003F80);
  CHECK(pack_bf16(1.00390625f, 1.01171875f) == 0x3F823F80);  // ties to even
  CHECK(pack_bf16(NAN, 0) == 0x7FFF);
  CHECK(max_bf16x2(pack_bf16(1, -2), pack_bf16(-3, -1)) == pack_bf16(1, -1));
  CHECK(max_bf16x2(pack_bf16(NAN, -0.0f), pack_bf16(1, 0)) == pack_bf16(NAN, 0));
  CHECK(max_bf16x2(pack_bf16(1, 0), pack_bf16(NAN, -0.0f)) == pack_bf16(NAN, 0));
}
#endif
