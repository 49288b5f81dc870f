#include "apps/common/machine.h"

#include "tensor/conv/conv.h"
#include "tensor/cuda/device.h"
#include "tensor/parallel.h"
#include "tensor/text.h"

namespace acinus {

int use_threads([[maybe_unused]] int64_t threads) {
#ifdef _OPENMP
  if (threads > 0) omp_set_num_threads(int(threads));
#endif
  return max_threads();
}

void add_threads_setting(Settings& settings, int64_t& threads) {
  settings.add("threads", threads, "CPU threads; 0: one per core").between(0, 1024);
}

void Machine::add_settings(Settings& s) {
  s.add("device", device, "cpu, cuda, cuda:1 (the second GPU), or auto: a GPU if there is one");
  s.add("precision", precision, "of the GPU's matrix products; bf16 also halves the memory for activations");
  add_threads_setting(s, threads);
}

bool Machine::on_gpu() const { return device == "auto" ? cuda::available() && !cuda::emulated() : device != "cpu"; }

Device Machine::use() const {
  use_threads(threads);
  int64_t index = 0;
  const bool numbered = device.starts_with("cuda:");
  if (numbered && (!parse(device.substr(5), index) || index < 0 || index > 1023))
    throw UsageError("--device " + device + ": the GPUs are cuda:0, cuda:1, ...");
  if (!numbered && device != "auto" && device != "cpu" && device != "cuda")
    throw UsageError("--device " + device + ": it must be auto, cpu, cuda, or cuda:1");
  const bool gpu = on_gpu();
  if (gpu) cuda::use(int(index));
  if (precision != Precision::fp32 && !gpu)
    throw UsageError(
        text("--precision ", name(precision), " is for a GPU, and none is used: ", description(), "; leave it out"));
  if (precision != Precision::fp32 && !cuda::has_tensor_cores())
    throw UsageError(text("--precision ", name(precision),
                          " needs a GPU of compute capability 8.0 (2020) or later; this is ", cuda::description()));
  allow_tf32(precision == Precision::tf32);
  return gpu ? Device::cuda : Device::cpu;
}

std::string Machine::description() const {
  if (on_gpu()) return text("GPU in ", name(precision), ": ", cuda::description());
  std::string why;
  if (device != "cpu")
    why = "; no GPU: " + (cuda::emulated() ? "one is only emulated (--device cuda)" : cuda::description());
  return text("CPU, ", counted(use_threads(threads), "thread"), why);
}

}  // namespace acinus
