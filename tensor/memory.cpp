#include "tensor/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "tensor/cuda/device.h"

namespace acinus::memory {

// What the caches of one device share.
struct Shared {
  const Device device;
  std::mutex mutex{};
  Stats stats{0, 0, 0};
  int64_t max_in_use = 0;
};

struct Cache {
  Shared& shared;
  // A pool keeps all its blocks until it is destroyed: a graph uses them whenever it runs, even those without an owner.
  const bool is_pool;
  std::map<char*, int64_t> regions;             // what the system has given: address and size
  std::map<char*, int64_t> free;                // the unused parts of it
  std::set<std::pair<int64_t, char*>> by_size;  // the same

  Cache(Shared& shared, bool is_pool) : shared(shared), is_pool(is_pool) {}
  ~Cache();  // of a pool, when its last block has returned
};

namespace {

std::atomic<bool> poisoning = false;
thread_local Pool current_pool;

// Never destroyed: tensors in static storage may outlive any order of destruction we could choose.
const Pool& common_cache(Device device) {
  static const Pool* const cpu = new Pool(new Cache(*new Shared{Device::cpu}, false));
  static const Pool* const cuda = new Pool(new Cache(*new Shared{Device::cuda}, false));
  return device == Device::cpu ? *cpu : *cuda;
}
Shared& shared_by(Device device) { return common_cache(device)->shared; }

void* system_allocate(Device device, int64_t size) {
  if (device == Device::cuda) return cuda::allocate(size);
  void* block = nullptr;
  return posix_memalign(&block, 64, size) == 0 ? block : nullptr;
}

// Sizes are rounded up to eighths of a power of two, so that nearly equal requests share blocks: 1000 -> 1024,
// 1025 -> 1152, ...; large ones, which are cut (see take), only to 32nds.
constexpr int64_t min_large = int64_t(1) << 20;
int64_t round_up(int64_t bytes) {
  int64_t power = 512;
  while (power * 2 <= bytes) power *= 2;
  const int64_t step = std::max<int64_t>(power / (bytes >= min_large ? 32 : 8), 64);
  return (std::max<int64_t>(bytes, 1) + step - 1) / step * step;
}

// A pool counts as a whole: a graph uses all of it, with or without owners of its blocks.
void count_in_use(Cache& c, int64_t bytes) {
  Stats& stats = c.shared.stats;
  stats.in_use += bytes;
  stats.peak = std::max(stats.peak, stats.in_use);
}

void add_free(Cache& c, char* block, int64_t size) {
  c.free[block] = size;
  c.by_size.insert({size, block});
}
void remove_free(Cache& c, char* block, int64_t size) {
  c.free.erase(block);
  c.by_size.erase({size, block});
}

bool may_release(const Cache& c) { return !(c.shared.device == Device::cuda && cuda::recording_graph); }

void to_system(Cache& c, void* block, int64_t size) {
  c.shared.device == Device::cpu ? std::free(block) : cuda::release(block);
  c.shared.stats.reserved -= size;
  if (c.is_pool) count_in_use(c, -size);
}

void release_unused(Cache& c) {
  std::erase_if(c.regions, [&](const auto& region) {
    const auto [block, size] = region;
    if (!c.by_size.contains({size, block})) return false;  // it, or a part of it, is in use
    remove_free(c, block, size);
    to_system(c, block, size);
    return true;
  });
}

char* from_system(Cache& c, int64_t size) {
  const Device device = c.shared.device;
  Stats& stats = c.shared.stats;
  // Where sizes change, as from scan to scan, old blocks that fit no request accumulate. They are released once they
  // amount to the maximum that was ever in use. (Not while a graph is recorded: the GPU's memory cannot be freed then.)
  Cache& common = *common_cache(device);
  if (may_release(c) && !c.is_pool && stats.reserved + size > 2 * std::max(c.shared.max_in_use, stats.in_use + size))
    release_unused(common);
  void* block = system_allocate(device, size);
  if (!block && may_release(c)) {
    release_unused(common);
    block = system_allocate(device, size);
  }
  if (!block)
    fail("out of ", device == Device::cpu ? "" : "GPU ", "memory: cannot get ", size >> 20, " MB more; tensors hold ",
         stats.in_use >> 20, " MB. Use a smaller batch, image or network width, or --recompute");
  stats.reserved += size;
  c.shared.max_in_use = std::max(c.shared.max_in_use, stats.in_use + size);
  if (c.is_pool) count_in_use(c, size);
  c.regions[static_cast<char*>(block)] = size;
  return static_cast<char*>(block);
}

// A tool that looks for accesses beyond a block's end, or after its release, sees them only if blocks are exactly as large
// as requested, and return to the system. So they do under the address sanitizer, and for compute-sanitizer with
// ACINUS_EXACT_MEMORY=1 in the environment.
bool is_exact(const Cache& c) {
  static const char* const value = std::getenv("ACINUS_EXACT_MEMORY");
  static const bool wanted = under_address_sanitizer || (value && std::string(value) == "1");
  return wanted && !c.is_pool;
}

// The smallest free block that is large enough. A large one is cut, and what is left of it is free; where a large block
// becomes free, it is joined with its neighbours. (Best fit with coalescing: Knuth 1997, The Art of Computer Programming,
// volume 1, section 2.5.) A network's activations halve from level to level, and different levels need memory at different
// times: so they share it, and a training step reserves little more than its peak use. Other blocks stay whole, and are used
// again for requests that are at most an eighth smaller; `size` becomes the block's.
char* take(Cache& c, int64_t& size) {
  std::lock_guard lock(c.shared.mutex);
  const bool large = size >= min_large;
  const auto it = c.by_size.lower_bound({size, nullptr});
  char* block = nullptr;
  if (is_exact(c) || it == c.by_size.end() || (!large && it->first > size + size / 8)) {
    block = from_system(c, size);
  } else {
    const auto [its_size, its_block] = *it;
    block = its_block;
    remove_free(c, block, its_size);
    if (large && its_size - size >= min_large)
      add_free(c, block + size, its_size - size);
    else
      size = its_size;
  }
  if (!c.is_pool) count_in_use(c, size);
  return block;
}

void keep(Cache& c, char* block, int64_t size) {
  std::lock_guard lock(c.shared.mutex);
  if (!c.is_pool) count_in_use(c, -size);
  if (is_exact(c) && may_release(c)) {
    c.regions.erase(block);
    return to_system(c, block, size);
  }
  if (size >= min_large) {
    const auto [region, whole] = *std::prev(c.regions.upper_bound(block));
    const auto next = c.free.find(block + size);
    if (next != c.free.end() && block + size < region + whole) {
      const int64_t more = next->second;
      remove_free(c, block + size, more);
      size += more;
    }
    const auto after = c.free.lower_bound(block);
    if (after != c.free.begin() && block > region) {
      const auto [previous, more] = *std::prev(after);
      if (previous + more == block) {
        remove_free(c, previous, more);
        block = previous, size += more;
      }
    }
  }
  add_free(c, block, size);
}

}  // namespace

Cache::~Cache() {
  std::lock_guard lock(shared.mutex);
  release_unused(*this);
}

std::shared_ptr<void> allocate(int64_t bytes, Device device) {
  check(bytes >= 0 && bytes < (int64_t(1) << 46), "allocate: ", bytes, " bytes is not a sensible size for a tensor");
  const Pool cache = current_pool && current_pool->shared.device == device ? current_pool : common_cache(device);
  int64_t size = is_exact(*cache) ? std::max<int64_t>(bytes, 1) : round_up(bytes);
  char* block = take(*cache, size);
  std::shared_ptr<void> owner(block, [size, cache](char* block) { keep(*cache, block, size); });
  // All bits set is a NaN in every type of float.
  if (poisoning) device == Device::cpu ? void(std::memset(block, 0xFF, size)) : cuda::fill_bytes(block, 0xFF, size);
  return owner;
}

Stats stats(Device device) {
  std::lock_guard lock(shared_by(device).mutex);
  return shared_by(device).stats;
}

void reset_peak(Device device) {
  std::lock_guard lock(shared_by(device).mutex);
  shared_by(device).stats.peak = shared_by(device).stats.in_use;
}

void release_cache(Device device) {
  std::lock_guard lock(shared_by(device).mutex);
  release_unused(*common_cache(device));
  shared_by(device).max_in_use = shared_by(device).stats.in_use;
}

Pool make_pool(Device device) { return std::make_shared<Cache>(shared_by(device), /*is_pool=*/true); }
PoolScope::PoolScope(Pool pool) : ScopedValue(current_pool, std::move(pool)) {}

void expect_large_pages([[maybe_unused]] void* block, [[maybe_unused]] int64_t bytes) {
#ifdef MADV_HUGEPAGE
  const uintptr_t page = 4096, end = uintptr_t(block) + uintptr_t(bytes);
  const uintptr_t begin = (uintptr_t(block) + page - 1) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // only a hint
#endif
}

void poison(bool on) { poisoning = on; }

}  // namespace acinus::memory
