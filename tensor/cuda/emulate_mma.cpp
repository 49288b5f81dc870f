// The instructions of mma.h without a GPU, by the PTX ISA manual. What a warp does together is done when its 32 threads have come
// to it (wait_for_warp), for all of them at once.
//
// What runs while a thread goes on is done as late as allowed, so that a kernel that does not wait for it is wrong:
//
//   copy_async   writes NaN at once; the bytes are read and written when their group is waited for
//   wgmma        D is NaN until its group is waited for. A and B are read when it is asked for and again when it is waited
//                for: what has changed in between counts as NaN, and so does what copy_async wrote to B, unless the thread that
//                asked for the copy has fenced it
//
// Each product is exact, and sums are float, added one after the other; the order within a GPU is not published.
#ifdef ACINUS_EMULATE
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "tensor/check.h"
#include "tensor/cuda/mma.h"

namespace acinus {
namespace {

using emulate::kernel_name;

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

// `execute` gets the operands of all 32 lanes.
template <auto execute, class Operands>
void together(const char* operation, Operands& mine) {
  emulate::wait_for_warp(operation, 0, &mine, [](void* const* all) {
    Operands* lanes[32];
    for (int lane = 0; lane < 32; lane++) lanes[lane] = static_cast<Operands*>(all[lane]);
    execute(lanes);
  });
}

unsigned char* shared(const char* operation, uint32_t address, uint32_t bytes) {
  if (address % bytes != 0)
    fail(kernel_name(), ": ", operation, " of ", bytes, " bytes at ", address, " in shared memory, not a multiple");
  if (address + uint64_t(bytes) > emulate::launched->shared_bytes)
    fail(kernel_name(), ": ", operation, " of ", bytes, " bytes at ", address, " in shared memory, outside of the ",
         emulate::launched->shared_bytes, " bytes of the block");
  return emulate::shared_bytes + address;
}

float number(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
float bf16_number(uint32_t word, int half) { return number(half ? word & 0xffff0000 : word << 16); }
float tf32_number(uint32_t word) { return number(word & ~0x1fffu); }

// ---- the state of a block -------------------------------------------------------------------------------------------

struct Copy {
  uint32_t to;
  const void* from;
  bool inside;
  int group;
};
struct ThreadCopies {
  std::vector<Copy> asked_for;
  int groups = 0;       // committed
  unsigned fences = 0;  // fence_async_proxy
};
struct Writer {  // of 16 bytes of shared memory: a thread, and how many fences it had executed when its copy was there
  int thread = -1;
  unsigned fences = 0;
};

using Words = uint32_t[4];
struct WgmmaOperands {  // of a lane
  float* d;
  int columns;
  const Words* a;
  uint64_t b;
};
struct Product {  // that a warp has asked for
  WgmmaOperands lanes[32];
  Words a[32];              // as it was then
  std::vector<uint16_t> b;  // (16, columns), as it was then
  int group;
};
struct WarpProducts {
  std::vector<Product> asked_for;
  std::map<float*, std::vector<float>>
      sums;  // the values of D, (16, columns), while NaN is in the registers; by lane 0's D
  int groups = 0;
  bool fenced = false;
  std::vector<const Words*> written;  // lane 0's registers that ldmatrix has written since the last fence
  std::vector<std::pair<uint64_t, int>> operations;  // which all warps of a warp group must have in common
};

struct BlockState {
  std::vector<ThreadCopies> threads;
  std::vector<Writer> writers;
  std::vector<WarpProducts> warps;
};
thread_local BlockState block;

ThreadCopies& my_copies() {
  if (block.threads.empty()) {
    block.threads.resize(blockDim.x);
    block.writers.resize(emulate::launched->shared_bytes / 16);
  }
  return block.threads[threadIdx.x];
}
WarpProducts& my_products() {
  if (block.warps.empty()) block.warps.resize((blockDim.x + 31) / 32);
  return block.warps[threadIdx.x / 32];
}

}  // namespace

// ---- loads ----------------------------------------------------------------------------------------------------------

uint32_t shared_address(const void* pointer) {
  const auto* p = static_cast<const unsigned char*>(pointer);
  const size_t bytes = emulate::launched->shared_bytes;
  if (p < emulate::shared_bytes || p > emulate::shared_bytes + bytes)
    fail(kernel_name(), ": shared_address of a pointer that does not point into the block's shared memory");
  return uint32_t(p - emulate::shared_bytes);
}

namespace {

struct Load {
  Words* words;
  uint32_t address;
};

template <bool transposed>
void execute_ldmatrix(Load* const* lanes) {
  uint16_t m[4][8][8];
  for (int i = 0; i < 32; i++) std::memcpy(m[i / 8][i % 8], shared("ldmatrix", lanes[i]->address, 16), 16);
  for (int lane = 0; lane < 32; lane++)
    for (int r = 0; r < 4; r++) {
      const int g = lane / 4, t = lane % 4;
      const uint32_t low = transposed ? m[r][2 * t][g] : m[r][g][2 * t];
      const uint32_t high = transposed ? m[r][2 * t + 1][g] : m[r][g][2 * t + 1];
      (*lanes[lane]->words)[r] = low | high << 16;
    }
  if (!block.warps.empty()) my_products().written.push_back(lanes[0]->words);
}

void execute_load(Load* const* lanes) {
  for (int i = 0; i < 32; i++) std::memcpy(*lanes[i]->words, shared("load_shared_16", lanes[i]->address, 16), 16);
}

struct ShortLoad {
  uint32_t word, address;
};
void execute_short_load(ShortLoad* const* lanes) {
  for (int i = 0; i < 32; i++) std::memcpy(&lanes[i]->word, shared("load_shared_4", lanes[i]->address, 4), 4);
}

}  // namespace

void ldmatrix_x4(uint32_t (&matrices)[4], uint32_t address) {
  Load mine{&matrices, address};
  together<execute_ldmatrix<false>>("ldmatrix_x4", mine);
}
void ldmatrix_x4_trans(uint32_t (&matrices)[4], uint32_t address) {
  Load mine{&matrices, address};
  together<execute_ldmatrix<true>>("ldmatrix_x4_trans", mine);
}
void load_shared_16(uint32_t (&words)[4], uint32_t address) {
  Load mine{&words, address};
  together<execute_load>("load_shared_16", mine);
}
uint32_t load_shared_4(uint32_t address) {
  ShortLoad mine{0, address};
  together<execute_short_load>("load_shared_4", mine);
  return mine.word;
}

// ---- products -------------------------------------------------------------------------------------------------------

namespace {

// d (16, columns) += a (16, K) * b (K, columns)
template <int K>
void multiply(const float (&a)[16][K], const float* b, int columns, float* d) {
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < K; k++)
      for (int j = 0; j < columns; j++) d[i * columns + j] += a[i][k] * b[k * columns + j];
}

void put_fragment_of_a(float (&a)[16][16], int lane, const Words& words) {
  for (int r = 0; r < 4; r++)
    for (int e = 0; e < 2; e++) a[lane / 4 + r % 2 * 8][2 * (lane % 4) + r / 2 * 8 + e] = bf16_number(words[r], e);
}

// The place of number i of a lane's fragments of D, side by side, in D (16, columns).
int index_in_d(int lane, int i, int columns) {
  return (lane / 4 + i % 4 / 2 * 8) * columns + i / 4 * 8 + 2 * (lane % 4) + i % 2;
}

struct Factors {
  float* d;
  const Words* a;
  uint32_t b[2];
};

template <int K>
void execute_mma(Factors* const* lanes) {
  float a[16][K], b[K][8], d[16 * 8];
  for (int lane = 0; lane < 32; lane++) {
    const Factors& f = *lanes[lane];
    const int g = lane / 4, t = lane % 4;
    if constexpr (K == 16) {
      put_fragment_of_a(a, lane, *f.a);
      for (int r = 0; r < 2; r++)
        for (int e = 0; e < 2; e++) b[2 * t + r * 8 + e][g] = bf16_number(f.b[r], e);
    } else {
      for (int r = 0; r < 4; r++) a[g + r % 2 * 8][t + r / 2 * 4] = tf32_number((*f.a)[r]);
      for (int r = 0; r < 2; r++) b[t + r * 4][g] = tf32_number(f.b[r]);
    }
    for (int i = 0; i < 4; i++) d[index_in_d(lane, i, 8)] = f.d[i];
  }
  multiply(a, &b[0][0], 8, d);
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < 4; i++) lanes[lane]->d[i] = d[index_in_d(lane, i, 8)];
}

}  // namespace

