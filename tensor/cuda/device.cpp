// What is the same in every build.
#include "tensor/cuda/device.h"

#include <cxxabi.h>

#include <cstdlib>
#include <string_view>

#include "tensor/cuda/queue.h"

namespace acinus::cuda {

bool sync_each = [] {
  const char* value = std::getenv("ACINUS_SYNC");
  return value && std::string_view(value) == "1";
}();

bool in_recording = false;

bool recording_graph() { return in_recording; }
void synchronize_each(bool on) { sync_each = on; }

std::string readable(const char* kernel) {
  int status = 0;
  char* text = abi::__cxa_demangle(kernel, nullptr, nullptr, &status);
  const std::string name = status == 0 ? text : kernel;
  std::free(text);
  return name;
}

}  // namespace acinus::cuda
