#include "apps/training/loop.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <thread>

#include "nn/inspect.h"
#include "tensor/memory.h"
#include "tensor/ops.h"
#include "tensor/text.h"

namespace acinus {

// ---- one step -------------------------------------------------------------------------------------------------

Step::Step(Module& net, Loss loss, Optimizer& optimizer, Ema* ema, Options options, Device device)
    : net_(net),
      loss_function_(std::move(loss)),
      optimizer_(optimizer),
      ema_(ema),
      options_(options),
      device_(device) {}

Step::Result Step::operator()(const std::function<void(Tensor& x, Tensor& t)>& next, double lr) {
  std::vector<Tensor> losses;
  for (int64_t batch = 0; batch < options_.batches; batch++) {
    Tensor x, t;
    next(x, t);
    if (!x_) x_ = Tensor(x.shape(), x.dtype(), device_), t_ = Tensor(t.shape(), t.dtype(), device_);
    x_.copy_from(x), t_.copy_from(t);
    gradients_.run([&] {
      if (batch == 0) net_.zero_grad();
      loss_ = loss_function_(x_, t_);
      if (options_.batches > 1) loss_ = scale(loss_, 1 / double(options_.batches));
      loss_.backward();
    });
    losses.push_back(loss_);
  }
  clip_.run([&] { norm_ = clip_grad_norm(net_.parameters(), options_.max_norm); });

  Result result{0, norm_.item()};  // the norm first, so that the CPU waits for the GPU once
  for (const Tensor& loss : losses) result.loss += loss.item();
  if (!result.finite()) return result;

  optimizer_.learning_rate = lr;
  update_.run([&] {
    optimizer_.step();
    if (ema_) ema_->update();
  });
  return result;
}

std::string Step::first_not_finite() try {
  gradients_.reset(), clip_.reset(), update_.reset();  // frees their memory, which this needs
  return acinus::first_not_finite(net_, [&] {
    net_.zero_grad();
    loss_function_(x_, t_).backward();
  });
} catch (const Error& error) {
  return text("not found (", error.what(), ")");
}

// ---- all steps ------------------------------------------------------------------------------------------------

namespace {

int loader_threads(const Config& c, Device device) {
  if (c.train.loaders > 0) return int(c.train.loaders);
  const int cores = int(std::thread::hardware_concurrency());
  return std::clamp(device == Device::cpu ? cores / 8 : cores - 1, 1, 8);
}

[[noreturn]] void fail_not_finite(const Run& run, const Step::Result& result, const std::string& where) {
  const std::string saved = run.config.out + "/last.safetensors";
  fail("step ", run.state.step + 1, ": the loss is ", result.loss, " and the gradient's norm ", result.gradient_norm,
       "; the first number that is not finite: ", where, ". A lower --train.lr or --train.clip 1 may help. ",
       std::filesystem::exists(saved) ? "The last good state is in " + saved : "Nothing was saved");
}

// False: the run is to stop here.
bool train_epoch(Run& run, Step& step, Loader& batches) {
  RunState& at = run.state;
  const Config& c = run.config;
  const int64_t begin = (at.epoch - 1) * run.steps_per_epoch, end = begin + run.steps_per_epoch;
  Progress progress(text("epoch ", at.epoch, "/", c.train.epochs), run.steps_per_epoch);
  memory::reset_peak(run.device);
  run.lap();
  while (run.why_stop().empty()) {
    if (at.step == end) return true;
    const double waited = batches.waited();
    const Step::Result result = step([&](Tensor& x, Tensor& t) { batches.next(x, t); }, run.schedule.at(at.step));
    if (!result.finite()) fail_not_finite(run, result, step.first_not_finite());
    at.step++;
    at.loss_sum += result.loss;
    at.epoch_wait += batches.waited() - waited;
    at.epoch_seconds += run.lap();
    const int64_t done = at.step - begin;
    const double speed = double(done * run.images_per_step()) / at.epoch_seconds;
    progress.update(done, text("loss ", fixed(at.loss_sum / double(done), 4), "  ", fixed(speed, 0), " images/s"));
    run.save_now_and_then();
  }
  return false;
}

// Validates and saves. False: it was interrupted, and is to be done again when the run is resumed.
bool end_epoch(Run& run, const Task& task) {
  const RunState& at = run.state;
  const Config& c = run.config;
  EpochRow row;
  row.epoch = at.epoch, row.step = at.step;
  row.loss = at.loss_sum / double(run.steps_per_epoch);
  row.lr = run.schedule.at(at.step - 1);
  row.seconds = at.epoch_seconds;
  row.images_per_second = double(run.steps_per_epoch * run.images_per_step()) / row.seconds;
  row.loader_wait = at.epoch_wait / row.seconds;
  if (row.epoch == c.train.epochs || row.epoch % c.train.validate_every == 0) {
    std::optional<EmaScope> averaged;
    if (run.ema) averaged.emplace(*run.ema);
    if (!task.validate(run, row)) return false;
    run.save_if_best(row);
  }
  row.peak_mb = double(memory::stats(run.device).peak >> 20);
  run.end_epoch(row);
  return true;
}

}  // namespace

bool train(Run& run, const Task& task, Loader::Draw draw) {
  const auto& options = run.config.train;
  Step step(task.net, task.loss, *run.optimizer, run.ema.get(),
            {options.accumulate, options.clip > 0 ? options.clip : INFINITY}, run.device);
  Loader batches(std::move(draw), options.batch, run.state.step * options.accumulate,
                 options.epochs * run.steps_per_epoch * options.accumulate, loader_threads(run.config, run.device));
  while (!run.is_over())
    if (!train_epoch(run, step, batches) || !end_epoch(run, task)) return false;
  return true;
}

}  // namespace acinus
