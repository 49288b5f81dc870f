// The training loop.
#pragma once
#include "apps/training/run.h"
#include "data/sampling/loader.h"
#include "tensor/cuda/graph.h"
#include "tensor/trace.h"

namespace acinus {

// Trains until the run is over (true), or until it is to stop (false): by a signal or a limit.
bool train(Run& run, const Task& task, Loader::Draw draw);

// One training step. On a GPU it is recorded and replayed as three graphs; between them the CPU checks the loss. Not
// where several batches contribute to a gradient: the graph that adds to the gradients is not the one that makes them.
class Step {
 public:
  struct Options {
    int64_t batches = 1;         // whose gradients are averaged
    double max_norm = INFINITY;  // of the gradient, which is clipped to it
  };
  struct Result {
    double loss, gradient_norm;  // before clipping
    bool finite() const { return std::isfinite(loss) && std::isfinite(gradient_norm); }
  };
  // ema may be null. All of them must live as long as the Step.
  Step(Module& net, Loss loss, Optimizer& optimizer, Ema* ema, Options options, Device device);

  // next(x, t) is called for each batch. Where the result is not finite, the weights have not been changed.
  Result operator()(const std::function<void(Tensor& x, Tensor& t)>& next, double lr);
  // Repeats the last batch's forward and backward pass: the op, layer and pass with the first value that is not finite.
  std::string first_not_finite();

 private:
  Module& net_;
  Loss loss_function_;
  Optimizer& optimizer_;
  Ema* ema_;
  Options options_;
  Device device_;
  // Observers are told of each op as it runs, which they are not while a graph is replayed.
  Device graph_device_ = options_.batches > 1 || ObserverScope::any() ? Device::cpu : device_;
  Tensor x_, t_, loss_, norm_;  // on the device, where the graphs read and write them
  cuda::Graph gradients_{graph_device_}, clip_{graph_device_}, update_{graph_device_};
};

}  // namespace acinus