void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  Factors mine{d, &a, {b0, b1}};
  together<execute_mma<16>>("mma_bf16", mine);
}
void mma_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  Factors mine{d, &a, {b0, b1}};
  together<execute_mma<8>>("mma_tf32", mine);
}

// ---- registers ------------------------------------------------------------------------------------------------------

uint32_t round_tf32(uint32_t bits) {
  const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
  return is_nan ? bits : (bits + 0x1000) & ~0x1fffu;
}

uint32_t shuffle_xor(uint32_t value, int mask) {
  return uint32_t(emulate::shuffle(value, int(threadIdx.x % 32) ^ mask, 0));
}

uint32_t pack_bf16(float low, float high) {
  const auto bits = [](float value) -> uint32_t { return std::isnan(value) ? 0x7fff : bf16(value).bits; };
  return bits(low) | bits(high) << 16;
}

uint32_t max_bf16x2(uint32_t a, uint32_t b) {
  const auto larger = [&](int half) {
    const float x = bf16_number(a, half), y = bf16_number(b, half);
    if (std::isnan(x) || std::isnan(y)) return not_a_number;
    return x > y || (x == y && std::signbit(y)) ? x : y;  // 0 is more than -0
  };
  return pack_bf16(larger(0), larger(1));
}

// ---- copies that run meanwhile ----------------------------------------------------------------------------------------

