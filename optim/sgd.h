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
  void prepare(double lr) override;
  void apply() override;
  NamedTensors state() const override;
  void load(const SafeTensors& saved) override;

 private:
  SgdOptions options_;
  std::vector<Tensor> velocity_;
};

}  // namespace acinus
