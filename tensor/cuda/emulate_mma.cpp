// The instructions of mma.h without a GPU, by the PTX ISA manual. What a warp does together is done for all of its
// lanes at once, when the last of them has come to it (wait_for_warp).
//
// What runs while a thread goes on is done as late as it may be, so that a kernel that does not wait for it is wrong:
//
//   copy_async   writes NaN at once; the bytes are read and written when their group is waited for
//   wgmma        D is NaN until its group is waited for. A and B are read when it is issued and again when it is waited
//                for, and if they have changed in between D becomes NaN; B counts as NaN where copy_async wrote it,
//                unless the thread that issued the copy has fenced it
//
// Products are exact, and sums are float, added one after the other; in which order a GPU adds is not published.
#ifdef ACINUS_EMULATE
#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "tensor/check.h"
#include "tensor/cuda/mma.h"

namespace acinus {

using emulate::counting, emulate::counts, emulate::kernel_name;

namespace {

// ---- the state of a block -------------------------------------------------------------------------------------------

struct Copy {
  uint32_t to;
  const void* from;
  bool inside;
  int group;
};
struct ThreadState {
  std::vector<Copy> copies;  // issued
  int groups = 0;            // committed
  int fences = 0;            // fence_async_proxy
};
struct Writer {  // of 16 bytes of shared memory: whose copy it was, and how many fences the thread had executed then
  int thread = -1, fences = 0;
};

struct Product {  // of a wgmma that a warp has issued
  float* d;       // lane 0's registers
  const uint32_t* a[32];
  uint64_t descriptor;
  int columns, group;
  std::vector<float> factors;  // A (16,16) and B (16,columns), as they were then
};
struct Sums {  // the true D (16,columns), while there is NaN in the registers
  std::vector<float> values;
  float* registers[32];
  int columns, group;  // the last product's
};
struct WarpState {
  std::vector<Product> products;
  std::map<float*, Sums> sums;                   // by lane 0's registers
  int groups = 0;                                // committed
  bool fenced = false;                           // wgmma_fence
  std::vector<const uint32_t*> written;          // lane 0's registers that ldmatrix has written since
  std::vector<std::pair<uint64_t, int>> wgmmas;  // descriptor and columns of all
};

struct BlockState {
  std::vector<ThreadState> threads;
  std::vector<WarpState> warps;
  std::vector<Writer> writers;
};
thread_local BlockState block;

ThreadState& my_thread() { return block.threads[threadIdx.x]; }
WarpState& my_warp() { return block.warps[threadIdx.x / 32]; }

}  // namespace

namespace emulate {

void begin_block() {
  block = {std::vector<ThreadState>(blockDim.x), std::vector<WarpState>((blockDim.x + 31) / 32), {}};
}

void end_block() {
  for (size_t warp = 0; warp < block.warps.size(); warp++)
    if (block.warps[warp].wgmmas != block.warps[warp / 4 * 4].wgmmas)
      fail(kernel_name(), ": the four warps of a warp group execute different wgmma");
}

}  // namespace emulate

// ---- loads ----------------------------------------------------------------------------------------------------------

namespace {

// Runs execute once, with the operands of the 32 lanes.
template <class Operands, class Execute>
void together(const char* operation, Operands& mine, Execute) {
  emulate::wait_for_warp(operation, 0, &mine, [](void* const* all) {
    Operands* lanes[32];
    for (int lane = 0; lane < 32; lane++) lanes[lane] = static_cast<Operands*>(all[lane]);
    Execute()(lanes);
  });
}

unsigned char* shared(const char* operation, uint32_t address, uint32_t bytes) {
  const size_t size = emulate::launched->shared_bytes;
  if (address % bytes != 0)
    fail(kernel_name(), ": ", operation, " at byte ", address, " of shared memory, which is not a multiple of ", bytes);
  if (address + uint64_t(bytes) > size)
    fail(kernel_name(), ": ", operation, " at byte ", address, " of shared memory, of which the block has ", size);
  return emulate::shared_bytes + address;
}

struct Load {
  uint32_t address;
  uint32_t* words;
};

void read_shared(const char* operation, Load* const* lanes, uint32_t bytes, uint32_t (&words)[32][4]) {
  uint32_t addresses[32];
  for (int lane = 0; lane < 32; lane++) {
    addresses[lane] = lanes[lane]->address;
    std::memcpy(words[lane], shared(operation, addresses[lane], bytes), bytes);
  }
  if (counting) emulate::count_shared(counts.shared_loads, addresses, int(bytes));
}

template <bool transposed>
void load_matrices(const char* operation, uint32_t (&matrices)[4], uint32_t address) {
  Load mine{address, matrices};
  together(operation, mine, [](Load* const* lanes) {
    uint32_t rows[32][4];
    read_shared("ldmatrix", lanes, 16, rows);
    uint16_t m[4][8][8];
    std::memcpy(m, rows, sizeof(m));
    for (int lane = 0; lane < 32; lane++)
      for (int r = 0; r < 4; r++) {
        const int g = lane / 4, t = lane % 4;
        const uint32_t low = transposed ? m[r][2 * t][g] : m[r][g][2 * t];
        const uint32_t high = transposed ? m[r][2 * t + 1][g] : m[r][g][2 * t + 1];
        lanes[lane]->words[r] = low | high << 16;
      }
    my_warp().written.push_back(lanes[0]->words);
  });
}

template <int bytes>
void load_words(const char* operation, uint32_t* words, uint32_t address) {
  Load mine{address, words};
  together(operation, mine, [](Load* const* lanes) {
    uint32_t words[32][4];
    read_shared("load_shared", lanes, bytes, words);
    for (int lane = 0; lane < 32; lane++) std::memcpy(lanes[lane]->words, words[lane], bytes);
  });
}

}  // namespace

uint32_t shared_address(const void* pointer) {
  const auto* p = static_cast<const unsigned char*>(pointer);
  if (p < emulate::shared_bytes || p > emulate::shared_bytes + emulate::launched->shared_bytes)
    fail(kernel_name(), ": shared_address of what is not in the block's shared memory");
  return uint32_t(p - emulate::shared_bytes);
}
void ldmatrix_x4(uint32_t (&matrices)[4], uint32_t address) { load_matrices<false>("ldmatrix_x4", matrices, address); }
void ldmatrix_x4_trans(uint32_t (&matrices)[4], uint32_t address) {
  load_matrices<true>("ldmatrix_x4_trans", matrices, address);
}
void load_shared_16(uint32_t (&words)[4], uint32_t address) { load_words<16>("load_shared_16", words, address); }
void load_shared_8(uint32_t (&words)[2], uint32_t address) { load_words<8>("load_shared_8", words, address); }
uint32_t load_shared_4(uint32_t address) {
  uint32_t word;
  load_words<4>("load_shared_4", &word, address);
  return word;
}

// ---- products -------------------------------------------------------------------------------------------------------

namespace {

float number(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
float bf16_number(uint32_t word, int half) { return number(half ? word & 0xffff0000 : word << 16); }
float tf32_number(uint32_t word) { return number(word & ~0x1fffu); }

// d (16,columns) += a (16,K) * b (K,columns). Sanitizers would make each of its many accesses several times slower.
template <int K>
__attribute__((no_sanitize("address", "undefined"))) void multiply(const float* a, const float* b, int columns,
                                                                   float* d) {
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < K; k++)
#pragma omp simd
      for (int j = 0; j < columns; j++) d[i * columns + j] += a[i * K + k] * b[k * columns + j];
  if (counting) counts.products++, counts.flops += 2 * 16 * K * columns;
}

// A lane's part of A (16,K).
template <int K>
void put(float* a, int lane, const uint32_t* words) {
  const int g = lane / 4, t = lane % 4;
  for (int r = 0; r < 4; r++)
    if constexpr (K == 16)
      for (int e = 0; e < 2; e++) a[(g + r % 2 * 8) * K + 2 * t + r / 2 * 8 + e] = bf16_number(words[r], e);
    else
      a[(g + r % 2 * 8) * K + t + r / 2 * 4] = tf32_number(words[r]);
}

// Where number i of a lane's fragments side by side is in D (16,columns).
int index_in_d(int lane, int i, int columns) {
  return (lane / 4 + i % 4 / 2 * 8) * columns + i / 4 * 8 + 2 * (lane % 4) + i % 2;
}

template <int K>
void mma(const char* operation, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  struct Operands {
    float* d;
    const uint32_t* a;
    uint32_t b[2];
  } mine{d, a, {b0, b1}};
  together(operation, mine, [](Operands* const* lanes) {
    float a[16 * K], b[K * 8], d[16 * 8];
    for (int lane = 0; lane < 32; lane++) {
      const Operands& o = *lanes[lane];
      const int g = lane / 4, t = lane % 4;
      put<K>(a, lane, o.a);
      for (int r = 0; r < 2; r++)
        if constexpr (K == 16)
          for (int e = 0; e < 2; e++) b[(2 * t + r * 8 + e) * 8 + g] = bf16_number(o.b[r], e);
        else
          b[(t + r * 4) * 8 + g] = tf32_number(o.b[r]);
      for (int i = 0; i < 4; i++) d[index_in_d(lane, i, 8)] = o.d[i];
    }
    multiply<K>(a, b, 8, d);
    for (int lane = 0; lane < 32; lane++)
      for (int i = 0; i < 4; i++) lanes[lane]->d[i] = d[index_in_d(lane, i, 8)];
  });
}

}  // namespace

void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { mma<16>("mma_bf16", d, a, b0, b1); }
void mma_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { mma<8>("mma_tf32", d, a, b0, b1); }

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
    if (std::isnan(x) || std::isnan(y)) return NAN;
    return x > y || (x == y && std::signbit(y)) ? x : y;  // 0 is larger than -0
  };
  return pack_bf16(larger(0), larger(1));
}

