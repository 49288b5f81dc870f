#ifdef ACINUS_EMULATE
#include "tensor/cuda/count.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <mutex>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/check.h"
#include "tensor/cuda/device.h"
#include "tensor/cuda/emulate.h"
#include "tensor/scoped_value.h"

namespace acinus {
namespace {

using cuda::AccessCounts, cuda::CountsByKernel, cuda::KernelCounts;

// Blocks run on several threads of the CPU; their counts are whole numbers, whose sum does not depend on the order.
struct Totals {
  std::mutex mutex;
  CountsByKernel table;
  const bool print = [] {
    const char* value = std::getenv("ACINUS_COUNT");
    return value && std::string_view(value) == "1";
  }();
  void add(const std::string& kernel, const KernelCounts& more) {
    using Numbers = std::array<int64_t, sizeof(KernelCounts) / 8>;
    const std::lock_guard lock(mutex);
    auto sum = std::bit_cast<Numbers>(table[kernel]);
    const auto terms = std::bit_cast<Numbers>(more);
    for (size_t i = 0; i < sum.size(); i++) sum[i] += terms[i];
    table[kernel] = std::bit_cast<KernelCounts>(sum);
  }
  ~Totals() {
    if (print && !table.empty()) std::cerr << cuda::count_table(table);
  }
} totals;

// Sorts, and keeps one of equal numbers.
void keep_distinct(auto& numbers) {
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
}

}  // namespace

// ---- the table ----------------------------------------------------------------------------------------------------

namespace {

std::string number(double value, int digits = 0) {
  std::ostringstream out;
  value == 0 ? out << '-' : out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}
std::string ratio(const AccessCounts& c) {
  return number(double(c.actual) / double(std::max<int64_t>(c.fewest, 1)), 2);
}

constexpr const char* explanation =
    "What kernels did on the emulated GPU (tensor/cuda/count.h). Sectors of memory and wavefronts of shared memory "
    "are\n"
    "beside the fewest possible: 1.00 is best, and more wavefronts are bank conflicts.\n\n";

struct Column {
  const char *title, *heading;  // a title is for the columns up to the next one
  std::string (*cell)(const KernelCounts&);
};
const Column columns[] = {
    {"", "launches", [](const auto& c) { return number(double(c.launches)); }},
    {"", "blocks", [](const auto& c) { return number(double(c.blocks)); }},
    {"tensor cores", "products", [](const auto& c) { return number(double(c.products)); }},
    {"", "MFLOP", [](const auto& c) { return number(double(c.flops) / 1e6, 3); }},
    {"copied to shared memory", "kB", [](const auto& c) { return number(double(c.copied_bytes) / 1e3, 1); }},
    {"", "FLOP/byte", [](const auto& c) { return number(c.flops_per_byte(), 1); }},
    {"", "sectors", [](const auto& c) { return ratio(c.copies); }},
    {"", "wavefronts", [](const auto& c) { return ratio(c.shared_writes); }},
    {"loads from it", "number", [](const auto& c) { return number(double(c.shared_loads.instructions)); }},
    {"", "wavefronts", [](const auto& c) { return ratio(c.shared_loads); }},
    {"stored by 16 bytes", "kB", [](const auto& c) { return number(double(c.stored_bytes) / 1e3, 1); }},
    {"", "sectors", [](const auto& c) { return ratio(c.stores); }},
};

}  // namespace

namespace cuda {

CountsByKernel counts_of(const std::function<void()>& work) {
  const ScopedValue<bool> counting(emulate::counting, true);
  CountsByKernel before = std::exchange(totals.table, {});
  work();
  CountsByKernel counts = std::exchange(totals.table, std::move(before));
  for (const auto& [kernel, c] : counts) totals.add(kernel, c);
  return counts;
}

std::string count_table(const CountsByKernel& counts) {
  std::string titles;
  std::vector<std::string> lines(counts.size() + 1);
  for (const Column& column : columns) {
    std::vector<std::string> cells = {column.heading};
    for (const auto& [kernel, c] : counts) cells.push_back(column.cell(c));
    size_t width = 0;
    for (const std::string& cell : cells) width = std::max(width, cell.size());
    if (*column.title) titles.resize(lines[0].size(), ' '), titles += column.title;
    for (size_t i = 0; i < cells.size(); i++) lines[i] += std::string(width - cells[i].size(), ' ') + cells[i] + "  ";
  }
  size_t i = 0;
  lines[i++] += "kernel";
  for (const auto& [kernel, c] : counts) lines[i++] += kernel;
  std::string table = text(explanation, titles, '\n');
  for (const std::string& line : lines) table += line + '\n';
  return table;
}

}  // namespace cuda

// ---- for the emulation --------------------------------------------------------------------------------------------

namespace emulate {

bool counting = totals.print;

void add_counts(const char* kernel, const KernelCounts& more) { totals.add(cuda::readable(kernel), more); }

void count_shared(AccessCounts& counts, const uint32_t (&addresses)[32], int bytes) {
  bool any = false;
  const int at_once = 128 / bytes;  // threads
  for (int first = 0; first < 32; first += at_once) {
    std::vector<uint32_t> words;
    for (int i = first; i < first + at_once; i++)
      for (int w = 0; addresses[i] != nowhere && w < bytes / 4; w++) words.push_back(addresses[i] / 4 + w);
    if (words.empty()) continue;
    keep_distinct(words);
    int in_bank[32] = {};
    for (uint32_t word : words) in_bank[word % 32]++;
    counts.actual += *std::max_element(in_bank, in_bank + 32);
    counts.fewest++;
    any = true;
  }
  counts.instructions += any;
}

namespace {
struct Moved {
  const void* memory;
  uint32_t shared_address;
};
thread_local std::vector<Moved> moves[3][32];  // by kind and lane
thread_local bool any_moves = false;
}  // namespace

void note_move(Move kind, const void* memory, uint32_t shared_address) {
  const auto* p = static_cast<const unsigned char*>(memory);
  if (p >= shared_bytes && p < shared_bytes + launched->shared_bytes)
    shared_address = uint32_t(p - shared_bytes), memory = nullptr;
  moves[int(kind)][threadIdx.x % 32].push_back({memory, shared_address});
  any_moves = true;
}

void count_moves() {
  if (!std::exchange(any_moves, false)) return;
  for (Move kind : {Move::copy, Move::load, Move::store}) {
    auto& of_lanes = moves[int(kind)];
    AccessCounts& in_memory = kind == Move::copy ? counts.copies : kind == Move::load ? counts.loads : counts.stores;
    size_t instructions = 0;
    for (const auto& of_lane : of_lanes) instructions = std::max(instructions, of_lane.size());
    for (size_t n = 0; n < instructions; n++) {
      uint32_t shared[32];
      std::vector<uintptr_t> pieces;  // of 16 bytes
      for (int lane = 0; lane < 32; lane++) {
        const Moved m = n < of_lanes[lane].size() ? of_lanes[lane][n] : Moved{nullptr, nowhere};
        shared[lane] = m.shared_address;
        if (m.memory) pieces.push_back(uintptr_t(m.memory) / 16);
      }
      count_shared(kind == Move::load ? counts.shared_loads : counts.shared_writes, shared, 16);
      if (kind == Move::copy) counts.copied_bytes += 16 * int64_t(pieces.size());
      if (kind == Move::store) counts.stored_bytes += 16 * int64_t(pieces.size());
      keep_distinct(pieces);
      in_memory.instructions += !pieces.empty();
      in_memory.fewest += (int64_t(pieces.size()) + 1) / 2;
      for (uintptr_t& piece : pieces) piece /= 2;
      keep_distinct(pieces);
      in_memory.actual += int64_t(pieces.size());
    }
    for (auto& of_lane : of_lanes) of_lane.clear();
  }
}

}  // namespace emulate
}  // namespace acinus
#endif
