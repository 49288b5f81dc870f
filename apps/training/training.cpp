#include "apps/training/training.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "nn/inspect.h"
#include "optim/adam.h"
#include "optim/sgd.h"
#include "tensor/trace.h"

namespace acinus {

namespace {

const std::string kPrefix = "optimizer.";  // load_state_dict passes over such names

std::unique_ptr<Optimizer> make_optimizer(const Config& c, const Module& net) {
  const auto& t = c.train;
  AdamOptions adam;
  adam.weight_decay = t.weight_decay;
  adam.decoupled = t.optimizer == OptimizerKind::adamw;
  if (t.optimizer != OptimizerKind::sgd) return std::make_unique<Adam>(net.parameters(), adam);
  return std::make_unique<Sgd>(net.parameters(), SgdOptions{t.momentum, /*nesterov=*/t.momentum > 0, t.weight_decay});
}

}  // namespace

std::string to_json(const Progression& p) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const EpochRow& r : p.rows)
    rows.push_back({r.epoch, r.step, r.loss, r.val_dice, r.lr, r.seconds, r.images_per_second, r.loader_wait, r.peak_mb,
                    r.val_loss, r.val_auc});
  return nlohmann::ordered_json{{"epoch", p.epoch},           {"step", p.step},
                                {"loss_sum", p.loss_sum},     {"seconds", p.seconds},
                                {"best_epoch", p.best_epoch}, {"epoch_seconds", p.epoch_seconds},
                                {"epoch_wait", p.epoch_wait}, {"rows", rows}}
      .dump();
}

Progression progression_from_json(const std::string& text, const std::string& source) {
  try {
    const auto j = nlohmann::json::parse(text);
    const auto real = [](const nlohmann::json& n) { return n.is_null() ? NAN : n.get<double>(); };  // null: NaN
    Progression p{j.at("epoch"),      j.at("step"),          j.at("loss_sum"),   j.at("seconds"),
                  j.at("best_epoch"), j.at("epoch_seconds"), j.at("epoch_wait"), {}};
    for (const auto& r : j.at("rows"))
      p.rows.push_back({r.at(0), r.at(1), r.at(2), real(r.at(3)), r.at(4), r.at(5), r.at(6), r.at(7), r.at(8),
                        real(r.at(9)), real(r.at(10))});
    if (p.epoch < 1 || p.epoch > 1000001 || p.step < 0 || int64_t(p.rows.size()) != p.epoch - 1 || p.best_epoch < 0 ||
        p.best_epoch >= p.epoch)
      fail(source, ": its state is that of epoch ", p.epoch, ", step ", p.step, ", with the numbers of ", p.rows.size(),
           " epochs, of which ", p.best_epoch, " was the best");
    return p;
  } catch (const nlohmann::json::exception& e) {
    fail(source, ": its \"train.state\" is damaged, or of another version of ./train: ", e.what());
  }
}

std::string why_stop(const Config& c, double start, int64_t step) {
  if (noted_signal() == SIGINT) return "Ctrl-C";
  if (noted_signal()) return "SIGTERM";
  if (c.limits.minutes > 0 && seconds_now() - start > c.limits.minutes * 60) return "--limits.minutes";
  if (c.limits.steps > 0 && step >= c.limits.steps) return "--limits.steps";
  return "";
}

FolderLock::FolderLock(const std::string& folder) : descriptor_(open(folder.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    fail(folder, ": another ./train is at work in it");
}

FolderLock::~FolderLock() { close(descriptor_); }

Training::Training(const Config& config, Module& net, Loss loss, Device device)
    : config_(config),
      net_(net),
      loss_of_(std::move(loss)),
      device_(device),
      optimizer_(make_optimizer(config, net)),
      ema_(config.train.ema > 0 ? std::make_unique<Ema>(net.state(), config.train.ema) : nullptr),
      in_graphs_(device == Device::cuda && config.train.accumulate == 1 && !ObserverScope::any()) {}

void Training::forward_backward() {
  if (first_) net_.zero_grad(), losses_.clear();
  const double share = 1 / double(config_.train.accumulate);
  Tensor loss = loss_of_(x_, t_);
  if (share != 1) loss = scale(loss, share);
  loss.backward();
  losses_.push_back(loss);
}

void Training::add(const Tensor& x, const Tensor& t) {
  check(!x_ || x_.shape() == x.shape(), "train: a batch ", x.shape(), " after batches ", x_.shape());  // the graph's
  if (!x_) x_ = Tensor(x.shape(), x.dtype(), device_), t_ = Tensor(t.shape(), t.dtype(), device_);
  x_.copy_from(x);
  t_.copy_from(t);
  run(*loss_graph_, [&] { forward_backward(); });
  first_ = false;
}

double Training::loss() const {
  double sum = 0;
  for (const Tensor& loss : losses_) sum += loss.item();
  return sum;
}

double Training::gradient_norm() {
  run(*norm_graph_,
      [&] { norm_ = clip_grad_norm(net_.parameters(), config_.train.clip > 0 ? config_.train.clip : INFINITY); });
  return norm_.item();
}

void Training::update(double lr) {
  optimizer_->learning_rate = lr;
  run(*update_graph_, [&] {
    optimizer_->step();
    if (ema_) ema_->update();
  });
  first_ = true;
}

std::string Training::find_not_finite() try {
  loss_graph_.reset(), norm_graph_.reset(), update_graph_.reset();  // their memory is needed
  first_ = true;
  return first_not_finite(net_, [&] { forward_backward(); });
} catch (const Error& error) {
  return text("not found (", error.what(), ")");
}

std::unique_ptr<EmaScope> Training::averaged() const {
  return ema_ ? std::make_unique<EmaScope>(*ema_) : nullptr;
}

NamedTensors Training::state() const {
  NamedTensors all;
  for (const auto& [name, tensor] : optimizer_->state()) all.emplace_back(kPrefix + name, tensor);
  if (ema_)
    for (const auto& [name, tensor] : ema_->state()) all.emplace_back(kPrefix + name, tensor);
  return all;
}

void Training::load(const SafeTensors& saved) {
  SafeTensors own;
  for (const auto& [name, tensor] : saved.tensors)
    if (name.starts_with(kPrefix)) own.tensors.emplace_back(name.substr(kPrefix.size()), tensor);
  optimizer_->load(own);
  if (ema_) ema_->load(own);
}

}  // namespace acinus
