// The device of EMULATE=1: the CPU's memory; emulate.cpp runs the kernels.
#ifdef ACINUS_EMULATE
#include <cstdlib>
#include <cstring>

#include "tensor/cuda/device.h"
#include "tensor/cuda/graph.h"
#include "tensor/cuda/kernel.h"

namespace acinus::cuda {

bool available() { return true; }
bool emulated() { return true; }
bool has_tensor_cores() { return true; }
int64_t shared_bytes_a_block() { return 227 << 10; }
std::string description() { return "emulated on the CPU, which is slow and for tests"; }
void use(int index) {
  if (index != 0) fail("there is no GPU cuda:", index, "; there is one, --device cuda:0");
}
void synchronize() {}

static std::vector<std::function<void()>>* recorded = nullptr;

void enqueue(std::function<void()> work) { recorded ? recorded->push_back(std::move(work)) : work(); }

void* allocate(int64_t bytes) {
  void* block = nullptr;
  return posix_memalign(&block, 256, size_t(bytes)) == 0 ? block : nullptr;  // as cudaMalloc aligns
}
void release(void* block) { std::free(block); }
void fill_bytes(void* block, int value, int64_t bytes) {
  enqueue([=] { std::memset(block, value, size_t(bytes)); });
}
void copy(void* to, Device to_device, const void* from, Device from_device, int64_t bytes) {
  if (bytes == 0) return;
  check(to_device == from_device || !recorded,
        "a copy between CPU and GPU while a Graph is recorded: a result is only there when the graph runs");
  const auto work = [=] { std::memcpy(to, from, size_t(bytes)); };
  to_device == Device::cuda ? enqueue(work) : work();
}

std::function<void()> record(const std::function<void()>& work) {
  std::vector<std::function<void()>> steps;
  const ScopedValue<bool> flag(recording_graph, true);
  const ScopedValue<std::vector<std::function<void()>>*> now(recorded, &steps);
  work();
  return [steps = std::move(steps)] {
    for (const auto& step : steps) step();
  };
}

}  // namespace acinus::cuda
#endif