void copy_async_16(uint32_t to, const void* from, bool inside) {
  if (inside) emulate::check_aligned(from, 16);
  std::memset(shared("copy_async_16", to, 16), 0xFF, 16);
  ThreadCopies& mine = my_copies();
  mine.asked_for.push_back({to, from, inside, mine.groups});
}

void copy_async_commit() { my_copies().groups++; }

void copy_async_wait(int newest) {
  ThreadCopies& mine = my_copies();
  auto copy = mine.asked_for.begin();
  for (; copy != mine.asked_for.end() && copy->group < mine.groups - newest; ++copy) {
    unsigned char* to = emulate::shared_bytes + copy->to;
    copy->inside ? std::memcpy(to, copy->from, 16) : std::memset(to, 0, 16);
    block.writers[copy->to / 16] = {int(threadIdx.x), mine.fences};
  }
  mine.asked_for.erase(mine.asked_for.begin(), copy);
}

// ---- wgmma ------------------------------------------------------------------------------------------------------------

void fence_async_proxy() { my_copies().fences++; }

namespace {

// What a warp does must be what the other three of its group do, too; they need not do it at the same time.
void note_operation(uint64_t descriptor, int columns) {
  if (blockDim.x % 128 != 0)
    fail(kernel_name(), ": wgmma in a block of ", blockDim.x, " threads, not a multiple of 128");
  my_products().operations.push_back({descriptor, columns});
}

// B (16, columns), of which wgmma_descriptor says where it is.
std::vector<uint16_t> read_b(uint64_t descriptor, int columns) {
  const uint32_t start = uint32_t(descriptor & 0x3fff) << 4, leading = uint32_t(descriptor >> 16 & 0x3fff) << 4,
                 stride = uint32_t(descriptor >> 32 & 0x3fff) << 4;
  std::vector<uint16_t> b(16 * columns);
  for (int half = 0; half < 2; half++)
    for (int j = 0; j < columns; j++) {
      const uint32_t address = start + half * leading + j / 8 * stride + j % 8 * 16;
      uint16_t numbers[8];
      std::memcpy(numbers, shared("wgmma", address, 16), 16);
      if (!block.writers.empty()) {
        const Writer& w = block.writers[address / 16];
        if (w.thread >= 0 && block.threads[w.thread].fences == w.fences) std::fill_n(numbers, 8, uint16_t(0x7fff));
      }
      for (int k = 0; k < 8; k++) b[(half * 8 + k) * columns + j] = numbers[k];
    }
  return b;
}

void execute_wgmma(WgmmaOperands* const* lanes) {
  WarpProducts& mine = my_products();
  const auto [d, columns, registers, descriptor] = *lanes[0];
  note_operation(descriptor, columns);
  if (!mine.fenced || std::count(mine.written.begin(), mine.written.end(), registers))
    fail(kernel_name(), ": wgmma without a wgmma_fence since its registers were written");
  Product& p = mine.asked_for.emplace_back();
  p.group = mine.groups;
  p.b = read_b(descriptor, columns);
  std::vector<float>& sums = mine.sums[d];
  const bool first = sums.empty();
  sums.resize(16 * columns);
  for (int lane = 0; lane < 32; lane++) {
    p.lanes[lane] = *lanes[lane];
    if (lanes[lane]->b != descriptor)
      fail(kernel_name(), ": wgmma with different descriptors in the lanes of one warp");
    std::memcpy(p.a[lane], *lanes[lane]->a, sizeof(Words));
    for (int i = 0; first && i < columns / 2; i++)
      sums[index_in_d(lane, i, columns)] = std::exchange(lanes[lane]->d[i], not_a_number);
  }
}

void multiply(const Product& p, std::vector<float>& sums) {
  const int columns = p.lanes[0].columns;
  const std::vector<uint16_t> now = read_b(p.lanes[0].b, columns);
  std::vector<float> b(now.size());
  for (size_t i = 0; i < b.size(); i++) b[i] = now[i] == p.b[i] ? bf16_number(now[i], 0) : not_a_number;
  float a[16][16];
  for (int lane = 0; lane < 32; lane++) {
    const Words& words = *p.lanes[lane].a;
    const bool same = std::memcmp(words, p.a[lane], sizeof(Words)) == 0;
    const Words changed = {~0u, ~0u, ~0u, ~0u};
    put_fragment_of_a(a, lane, same ? words : changed);
  }
  multiply(a, b.data(), columns, sums.data());
}

struct Newest {
  int groups;
};
void execute_wgmma_wait(Newest* const* lanes) {
  WarpProducts& mine = my_products();
  const auto done = [&](const Product& p) { return p.group < mine.groups - lanes[0]->groups; };
  std::map<float*, const Product*> finished;
  for (const Product& p : mine.asked_for) {
    if (done(p)) multiply(p, mine.sums[p.lanes[0].d]);
    done(p) ? void(finished[p.lanes[0].d] = &p) : void(finished.erase(p.lanes[0].d));  // later ones add to the same D
  }
  for (const auto& [d, p] : finished) {
    for (int lane = 0; lane < 32; lane++)
      for (int i = 0; i < p->lanes[0].columns / 2; i++)
        p->lanes[lane].d[i] = mine.sums[d][index_in_d(lane, i, p->lanes[0].columns)];
    mine.sums.erase(d);
  }
  mine.asked_for.erase(std::remove_if(mine.asked_for.begin(), mine.asked_for.end(), done), mine.asked_for.end());
}

struct Nothing {};
void execute_wgmma_fence(Nothing* const*) { my_products().fenced = true, my_products().written.clear(); }
void execute_wgmma_commit(Nothing* const*) { my_products().groups++; }

}  // namespace

void wgmma_fence() {
  Nothing mine;
  together<execute_wgmma_fence>("wgmma_fence", mine);
}
void wgmma_commit() {
  Nothing mine;
  together<execute_wgmma_commit>("wgmma_commit", mine);
}
void wgmma_wait(int newest) {
  Newest mine{newest};
  together<execute_wgmma_wait>("wgmma_wait", mine);
}
void wgmma_bf16(float* d, int columns, const uint32_t (&a)[4], uint64_t b) {
  WgmmaOperands mine{d, columns, &a, b};
  together<execute_wgmma>("wgmma_bf16", mine);
}

void emulate::end_block() {
  for (size_t warp = 0; warp < block.warps.size(); warp++)
    if (block.warps[warp].operations != block.warps[warp / 4 * 4].operations)
      fail(kernel_name(), ": the four warps of a warp group execute different wgmma");
}
void emulate::begin_block() { block.threads.clear(), block.writers.clear(), block.warps.clear(); }

}  // namespace acinus
#endif