// ---- asynchronous copies ------------------------------------------------------------------------------------------

void copy_async_16(uint32_t to, const void* from, bool inside) {
  if (inside) emulate::check_aligned(from, 16);
  std::memset(shared("copy_async_16", to, 16), 0xFF, 16);
  my_thread().copies.push_back({to, from, inside, my_thread().groups});
  if (counting) emulate::note_move(emulate::Move::copy, inside ? from : nullptr, to);
}

void copy_async_commit() { my_thread().groups++; }

void copy_async_wait(int newest) {
  ThreadState& mine = my_thread();
  if (block.writers.empty()) block.writers.resize(emulate::launched->shared_bytes / 16);
  auto copy = mine.copies.begin();
  for (; copy != mine.copies.end() && copy->group < mine.groups - newest; ++copy) {
    unsigned char* to = emulate::shared_bytes + copy->to;
    copy->inside ? std::memcpy(to, copy->from, 16) : std::memset(to, 0, 16);
    block.writers[copy->to / 16] = {int(threadIdx.x), mine.fences};
  }
  mine.copies.erase(mine.copies.begin(), copy);
}

void fence_async_proxy() { my_thread().fences++; }

// ---- wgmma --------------------------------------------------------------------------------------------------------

namespace {

// A (16,16), from the registers, and B (16,columns), from where wgmma_descriptor says; NaN where a copy is not fenced.
std::vector<float> read_factors(const Product& p) {
  std::vector<float> factors(256 + 16 * size_t(p.columns));
  for (int lane = 0; lane < 32; lane++) put<16>(factors.data(), lane, p.a[lane]);
  const auto field = [&](int shift) { return uint32_t(p.descriptor >> shift & 0x3fff) << 4; };
  for (int i = 0; i < 2 * p.columns; i++) {  // eight rows of a column
    const int half = i % 2, column = i / 2;
    const uint32_t address = field(0) + half * field(16) + column / 8 * field(32) + column % 8 * 16;
    bf16 numbers[8];
    std::memcpy(numbers, shared("wgmma", address, 16), 16);
    const Writer writer = block.writers.empty() ? Writer() : block.writers[address / 16];
    const bool visible = writer.thread < 0 || block.threads[writer.thread].fences > writer.fences;
    for (int k = 0; k < 8; k++) factors[256 + (half * 8 + k) * p.columns + column] = visible ? float(numbers[k]) : NAN;
  }
  return factors;
}

}  // namespace

