// Training, step by step, and all of its state: what a run that is killed and resumed needs to go on bit for bit.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "apps/common/config.h"
#include "apps/training/metrics.h"
#include "nn/module.h"
#include "optim/ema.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "tensor/cuda/graph.h"

namespace acinus {

// Where a run is. Together with the network, the optimiser and the averages it is all that changes: batches, their
// augmentation and the learning rate are functions of the seed and the step.
struct Progression {
  int64_t epoch = 1, step = 0;               // of all epochs together; the epoch that is under way
  double loss_sum = 0, seconds = 0;          // of this epoch's steps; since the start, before this part of the run
  int64_t best_epoch = 0;                    // 0: none was validated so far
  double epoch_seconds = 0, epoch_wait = 0;  // of this epoch, before this part of the run
  std::vector<EpochRow> rows;
};
std::string to_json(const Progression& progression);
Progression progression_from_json(const std::string& text, const std::string& source);

// Why a run that began at `start` (seconds_now()) and has made `step` steps is to stop here, or "".
std::string why_stop(const Config& config, double start, int64_t step);

// Keeps a second program out of a run's folder while this one is at it.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

// On the GPU a step is recorded as graphs; between them the CPU looks at the loss. Not where several batches add to the
// gradients: each would need a graph of its own, and all graphs find the gradients where they were at the recording.
class Training {
 public:
  using Loss = std::function<Tensor(const Tensor& x, const Tensor& t)>;
  Training(const Config& config, Module& net, Loss loss, Device device);

  // Adds a batch to the step: asks for its loss and gradients. The GPU is at it when this returns.
  void add(const Tensor& x, const Tensor& t);
  // After the step's batches: the loss, a mean over these, and the norm of all gradients.
  double loss() const;
  double gradient_norm();
  void update(double lr);
  std::string find_not_finite();  // which op, layer and pass made the first number that is not finite

  // Holds the averages in the network, where there are any, while it is judged and saved as the best.
  std::unique_ptr<EmaScope> averaged() const;
  // The optimiser's state, and the averages, as tensors named optimizer.<name>.
  NamedTensors state() const;
  void load(const SafeTensors& saved);

 private:
  void forward_backward();
  void run(cuda::Graph& graph, const std::function<void()>& work) { in_graphs_ ? graph.run(work) : work(); }

  const Config& config_;
  Module& net_;
  Loss loss_of_;
  Device device_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Ema> ema_;
  bool in_graphs_;
  Tensor x_, t_, norm_;
  std::vector<Tensor> losses_;
  bool first_ = true;  // of the step's batches
  std::unique_ptr<cuda::Graph> loss_graph_ = std::make_unique<cuda::Graph>(),
                               norm_graph_ = std::make_unique<cuda::Graph>(),
                               update_graph_ = std::make_unique<cuda::Graph>();
};

}  // namespace acinus
