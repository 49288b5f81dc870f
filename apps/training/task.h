// What a training run trains: the functions in which the U-Net (segmenter.cpp) and the classifier (classifier.cpp)
// differ. The loop that calls them is in loop.cpp.
#pragma once
#include <functional>
#include <map>
#include <string>

#include "apps/checks/findings.h"
#include "apps/report/report.h"
#include "apps/report/metrics.h"
#include "nn/module.h"

namespace acinus {

class Run;

// What to minimise: a scalar, from a batch x and its targets t.
using Loss = std::function<Tensor(const Tensor& x, const Tensor& t)>;

struct Task {
  Module& net;
  std::map<std::string, std::string> metadata;  // stored with the network, so that it can be loaded and used
  Score score;                                  // what epochs are compared by
  Findings findings;                            // about the data
  Loss loss;
  // Evaluates the network on the held-out patients: fills in row's val_... and may leave pictures in the run's folder.
  // False if a signal interrupted it.
  std::function<bool(Run& run, EpochRow& row)> validate;
  std::function<void(Report& report)> add_to_report;
};

}  // namespace acinus
