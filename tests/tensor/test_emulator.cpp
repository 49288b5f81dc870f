// The emulated GPU: it executes the instructions of mma.h as the PTX manual says, and a kernel with one of the mistakes
// that such kernels invite is wrong on it, or refused. Each mistake is planted in a kernel that is right without it.
#ifdef ACINUS_EMULATE
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "tensor/conv/cuda/halo_tile.h"
#include "tensor/cuda/count.h"
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
// One thread reads what another writes: right if that one happens to come first.
__global__ void read_from(int writer, int reader, int* right) {
  auto& shared = shared_memory<float[64]>();
  const int t = int(threadIdx.x);
  if (t == writer) shared[0] = 1;
  if (t == reader) right[blockIdx.x] = shared[0] == 1;
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

  for (auto [writer, reader] : {std::pair(0, 32), {32, 0}, {1, 4}, {4, 1}}) {
    std::vector<int> right(64);
    launch("read_from", read_from, 64, 64, 4, writer, reader, right.data());
    const auto count = std::count(right.begin(), right.end(), 1);
    CHECK((count > 16 && count < 48));
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
    for (int r = 0; r < 4; r++) fa[r] = bits_of(a[(g + r % 2 * 8) * 8 + t + r / 2 * 4]);
    for (int r = 0; r < 2; r++) fb[r] = bits_of(b[(t + r * 4) * 8 + g]);
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
  uint32_t words[4], pair[2];
  load_shared_16(words, shared_address(&m[(31 - threadIdx.x) * 4]));
  load_shared_8(pair, shared_address(&m[threadIdx.x * 2]));
  const uint32_t word = load_shared_4(shared_address(&m[threadIdx.x]));
  for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = words[i] + 1000 * pair[i % 2] + 1000000 * word;
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
  CHECK(d == std::vector<float>(16 * 8, 8.0f));
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
  for (uint32_t i = 0; i < 128; i++) {
    const uint32_t word = words[i / 4], of_pair = words[i / 4 * 2 + i % 2];
    CHECK(loaded[i] == words[(31 - i / 4) * 4 + i % 4] + 1000 * of_pair + 1000000 * word);
  }
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

// ---- copies ---------------------------------------------------------------------------------------------------------

namespace {

enum class Fault {
  none,
  no_wait,
  waits_for_too_few,
  no_barrier,
  copies_before_barrier,
  waits_for_copies_later,
  overwrites_b,
  no_fence,
  no_register_fence,
  loads_after_fence,
  changes_registers,
  lone_warp
};

// y[i] = the sum over tiles of 256 floats of x[tile][255 - i], by 64 threads with a ring of three stages.
template <Fault fault>
__global__ void sum_tiles(int tiles, const float* x, float* y) {
  constexpr int stages = 3;
  const uint32_t ring = shared_address(&shared_memory<float[stages][256]>()), t = threadIdx.x;
  const auto copy_next = [&](int tile) {
    if (tile < tiles) copy_async_16(ring + uint32_t(tile) % stages * 1024 + t * 16, x + tile * 256 + t * 4, true);
    copy_async_commit();
  };
  float sum[4] = {};
  for (int tile = 0; tile < stages - 1; tile++) copy_next(tile);
  for (int tile = 0; tile < tiles; tile++) {
    if (fault == Fault::copies_before_barrier) copy_next(tile + stages - 1);
    if (fault != Fault::no_wait) copy_async_wait<fault == Fault::waits_for_too_few ? stages - 1 : stages - 2>();
    if (fault != Fault::no_barrier) __syncthreads();
    if (fault != Fault::copies_before_barrier) copy_next(tile + stages - 1);
    uint32_t words[4];
    load_shared_16(words, ring + uint32_t(tile) % stages * 1024 + (63 - t) * 16);
    for (int e = 0; e < 4; e++) {
      float value;
      std::memcpy(&value, &words[e], 4);
      sum[e] += value;
    }
  }
  for (int e = 0; e < 4; e++) y[t * 4 + 3 - e] = sum[e];
}

__global__ void copy_where_inside(const float* from, float* to) {
  auto& shared = shared_memory<float[64]>();
  for (uint32_t i = 0; i < 2; i++) copy_async_16(shared_address(shared) + i * 16, i ? from : nullptr, i);
  to[0] = shared[0], to[1] = shared[4];
  copy_async_wait<0>();
  to[2] = shared[0], to[3] = shared[4];  // not committed
  copy_async_commit();
  copy_async_wait<0>();
  to[4] = shared[0], to[5] = shared[4];
}

}  // namespace

TEST_CASE("emulator: what is copied meanwhile is NaN until it has been waited for", "[cuda]") {
  const std::vector<float> x = whole_numbers(4, 1);
  std::vector<float> y(6);
  launch("copy", copy_where_inside, 1, 1, 256, x.data(), y.data());
  for (int i = 0; i < 4; i++) CHECK(std::isnan(y[i]));
  CHECK(y[4] == 0);
  CHECK(y[5] == x[0]);
}

TEST_CASE("emulator: a ring of stages is right, and with any mistake in it wrong", "[cuda]") {
  const int tiles = 9;
  const std::vector<float> x = whole_numbers(tiles * 256, 1);
  std::vector<float> expected(256, 0.0f);
  for (int i = 0; i < tiles * 256; i++) expected[255 - i % 256] += x[i];
  const auto run = [&](void (*kernel)(int, const float*, float*)) {
    std::vector<float> y(256, NAN);
    launch("sum_tiles", kernel, 1, 64, 3 * 1024, tiles, x.data(), y.data());
    return y;
  };
  CHECK(run(sum_tiles<Fault::none>) == expected);
  CHECK(run(sum_tiles<Fault::no_wait>) != expected);
  CHECK(run(sum_tiles<Fault::waits_for_too_few>) != expected);
  CHECK(run(sum_tiles<Fault::no_barrier>) != expected);
  CHECK(run(sum_tiles<Fault::copies_before_barrier>) != expected);
}

namespace {

// What only some lanes do, and addresses that a GPU refuses.
__global__ void half_a_product(int) {
  float d[4] = {};
  if (threadIdx.x % 32 < 16) mma_bf16(d, {}, 0, 0);
}
__global__ void two_operations(int) {
  uint32_t words[4];
  threadIdx.x % 2 ? ldmatrix_x4(words, 0) : ldmatrix_x4_trans(words, 0);
}
__global__ void load_matrices_at(uint32_t address) {
  uint32_t words[4];
  ldmatrix_x4(words, address + threadIdx.x % 32 * 16);
}
__global__ void load_at(uint32_t address) {
  uint32_t words[4];
  load_shared_16(words, address);
}
__global__ void load_word_at(uint32_t address) { load_shared_4(address); }
__global__ void copy_to(uint32_t address, const float* from) { copy_async_16(address, from, true); }
__global__ void address_of(const float* pointer) { shared_address(pointer); }

}  // namespace

TEST_CASE("emulator: what a GPU would not do is refused, with the kernel's name", "[cuda]") {
  CHECK_THAT(problem(half_a_product, 64, 0, 0), Catch::Contains("the_kernel") && Catch::Contains("mma_bf16"));
  CHECK_THAT(problem(load_at, 1056, 64, 0), Catch::Contains("the_kernel") && Catch::Contains("1056 threads"));
  CHECK_THAT(problem(load_at, 64, 232449, 0), Catch::Contains("232449 bytes"));
  CHECK(problem(load_at, 1024, 232448, 0) == "no error");
  CHECK_THAT(problem(two_operations, 64, 512, 0), Catch::Contains("different operations"));
  CHECK_THAT(problem(load_matrices_at, 48, 1024, 0), Catch::Contains("only 16 threads"));
  CHECK(problem(load_matrices_at, 64, 1024, 512) == "no error");
  CHECK_THAT(problem(load_matrices_at, 64, 1024, 8), Catch::Contains("multiple of 16"));
  CHECK_THAT(problem(load_matrices_at, 64, 1024, 528), Catch::Contains("byte 1024") && Catch::Contains("the_kernel"));
  CHECK_THAT(problem(load_at, 64, 64, 56), Catch::Contains("multiple of 16"));
  CHECK_THAT(problem(load_at, 64, 64, 64), Catch::Contains("byte 64"));
  CHECK_THAT(problem(load_word_at, 64, 64, 2), Catch::Contains("multiple of 4"));
  CHECK_THAT(problem(load_word_at, 64, 64, ~3u), Catch::Contains("of which the block has 64"));
  const std::vector<float> x(64);
  CHECK_THAT(problem(copy_to, 64, 64, 4, x.data()), Catch::Contains("multiple of 16"));
  CHECK_THAT(problem(copy_to, 64, 64, 64, x.data()), Catch::Contains("byte 64"));
  CHECK_THAT(problem(copy_to, 64, 64, 0, reinterpret_cast<const float*>(8)), Catch::Contains("multiple of 16"));
  CHECK_THAT(problem(address_of, 64, 64, x.data()), Catch::Contains("shared_address"));
}

// ---- wgmma ----------------------------------------------------------------------------------------------------------

namespace {

// d (64,32) = a (64,k) * b (k,32) by a warp group; b in a ring of two stages of 16 rows, as core matrices.
template <Fault fault>
__global__ void multiply_by_group(int steps, const float* a, const bf16* b, float* d) {
  const uint32_t ring = shared_address(&shared_memory<bf16[2][512]>());
  const int warp = int(threadIdx.x) / 32, g = int(threadIdx.x) % 32 / 4, t = int(threadIdx.x) % 4;
  const auto copy_next = [&](int step) {  // each thread one column's 8 numbers of 64 x 8; b is packed already
    if (step < steps && threadIdx.x < 64)
      copy_async_16(ring + uint32_t(step % 2) * 1024 + threadIdx.x * 16, b + step * 512 + threadIdx.x * 8, true);
    copy_async_commit();
  };
  float sums[4][4] = {};
  uint32_t fa[4];
  copy_next(0);
  for (int step = 0; step < steps; step++) {
    if (fault != Fault::waits_for_copies_later) copy_async_wait<0>();
    if (fault != Fault::no_fence) fence_async_proxy();
    if (fault != Fault::no_barrier) __syncthreads();
    for (int r = 0; r < 4; r++) {
      const float* at = a + (warp * 16 + g + r % 2 * 8) * steps * 16 + step * 16 + 2 * t + r / 2 * 8;
      fa[r] = pack_bf16(at[0], at[1]);
    }
    if (fault != Fault::no_register_fence) wgmma_fence();
    if (fault == Fault::loads_after_fence) ldmatrix_x4(fa, ring + threadIdx.x % 32 * 16);
    const uint64_t where = wgmma_descriptor(ring + uint32_t(step % 2) * 1024, 128, 256);
    if (fault != Fault::lone_warp || warp == 0) wgmma_bf16<32>(sums, fa, where);
    wgmma_commit();
    if (fault == Fault::waits_for_copies_later) copy_async_wait<0>();
    copy_next(step + 1);
    if (fault == Fault::overwrites_b) copy_next(step + 2);
    if (fault == Fault::changes_registers) fa[1] = 0;
    if (fault != Fault::no_wait) wgmma_wait<fault == Fault::waits_for_too_few ? 1 : 0>();
  }
  for (int i = 0; i < 16; i++) d[(warp * 16 + g + i % 4 / 2 * 8) * 32 + i / 4 * 8 + 2 * t + i % 2] = sums[i / 4][i % 4];
}

}  // namespace

TEST_CASE("emulator: a warp group multiplies, and with any mistake the product is wrong or refused", "[cuda]") {
  const int steps = 3, k = steps * 16;
  const std::vector<float> a = whole_numbers(size_t(64 * k), 1), b = whole_numbers(size_t(k * 32), 2);
  const std::vector<float> expected = product(a, b, 64, k, 32);
  std::vector<bf16> packed;  // (steps, 4 times 8 columns, 2 times 8 rows, column, row)
  for (int i = 0; i < k * 32; i++) {
    const int row = i / 512 * 16 + i / 64 % 2 * 8 + i % 8, column = i / 128 % 4 * 8 + i / 8 % 8;
    packed.push_back(b[size_t(row * 32 + column)]);
  }
  std::vector<float> d;
  const auto run = [&](void (*kernel)(int, const float*, const bf16*, float*), int threads = 128) {
    d.assign(64 * 32, NAN);
    const std::string error =
        error_of([&] { launch("multiply", kernel, 1, threads, 2048, steps, a.data(), packed.data(), d.data()); });
    return error == "no error" ? d == expected ? "right" : "wrong" : error;
  };
  CHECK(run(multiply_by_group<Fault::none>) == "right");
  CHECK(run(multiply_by_group<Fault::no_wait>) == "wrong");
  CHECK(std::isnan(d[77]));
  CHECK(run(multiply_by_group<Fault::waits_for_too_few>) == "wrong");
  CHECK(run(multiply_by_group<Fault::waits_for_copies_later>) == "wrong");
  CHECK(run(multiply_by_group<Fault::no_barrier>) == "wrong");
  CHECK(run(multiply_by_group<Fault::overwrites_b>) == "wrong");
  CHECK(run(multiply_by_group<Fault::no_fence>) == "wrong");
  CHECK(run(multiply_by_group<Fault::changes_registers>) == "wrong");
  CHECK_THAT(run(multiply_by_group<Fault::no_register_fence>), Catch::Contains("wgmma_fence"));
  CHECK_THAT(run(multiply_by_group<Fault::loads_after_fence>), Catch::Contains("wgmma_fence"));
  CHECK_THAT(run(multiply_by_group<Fault::lone_warp>), Catch::Contains("warp group"));
  CHECK_THAT(run(multiply_by_group<Fault::none>, 64), Catch::Contains("multiple of 128"));
  const auto counts = cuda::counts_of([&] { run(multiply_by_group<Fault::none>); });
  CHECK(counts.at("multiply").products == 4 * steps);
  CHECK(counts.at("multiply").flops == 2 * 64 * k * 32);
}

// ---- counting -------------------------------------------------------------------------------------------------------

namespace {

// Copies 32 pixels of 64 bytes, loads each of their chunks of 16 bytes as fragments, multiplies once, and stores 16 bytes
// a lane.
template <bool is_swizzled>
__global__ void use_pixels(const char* x, char* y, int bytes_between_stores) {
  const uint32_t tile = shared_address(&shared_memory<char[2048]>()), lane = threadIdx.x;
  const auto at = [&](int pixel, int chunk) {
    return tile + uint32_t(pixel * 64 + (is_swizzled ? on_gpu::swizzled<4>(chunk, pixel) : chunk) * 16);
  };
  for (int i = 0; i < 4; i++) {
    const int item = i * 32 + int(lane);
    copy_async_16(at(item / 4, item % 4), x + item * 16, item < 120);
  }
  copy_async_commit();
  copy_async_wait<0>();
  __syncwarp();
  uint32_t a[4];
  float d[4] = {};
  for (int chunk = 0; chunk < 4; chunk++) ldmatrix_x4(a, at(int(lane), chunk));
  mma_bf16(d, a, 0, 0);
  load_shared_4(tile + lane * 8);
  load_shared_16(a, tile);
  load_sixteen(d, x);
  store_sixteen(y + blockIdx.x * 1024 + lane * bytes_between_stores, d);
}

}  // namespace

TEST_CASE("emulator: bank conflicts, sectors, products and bytes are counted", "[cuda]") {
  struct alignas(128) Line {
    char bytes[128];
  };
  std::vector<Line> x(16), y(300 * 8);
  const auto run = [&](void (*kernel)(const char*, char*, int), int bytes_between_stores, int blocks = 3) {
    launch("use_pixels", kernel, blocks, 32, 2048, +x[0].bytes, +y[0].bytes, bytes_between_stores);
  };
  const auto all = cuda::counts_of([&] { run(use_pixels<true>, 16), run(use_pixels<true>, 32); });
  const cuda::KernelCounts c = all.at("use_pixels");
  const int blocks = 6;
  CHECK(c.launches == 2);
  CHECK(c.blocks == blocks);
  CHECK(c.products == blocks);
  CHECK(c.flops == blocks * 4096);
  CHECK(c.copied_bytes == blocks * 120 * 16);
  CHECK(c.flops_per_byte() == 4096. / 1920);
  CHECK(c.copies.instructions == blocks * 4);
  CHECK(c.copies.actual == blocks * 60);
  CHECK(c.copies.fewest == blocks * 60);
  CHECK(c.shared_writes.instructions == blocks * 4);
  CHECK(c.shared_writes.actual == blocks * 16);
  CHECK(c.shared_writes.fewest == blocks * 16);
  CHECK(c.shared_loads.instructions == blocks * 6);
  CHECK(c.shared_loads.actual == blocks * (16 + 2 + 4));  // every second word; and the same 16 bytes for all
  CHECK(c.shared_loads.fewest == blocks * (16 + 1 + 4));
  CHECK(c.loads.actual == blocks);  // all lanes load the same
  CHECK(c.stored_bytes == blocks * 512);
  CHECK(c.stores.instructions == blocks);
  CHECK(c.stores.actual == 3 * 16 + 3 * 32);
  CHECK(c.stores.fewest == 3 * 16 + 3 * 16);

  // Without the swizzle four of eight neighbouring pixels are in the same banks.
  const auto unswizzled = cuda::counts_of([&] { run(use_pixels<false>, 16); });
  CHECK(unswizzled.at("use_pixels").shared_loads.actual == 3 * (16 * 4 + 2 + 4));
  CHECK(unswizzled.at("use_pixels").shared_writes.actual == 3 * 16);
  CHECK_THAT(cuda::count_table(unswizzled), Catch::Contains("use_pixels") && Catch::Contains(" 3.33 "));

  CHECK(cuda::counts_of([] {}).empty());
  const auto many = [&](int threads) {
    Threads t(threads);
    return cuda::count_table(cuda::counts_of([&] { run(use_pixels<true>, 32, 300); }));
  };
  CHECK(many(1) == many(3));
}
#endif
