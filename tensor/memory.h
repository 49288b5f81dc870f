// Where tensors get their memory. A training step allocates and frees gigabytes in the same sizes again and
// again; handing every block back to the system would cost a page fault per 4 KB on the next step. So freed
// blocks are kept and handed out again (a *caching* allocator, as in PyTorch), and bytes are counted.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "tensor/tensor.h"

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
// It goes back to the cache when the last owner lets go. Throws Error when the machine has no more memory,
// saying how much was asked for and how much is in use. Safe to call from several threads.
// On the GPU a block may be handed out again while kernels that use it still run: those of its next owner run after
// them, as all kernels run one after the other (one stream, device.h).
std::shared_ptr<void> allocate(int64_t bytes, Device device = Device::cpu);

struct Stats {
  int64_t in_use;    // bytes in blocks that someone owns: more than was asked for, since sizes are rounded up
  int64_t peak;      // the most in_use has been since reset_peak()
  int64_t reserved;  // bytes taken from the system: in use + kept for reuse
};
Stats stats(Device device = Device::cpu);
void reset_peak(Device device = Device::cpu);
void release_cache(Device device = Device::cpu);  // gives the kept blocks back to the system

// A cache of its own. While a UsingPool lives, its thread's blocks on the pool's device come from there, and nobody
// else is ever given them: a CUDA graph writes to the same places whenever it runs (device.h).
struct Cache;
using Pool = std::shared_ptr<Cache>;
Pool make_pool(Device device);
class UsingPool {
 public:
  explicit UsingPool(Pool pool);
  ~UsingPool();
  UsingPool(const UsingPool&) = delete;
  UsingPool& operator=(const UsingPool&) = delete;

 private:
  Pool before_;
};

// A hint that these bytes will be written from end to end soon. Fresh memory costs a fault per page at the first
// touch; Linux then hands it out in pages of 2 MB rather than 4 KB. Elsewhere nothing happens.
void expect_large_pages(void* block, int64_t bytes);

// For tests: fill every block handed out with NaN, so that an output element nobody writes shows.
void poison(bool on);

}  // namespace acinus::memory
