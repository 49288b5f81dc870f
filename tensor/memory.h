// The memory of tensors. A training step allocates and frees gigabytes in the same sizes again and again; returning every
// block to the system would cost a page fault per 4 KB in the next step. So freed blocks are kept and handed out again (a
// *caching* allocator, as in PyTorch), and bytes are counted.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "tensor/dtype.h"
#include "tensor/scoped_value.h"

namespace acinus::memory {

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ACINUS_ADDRESS_SANITIZER  // clang
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(ACINUS_ADDRESS_SANITIZER)
constexpr bool under_address_sanitizer = true;
#else
constexpr bool under_address_sanitizer = false;
#endif

// A block of at least `bytes` on `device`, aligned to 64 bytes (one cache line, one AVX-512 register), not initialised.
// It returns to the cache with its last owner. Throws Error when the machine has no more memory, saying how much was
// requested and how much is in use. Safe to call from several threads.
// On the GPU a block may be handed out again while kernels that use it still run: the kernels of its next owner run after
// them (one queue, cuda/device.h).
std::shared_ptr<void> allocate(int64_t bytes, Device device = Device::cpu);

struct Stats {
  int64_t in_use;    // bytes in blocks that have an owner: more than was requested, since sizes are rounded up
  int64_t peak;      // the maximum of in_use since reset_peak()
  int64_t reserved;  // bytes taken from the system: in use + kept for reuse
};
Stats stats(Device device = Device::cpu);
void reset_peak(Device device = Device::cpu);
void release_cache(Device device = Device::cpu);  // returns the unused blocks to the system

// A cache of its own. During the life of a PoolScope, its thread's blocks on the pool's device come from the pool, and
// nobody else ever gets them: a CUDA graph writes to the same addresses whenever it runs (cuda/graph.h).
struct Cache;
using Pool = std::shared_ptr<Cache>;
Pool make_pool(Device device);
struct PoolScope : ScopedValue<Pool> {
  explicit PoolScope(Pool pool);
};

// A hint that these bytes will soon be written from end to end. Fresh memory costs a fault per page when it is first
// written; Linux then hands it out in pages of 2 MB rather than 4 KB. Elsewhere nothing happens.
void expect_large_pages(void* block, int64_t bytes);

// For tests: fill every block handed out with NaN, so that an output element that nothing writes is noticed.
void poison(bool on);

}  // namespace acinus::memory
