// What is the same in every build, and the device of a build without CUDA: there is none.
#include "tensor/cuda/device.h"

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <string_view>

#include "tensor/cuda/graph.h"

namespace acinus::cuda {

bool recording_graph = false;
bool synchronize_each = [] {
  const char* value = std::getenv("ACINUS_SYNC");
  return value && std::string_view(value) == "1";
}();

std::string readable(const char* kernel) {
  int status = 0;
  char* text = abi::__cxa_demangle(kernel, nullptr, nullptr, &status);
  const std::string name = status == 0 ? text : kernel;
  std::free(text);
  return name;
}

#ifndef ACINUS_CUDA
[[noreturn]] static void no_gpu() {
  fail(
      "there is no GPU to use: this program was built without CUDA. Install NVIDIA's CUDA Toolkit (nvcc) and run make "
      "again, or use --device cpu");
}

bool available() { return false; }
bool emulated() { return false; }
bool has_tensor_cores() { return false; }
int64_t shared_bytes_a_block() { return 0; }
std::string description() { return "built without CUDA"; }
void use(int) { no_gpu(); }
void synchronize() {}
void* allocate(int64_t) { no_gpu(); }
void release(void*) {}
void fill_bytes(void*, int, int64_t) { no_gpu(); }
void copy(void* to, Device, const void* from, Device, int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, size_t(bytes));
}
std::function<void()> record(const std::function<void()>&) { no_gpu(); }
#endif

}  // namespace acinus::cuda
