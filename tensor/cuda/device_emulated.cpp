// The device of EMULATE=1: memory of the CPU's, kernels run by emulate.h.
#ifdef ACINUS_EMULATE
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tensor/cuda/device.h"
#include "tensor/cuda/queue.h"
#include "tensor/scoped_value.h"

namespace acinus::cuda {

bool available() { return true; }
bool emulated() { return true; }
bool has_tensor_cores() { return true; }
std::string description() { return "emulated on the CPU, which is slow and for tests"; }
void use(int index) {
  if (index != 0) fail("there is no GPU cuda:", index, "; there is one, --device cuda:0");
}
void synchronize() {}

static std::vector<std::function<void()>>* recorded = nullptr;

void enqueue(std::function<void()> work) {
  if (recorded)
    recorded->push_back(std::move(work));
  else
    work();
}

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
  if (to_device == Device::cuda)
    enqueue(work);
  else
    work();
}

std::unique_ptr<Recording> record(const std::function<void()>& work) {
  struct Emulated : Recording {
    std::vector<std::function<void()>> steps;
    void replay() override {
      for (const auto& step : steps) step();
    }
  };
  auto recording = std::make_unique<Emulated>();
  const ScopedValue<bool> flag(in_recording, true);
  const ScopedValue<std::vector<std::function<void()>>*> now(recorded, &recording->steps);
  work();
  return recording;
}

}  // namespace acinus::cuda
#endif
