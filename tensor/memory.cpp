#include "tensor/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "tensor/check.h"

namespace acinus::memory {
namespace {

struct Cache {
  std::mutex mutex;
  std::multimap<int64_t, void*> free;              // by size
  std::set<std::pair<int64_t, char*>> free_large;  // size and place
  std::map<char*, int64_t> regions;                // what large blocks are parts of: place and size
  Stats stats{0, 0, 0};
  int64_t most = 0;  // bytes ever in use at a time
  bool poison = false;
};

// Never destroyed: tensors in static storage may outlive any order of destruction we could choose.
Cache& cache() {
  static Cache* the_cache = new Cache;
  return *the_cache;
}

// Sizes are rounded up to eighths of a power of two, so that nearly equal requests share blocks: 1000 -> 1024,
// 1025 -> 1152, ... Large ones to whole powers of two (below); the bytes beyond what was asked for cost address space,
// and memory only once a later owner writes them: the system gives a page when it is first written.
// Not those over 1 GB: of 17 GB rounded to 32 a machine with 24 would refuse the address space.
bool is_large(int64_t bytes) { return bytes > int64_t(1) << 20 && bytes <= int64_t(1) << 30; }
int64_t round_up(int64_t bytes) {
  int64_t power = 512;
  while (power * 2 <= bytes) power *= 2;
  const int64_t step = is_large(bytes) ? power : std::max<int64_t>(power / 8, 64);
  return (std::max<int64_t>(bytes, 1) + step - 1) / step * step;
}

void give_back_all(Cache& c) {
  for (auto& [size, block] : c.free) {
    std::free(block);
    c.stats.reserved -= size;
  }
  c.free.clear();
  for (auto region = c.regions.begin(); region != c.regions.end();) {
    const auto [place, size] = *region;
    if (c.free_large.erase({size, place}) == 0) {  // some of it is in use
      ++region;
      continue;
    }
    std::free(place);
    c.stats.reserved -= size;
    region = c.regions.erase(region);
  }
}

void* from_system(Cache& c, int64_t size) {
  // Where sizes change, as from scan to scan, old blocks pile up that no request fits. Once they are as much as was
  // ever needed at a time, they go.
  if (c.stats.reserved + size > 2 * std::max(c.most, c.stats.in_use + size)) give_back_all(c);
  void* block = std::aligned_alloc(64, size_t(size));
  if (!block) {
    give_back_all(c);
    block = std::aligned_alloc(64, size_t(size));
  }
  if (!block)
    fail("out of memory: cannot get ", size >> 20, " MB more; tensors hold ", c.stats.in_use >> 20,
         " MB. Use a smaller batch, image or network width, or --recompute");
  c.stats.reserved += size;
  c.most = std::max(c.most, c.stats.in_use + size);
  return block;
}

// A kept block that is large enough and at most an eighth too large, or a new one; `size` becomes the block's.
void* take_whole(Cache& c, int64_t& size) {
  const auto it = c.free.lower_bound(size);
  if (it == c.free.end() || it->first > size + size / 8) return from_system(c, size);
  size = it->first;
  void* block = it->second;
  c.free.erase(it);
  return block;
}

// Large blocks are a buddy system (Knowlton 1965): a block may be cut in halves, its halves again, and two free halves
// are one block again. A network's activations halve from level to level, and different levels need memory at different
// times: so they share it, and a training step takes little more than it has in use at its worst.
// Not under the address sanitizer, which sees a write past a block's end only where nothing of ours follows.
constexpr bool may_cut = !under_address_sanitizer;

void* take_large(Cache& c, int64_t size) {
  const auto it = c.free_large.lower_bound({size, nullptr});  // the smallest that is large enough
  if (it == c.free_large.end() || (!may_cut && it->first > size)) {
    void* region = from_system(c, size);
    c.regions[static_cast<char*>(region)] = size;
    return region;
  }
  auto [its_size, place] = *it;
  c.free_large.erase(it);
  while (its_size > size) {
    its_size /= 2;
    c.free_large.insert({its_size, place + its_size});
  }
  return place;
}

void keep_large(Cache& c, char* place, int64_t size) {
  const auto [region, whole] = *std::prev(c.regions.upper_bound(place));
  while (size < whole) {
    char* other = region + ((place - region) ^ size);  // halves of one block differ in this bit of their offset
    if (c.free_large.erase({size, other}) == 0) break;
    place = std::min(place, other);
    size *= 2;
  }
  c.free_large.insert({size, place});
}

void* take(int64_t& size) {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  void* block = is_large(size) ? take_large(c, size) : take_whole(c, size);
  c.stats.in_use += size;
  c.stats.peak = std::max(c.stats.peak, c.stats.in_use);
  if (c.poison) std::memset(block, 0xFF, size_t(size));  // all bits set is a NaN in float and in double
  return block;
}

void keep(void* block, int64_t size) {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  c.stats.in_use -= size;
  if (is_large(size))
    keep_large(c, static_cast<char*>(block), size);
  else
    c.free.emplace(size, block);
}

}  // namespace

std::shared_ptr<void> allocate(int64_t bytes) {
  check(bytes >= 0 && bytes < (int64_t(1) << 46), "allocate: ", bytes, " bytes is no sensible size for a tensor");
  int64_t size = round_up(bytes);
  void* block = take(size);
  return std::shared_ptr<void>(block, [size](void* block) { keep(block, size); });
}

Stats stats() {
  std::lock_guard lock(cache().mutex);
  return cache().stats;
}

void reset_peak() {
  std::lock_guard lock(cache().mutex);
  cache().stats.peak = cache().stats.in_use;
}

void release_cache() {
  std::lock_guard lock(cache().mutex);
  give_back_all(cache());
  cache().most = cache().stats.in_use;
}

void expect_large_pages([[maybe_unused]] void* block, [[maybe_unused]] int64_t bytes) {
#ifdef MADV_HUGEPAGE
  const uintptr_t page = 4096, begin = (uintptr_t(block) + page - 1) / page * page,
                  end = uintptr_t(block) + uintptr_t(bytes);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // if it is refused, so be it
#endif
}

void poison(bool on) {
  std::lock_guard lock(cache().mutex);
  cache().poison = on;
}

}  // namespace acinus::memory
