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

// What the caches of one device share. Never destroyed: tensors in static storage may outlive any order of destruction
// we could choose.
struct Place {
  const Device device;
  std::mutex mutex;
  Stats stats{0, 0, 0};
  int64_t most = 0;  // bytes ever in use at a time
  explicit Place(Device device) : device(device) {}
};

struct Cache {
  Place& place;
  std::multimap<int64_t, void*> free;              // by size
  std::set<std::pair<int64_t, char*>> free_large;  // size and address
  std::map<char*, int64_t> regions;                // what large blocks are parts of: address and size

  // A pool keeps what it has until it goes: a graph uses it whenever it runs, also what nobody owns just now.
  const bool is_pool;

  Cache(Place& place, bool is_pool) : place(place), is_pool(is_pool) {}
  ~Cache();  // of a pool, when its last block has come back
};

namespace {

std::atomic<bool> poisoning = false;
thread_local Pool current_pool;

Place& place_of(Device device) {
  static Place* cpu = new Place(Device::cpu);
  static Place* cuda = new Place(Device::cuda);
  return device == Device::cpu ? *cpu : *cuda;
}

const Pool& common_cache(Device device) {
  static Pool* cpu = new Pool(new Cache(place_of(Device::cpu), false));
  static Pool* cuda = new Pool(new Cache(place_of(Device::cuda), false));
  return device == Device::cpu ? *cpu : *cuda;
}

void* from_device(Device device, int64_t size) {
  if (device == Device::cuda) return cuda::allocate(size);
  void* block = nullptr;
  return posix_memalign(&block, 64, size_t(size)) == 0 ? block : nullptr;
}
void to_device(Device device, void* block) { device == Device::cpu ? std::free(block) : cuda::release(block); }

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

// A pool counts as a whole: a graph uses all of it, whoever owns its blocks just now.
void count_in_use(Cache& c, int64_t bytes) {
  Stats& stats = c.place.stats;
  stats.in_use += bytes;
  stats.peak = std::max(stats.peak, stats.in_use);
}

bool may_give_back(const Cache& c) { return !(c.place.device == Device::cuda && cuda::recording_graph()); }

void give_back_all(Cache& c) {
  for (auto& [size, block] : c.free) {
    to_device(c.place.device, block);
    c.place.stats.reserved -= size;
    if (c.is_pool) count_in_use(c, -size);
  }
  c.free.clear();
  for (auto region = c.regions.begin(); region != c.regions.end();) {
    const auto [place, size] = *region;
    if (c.free_large.erase({size, place}) == 0) {  // some of it is in use
      ++region;
      continue;
    }
    to_device(c.place.device, place);
    c.place.stats.reserved -= size;
    if (c.is_pool) count_in_use(c, -size);
    region = c.regions.erase(region);
  }
}

void* from_system(Cache& c, int64_t size) {
  const Device device = c.place.device;
  Stats& stats = c.place.stats;
  // Where sizes change, as from scan to scan, old blocks pile up that no request fits. Once they are as much as was
  // ever needed at a time, they go.
  // (Not while a graph is recorded: then the GPU's memory cannot be given back.)
  Cache& common = *common_cache(device);
  if (may_give_back(c) && !c.is_pool && stats.reserved + size > 2 * std::max(c.place.most, stats.in_use + size))
    give_back_all(common);
  void* block = from_device(device, size);
  if (!block && may_give_back(c)) {
    give_back_all(common);
    block = from_device(device, size);
  }
  if (!block)
    fail("out of ", device == Device::cpu ? "" : "GPU ", "memory: cannot get ", size >> 20, " MB more; tensors hold ",
         stats.in_use >> 20, " MB. Use a smaller batch, image or network width, or --recompute");
  stats.reserved += size;
  c.place.most = std::max(c.place.most, stats.in_use + size);
  if (c.is_pool) count_in_use(c, size);
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
void* take_large(Cache& c, int64_t size) {
  const auto it = c.free_large.lower_bound({size, nullptr});  // the smallest that is large enough
  if (it == c.free_large.end()) {
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

// A tool that looks for accesses beyond a block's end, or after its end of life, sees them only if blocks are exactly
// as large as was asked for, and go back to the system. So it is under the address sanitizer, and for compute-sanitizer
// with ACINUS_EXACT_MEMORY=1 in the environment.
bool is_exact(const Cache& c) {
  static const char* const value = std::getenv("ACINUS_EXACT_MEMORY");
  static const bool wanted = under_address_sanitizer || (value && std::string(value) == "1");
  return wanted && !c.is_pool;
}

void* take(Cache& c, int64_t& size) {
  std::lock_guard lock(c.place.mutex);
  void* block = is_exact(c) ? from_system(c, size) : is_large(size) ? take_large(c, size) : take_whole(c, size);
  if (!c.is_pool) count_in_use(c, size);
  return block;
}

void keep(Cache& c, void* block, int64_t size) {
  std::lock_guard lock(c.place.mutex);
  if (!c.is_pool) count_in_use(c, -size);
  if (is_exact(c) && may_give_back(c)) {
    to_device(c.place.device, block);
    c.place.stats.reserved -= size;
  } else if (is_large(size))
    keep_large(c, static_cast<char*>(block), size);
  else
    c.free.emplace(size, block);
}

}  // namespace

Cache::~Cache() {
  std::lock_guard lock(place.mutex);
  give_back_all(*this);
}

std::shared_ptr<void> allocate(int64_t bytes, Device device) {
  check(bytes >= 0 && bytes < (int64_t(1) << 46), "allocate: ", bytes, " bytes is no sensible size for a tensor");
  const Pool cache = current_pool && current_pool->place.device == device ? current_pool : common_cache(device);
  int64_t size = is_exact(*cache) ? std::max<int64_t>(bytes, 1) : round_up(bytes);
  void* block = take(*cache, size);
  std::shared_ptr<void> owner(block, [size, cache](void* block) { keep(*cache, block, size); });
  // All bits set is a NaN in every type of float.
  if (poisoning)
    device == Device::cpu ? void(std::memset(block, 0xFF, size_t(size))) : cuda::fill_bytes(block, 0xFF, size);
  return owner;
}

Stats stats(Device device) {
  std::lock_guard lock(place_of(device).mutex);
  return place_of(device).stats;
}

void reset_peak(Device device) {
  std::lock_guard lock(place_of(device).mutex);
  place_of(device).stats.peak = place_of(device).stats.in_use;
}

void release_cache(Device device) {
  std::lock_guard lock(place_of(device).mutex);
  give_back_all(*common_cache(device));
  place_of(device).most = place_of(device).stats.in_use;
}

Pool make_pool(Device device) { return std::make_shared<Cache>(place_of(device), /*is_pool=*/true); }
UsingPool::UsingPool(Pool pool) : before_(std::exchange(current_pool, std::move(pool))) {}
UsingPool::~UsingPool() { current_pool = std::move(before_); }

void expect_large_pages([[maybe_unused]] void* block, [[maybe_unused]] int64_t bytes) {
#ifdef MADV_HUGEPAGE
  const uintptr_t page = 4096, begin = (uintptr_t(block) + page - 1) / page * page,
                  end = uintptr_t(block) + uintptr_t(bytes);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // if it is refused, so be it
#endif
}

void poison(bool on) { poisoning = on; }

}  // namespace acinus::memory
