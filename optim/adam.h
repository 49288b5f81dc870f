#pragma once
#include "optim/optimizer.h"

namespace acinus {

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0;
  bool decoupled = false;  // false: weight decay is added to the gradient (L2); true: AdamW
};

// Counts its own steps, not each parameter's: one that first gets a gradient later on is corrected less than in
// PyTorch.
class Adam : public Optimizer {
 public:
  Adam(NamedTensors parameters, AdamOptions options = {});
  NamedTensors state() const override;
  void load(const SafeTensors& saved) override;

 private:
  Scalars next_scalars() override;
  void update(const TensorRows& rows, const double* scalars) override;

  AdamOptions options_;
  int64_t steps_ = 0;
};

}  // namespace acinus
