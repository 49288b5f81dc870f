// Where and with what precision a network runs: --device, --precision and --threads.
#pragma once
#include <string>

#include "apps/common/settings.h"
#include "tensor/tensor.h"

namespace acinus {

enum class Precision { fp32, tf32, bf16 };
inline EnumNames<Precision> enum_names(Precision) {
  return {"precision", {{"fp32", Precision::fp32}, {"tf32", Precision::tf32}, {"bf16", Precision::bf16}}};
}

struct Machine {
  std::string device = "auto";
  Precision precision = Precision::fp32;
  int64_t threads = 0;

  void add_settings(Settings& settings);
  // Makes the choice effective. UsageError if it is impossible; `auto` is the GPU if there is one.
  Device use() const;
  DType activations() const { return precision == Precision::bf16 ? DType::bf16 : DType::f32; }
  std::string description() const;  // "GPU in bf16: NVIDIA H100 80GB HBM3 (cuda:0), ...", or why it is the CPU

 private:
  bool on_gpu() const;
};

void add_threads_setting(Settings& settings, int64_t& threads);
int use_threads(int64_t threads);  // 0: all cores; returns how many

}  // namespace acinus
