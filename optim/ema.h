// Ema: an exponential moving average of a network's weights. Validated and saved instead of the latest weights, it
// evens out what the last few batches happened to ask for. (Polyak and Juditsky 1992; with the warm-up of TensorFlow's
// ExponentialMovingAverage)
//
//   Adam adam(net.parameters());
//   Ema ema(net.state(), /*decay=*/0.999);          // parameters, and the running statistics of batch norm
//   adam.step(lr);
//   ema.update();                                   // after each step
//   { const EmaScope scope(ema);  validate(net); }  // within these braces net holds the averages
#pragma once
#include "tensor/tensor.h"

namespace acinus {

struct SafeTensors;

class Ema {
 public:
  // The averages start as copies of the tensors. Make it after Module::to(), like an optimiser. decay: 0 <= decay < 1
  Ema(NamedTensors tensors, double decay);
  void update();  // in a cuda::Graph, each replay is an update
  // All that a resumed run needs beside the network: ema.<name>, ema.step
  NamedTensors state() const;
  // Restores what state() returned. Error that lists what is missing or of another shape, having changed nothing.
  void load(const SafeTensors& saved);

 private:
  friend class EmaScope;
  void swap();

  NamedTensors tensors_, averages_;  // averages_ under the names of state()
  double decay_;
  int64_t steps_ = 0;
  bool swapped_ = false;
  Tensor rate_;  // 1 - d, on the tensors' device
};

// During its lifetime the averages are in the network and the weights in the Ema. The elements are exchanged; the
// tensors stay where they are, for the optimiser and for a recorded cuda::Graph. Afterwards every bit is as before. Not
// between a forward pass and its backward(), and with the network in eval mode: training would change the averages.
class EmaScope {
 public:
  explicit EmaScope(Ema& ema);
  ~EmaScope();
  EmaScope(const EmaScope&) = delete;
  EmaScope& operator=(const EmaScope&) = delete;

 private:
  Ema& ema_;
};

}  // namespace acinus
