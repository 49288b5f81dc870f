#pragma once
#include "optim/optimizer.h"

namespace acinus {

struct SgdOptions {
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;  // L2: added to the gradient
};

class Sgd : public Optimizer {
 public:
  Sgd(NamedTensors parameters, SgdOptions options = {});

 private:
  Scalars next_scalars() override { return {learning_rate}; }
  void update(const TensorRows& rows, const double* scalars) override;

  SgdOptions options_;
};

}  // namespace acinus
