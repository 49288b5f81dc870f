// The GPU, as the rest of the library sees it: one a process, its memory, and the order in which it works.
//
// Whatever is asked of the GPU, a kernel or a copy, goes into one queue (a CUDA *stream*) and is done in the order in
// which it was asked for, while the CPU goes on. The CPU waits only where it wants a result: item(), to_vector(),
// .to(Device::cpu), synchronize(). All of it comes from one thread of the CPU.
//
// There are three builds. Where make finds CUDA's compiler, kernels are compiled for the GPU. With EMULATE=1 they are
// compiled for the CPU, and "cuda" is a pretended device (emulate.h): slow, for tests and for stepping through a kernel
// in a debugger. Otherwise there is no GPU, and whoever asks for one gets an Error that says so.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "tensor/tensor.h"

namespace acinus::cuda {

bool available();           // is there a GPU to work with, or one that is emulated?
bool emulated();            // ... the latter
std::string description();  // "NVIDIA H100 80GB HBM3 (cuda:0), 79 GB, CUDA 13.0", or why there is none
void use(int index);        // which GPU, of several; before the first tensor on it. Error if there is none such
bool has_tensor_cores();    // for bfloat16 and TF32: compute capability 8.0 (2020) and later

void synchronize();  // waits until all is done. Error if a kernel has failed
// Wait after every kernel, so that a failure is reported where it happened and times are a kernel's own. Slow. Also by
// ACINUS_SYNC=1 in the environment.
void synchronize_each(bool on);

// ---- for tensor.cpp, memory.cpp and messages

std::string readable(
    const char* kernel);  // its name, or that of a C++ type as typeid gives it: MapBody<AddForward, ...>

void* allocate(int64_t bytes);  // null if there is no more
void release(void* block);
void fill_bytes(void* block, int value, int64_t bytes);
// Between CPU and GPU through page-locked buffers of our own, which the GPU reads by itself: so the CPU does not wait
// for a copy to the GPU to end, and may change `from` at once.
void copy(void* to, Device to_device, const void* from, Device from_device, int64_t bytes);

// ---- graphs

// Work for the GPU that is the same each time, such as a training step: recorded once, then asked for as a whole. A
// step of a small network is some hundred kernels, each of which may take less time than the CPU takes to ask for it.
//
//   Tensor loss;                     // x and t stay where they are; copy_from() brings new values into them
//   Graph graph;
//   graph.run([&] { loss = step(x, t); });
//
// The first run does the work as it is, the second records it, and that and all later ones replay the record: with the
// same tensors (nothing of `work` itself is called again), from memory that is the graph's own until it is gone. What
// `work` does on the CPU, such as counting steps or drawing a seed, is not repeated; where it asks the GPU for a result
// while it is recorded, it gets an Error. Tensors that `work` uses and did not make must live as long as the graph.
class Graph {
 public:
  Graph();
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void run(const std::function<void()>& work);

 private:
  struct State;
  std::unique_ptr<State> state_;
};
bool recording_graph();  // is a Graph being recorded?

}  // namespace acinus::cuda
