// CUDA graphs: work for the GPU that is the same each time, such as a training step, recorded once and then requested
// as a whole. A step of a small network is about a hundred kernels, each of which may take less time than the CPU
// takes to launch it.
//
//   Graph graph(device);             // on the CPU run() simply calls its argument
//   Tensor loss;
//   for (...) {
//     x.copy_from(image), t.copy_from(mask);         // into tensors that stay where they are
//     graph.run([&] { loss = step(x, t); });
//   }
//
// The first run does the work as it is, the second records it, and that one and all later ones replay the recording:
// with the same tensors (nothing of `work` is called again), from memory that belongs to the graph. So
//
//   - what `work` does on the CPU, such as counting steps or drawing a seed, is not repeated: before_each_run() is
//   - where `work` asks the GPU for a result while it is recorded, or runs another Graph, it gets an Error
//   - tensors that `work` uses and did not make must live as long as the graph
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "tensor/memory.h"

namespace acinus::cuda {

class Graph {
 public:
  explicit Graph(Device device = Device::cuda);
  void run(const std::function<void()>& work);
  void reset();  // forgets the recording and frees its memory

 private:
  struct State {
    memory::Pool pool = memory::make_pool(Device::cuda);
    bool has_run = false;
    std::vector<std::function<void()>> preparations;
    std::function<void()> replay;
  };
  std::unique_ptr<State> state_;  // none on the CPU
};

// For `work` of a Graph that needs something new in each run, such as the learning rate: calls `prepare` now, and again
// before each replay of the graph that is being recorded. It may copy to tensors on the GPU, and what it refers to must
// live as long as the graph.
//
//   before_each_run([this] { rates_.copy_from(next_rates()); });
void before_each_run(std::function<void()> prepare);

// What each of the builds of the device (device.h) does for graph.cpp: calls `work`, but only records its kernels and
// copies. Returns what requests them from the GPU.
std::function<void()> record(const std::function<void()>& work);

}  // namespace acinus::cuda
