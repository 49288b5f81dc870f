// Ema: an exponential moving average of a network's weights. Validated and saved in the place of the latest weights, it
// evens out what the last few batches happened to ask for. (Polyak and Juditsky 1992; with the warm-up of TensorFlow's
// ExponentialMovingAverage)
//
//   Adam adam(net.parameters());
//   Ema ema(net.state(), /*decay=*/0.999);          // parameters, and the running statistics of batch norm
//   adam.step(lr);
//   ema.update();                                   // after each step
//   { const UsingAverage average(ema);  validate(net); }     // here net holds the averages
#pragma once
#include "tensor/io/safetensors.h"  // NamedTensors

namespace acinus {

class Ema {
 public:
  // The averages start as the tensors are. Make it after Module::to(), as an optimiser. decay: 0 <= decay < 1
  Ema(NamedTensors tensors, double decay);
  void update() {
    prepare();
    apply();
  }
  // Its two parts, as an Optimizer's: apply() may be part of a cuda::Graph.
  void prepare();
  void apply();
  // All that a resumed run needs beside the network: ema.<name>, ema.step
  NamedTensors state() const;
  // Puts back what state() returned. Error that lists what is missing or of another shape, having changed nothing.
  void load(const SafeTensors& saved);

 private:
  friend class UsingAverage;
  void swap();

  NamedTensors tensors_, averages_;  // averages_ under the names of state()
  double decay_;
  int64_t steps_ = 0;
  bool swapped_ = false;
  Tensor rate_;  // for prepare() and apply()
};

// While one of these lives, the averages are in the network and its weights in the Ema: the elements change places,
// the tensors stay where they are, for the optimiser and for a recorded cuda::Graph. Afterwards every bit is back. Not
// between a forward pass and its backward(), and with the network in eval mode: training would change the averages.
class UsingAverage {
 public:
  explicit UsingAverage(Ema& ema);
  ~UsingAverage();
  UsingAverage(const UsingAverage&) = delete;
  UsingAverage& operator=(const UsingAverage&) = delete;

 private:
  Ema& ema_;
};

}  // namespace acinus