void wgmma_bf16(float* d, int columns, const uint32_t (&a)[4], uint64_t b) {
  if (blockDim.x % 128 != 0) fail(kernel_name(), ": wgmma by ", blockDim.x, " threads, not a multiple of 128");
  struct Operands {
    float* d;
    int columns;
    const uint32_t* a;
    uint64_t b;
  } mine{d, columns, a, b};
  together("wgmma_bf16", mine, [](Operands* const* lanes) {
    WarpState& warp = my_warp();
    const auto [d, columns, a, descriptor] = *lanes[0];
    if (!warp.fenced || std::count(warp.written.begin(), warp.written.end(), a))
      fail(kernel_name(), ": wgmma without a wgmma_fence since its registers were written");
    warp.wgmmas.push_back({descriptor, columns});
    Product p{d, {}, descriptor, columns, warp.groups, {}};
    Sums& sums = warp.sums[d];
    const bool first = sums.values.empty();
    sums.values.resize(16 * size_t(columns));
    sums.columns = columns, sums.group = warp.groups;
    for (int lane = 0; lane < 32; lane++) {
      if (lanes[lane]->b != descriptor) fail(kernel_name(), ": wgmma with different descriptors in one warp");
      p.a[lane] = lanes[lane]->a;
      sums.registers[lane] = lanes[lane]->d;
      for (int i = 0; first && i < columns / 2; i++)
        sums.values[index_in_d(lane, i, columns)] = std::exchange(lanes[lane]->d[i], NAN);
    }
    p.factors = read_factors(p);
    warp.products.push_back(std::move(p));
  });
}

void wgmma_wait(int newest) {
  together("wgmma_wait", newest, [](int* const* lanes) {
    WarpState& warp = my_warp();
    const int done = warp.groups - *lanes[0];  // groups
    for (const Product& p : warp.products) {
      if (p.group >= done) continue;
      std::vector<float>& sums = warp.sums[p.d].values;
      multiply<16>(p.factors.data(), &p.factors[256], p.columns, sums.data());
      const std::vector<float> now = read_factors(p);
      if (std::memcmp(now.data(), p.factors.data(), now.size() * 4) != 0) sums.assign(sums.size(), NAN);
    }
    std::erase_if(warp.products, [&](const Product& p) { return p.group < done; });
    std::erase_if(warp.sums, [&](const auto& entry) {
      const Sums& s = entry.second;
      for (int lane = 0; s.group < done && lane < 32; lane++)
        for (int i = 0; i < s.columns / 2; i++) s.registers[lane][i] = s.values[index_in_d(lane, i, s.columns)];
      return s.group < done;
    });
  });
}

void wgmma_fence() {
  int nothing = 0;
  together("wgmma_fence", nothing, [](int* const*) { my_warp().fenced = true, my_warp().written.clear(); });
}
void wgmma_commit() {
  int nothing = 0;
  together("wgmma_commit", nothing, [](int* const*) { my_warp().groups++; });
}

}  // namespace acinus
#endif
