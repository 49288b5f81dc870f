// The device of a build without CUDA: there is none.
#ifndef ACINUS_CUDA
#include <cstring>

#include "tensor/cuda/device.h"
#include "tensor/cuda/queue.h"

namespace acinus::cuda {

[[noreturn]] static void no_gpu() {
  fail(
      "there is no GPU to use: this program was built without CUDA. Install NVIDIA's CUDA Toolkit (nvcc) and run make "
      "again, or use --device cpu");
}

bool available() { return false; }
bool emulated() { return false; }
bool has_tensor_cores() { return false; }
std::string description() { return "built without CUDA"; }
void use(int) { no_gpu(); }
void synchronize() {}
void* allocate(int64_t) { no_gpu(); }
void release(void*) {}
void fill_bytes(void*, int, int64_t) { no_gpu(); }
void copy(void* to, Device, const void* from, Device, int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, size_t(bytes));
}
std::unique_ptr<Recording> record(const std::function<void()>&) { no_gpu(); }

}  // namespace acinus::cuda
#endif
