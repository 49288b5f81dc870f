#include "tensor/autograd.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <unordered_set>

#include "tensor/trace.h"

namespace acinus {

// A recorded op: whose gradients it can compute, and how.
struct Node {
  const char* op;
  std::string scope;
  int64_t recorded;  // when, on the clock of Storage
  Inputs inputs;
  Backward backward;
};

struct GradSlot {
  Shape shape;
  bool leaf;  // a parameter: its gradient is kept for the optimiser
  bool from_relu = false, masked = false;
  Tensor grad;
  std::unique_ptr<Node> node;  // the op that made the tensor; empty for a leaf, and after backward()
  bool freed = false;          // backward() has run and freed the node

  GradSlot(const Shape& shape, bool leaf) : shape(shape), leaf(leaf) {}
  ~GradSlot();
};

namespace {
// Each thread's own, so that two networks may run in two threads.
thread_local bool recording = true;
thread_local const Node* running = nullptr;  // the op whose backward is being called

int64_t tick() {
  static std::atomic<int64_t> clock = 0;
  return ++clock;
}
}  // namespace

// Access to the private members of the handles.
struct Autograd {
  static auto& slot(auto& t) { return t.slot_; }  // of a Tensor or an Input
  static Storage& storage(const Tensor& t) { return *t.storage_; }
};

// A graph is as deep as the network has ops. Left to themselves the destructors would call each other that deep and
// overflow the stack; so a dying slot takes what its node points at into a list, and empties the list one by one.
GradSlot::~GradSlot() {
  std::vector<std::shared_ptr<GradSlot>> pending;
  const auto free_node = [&](GradSlot& slot) {
    if (!slot.node) return;
    for (Input& in : slot.node->inputs) pending.push_back(std::move(Autograd::slot(in)));
    slot.node.reset();
  };
  free_node(*this);
  while (!pending.empty()) {
    const std::shared_ptr<GradSlot> slot = std::move(pending.back());
    pending.pop_back();
    if (slot.use_count() == 1) free_node(*slot);  // ours is the last handle: it dies at the end of this turn
  }
}

// ---- recording ------------------------------------------------------------------------------------------------

Tensor record(const char* op, Tensor y, const std::vector<Tensor>& inputs, Backward backward, bool from_relu) {
  notify({When::forward, op, Scope::current(), &y});
  if (!recording || std::ranges::none_of(inputs, &Tensor::needs_grad)) return y;
  auto node = std::make_unique<Node>(Node{op, Scope::current(), tick(), {}, std::move(backward)});
  for (const Tensor& x : inputs) node->inputs.emplace_back(Autograd::slot(x));
  y = y.detach();
  Autograd::slot(y) = std::make_shared<GradSlot>(y.shape(), /*leaf=*/false);
  Autograd::slot(y)->node = std::move(node);
  Autograd::slot(y)->from_relu = from_relu;
  return y;
}

NoGrad::NoGrad() : ScopedValue(recording, false) {}
bool NoGrad::is_on() { return !recording; }
EnableGrad::EnableGrad() : ScopedValue(recording, true) {}

// ---- what was overwritten -------------------------------------------------------------------------------------
// Storage knows when it was created and when it was last overwritten in place. A backward that reads elements which existed
// when its op was recorded, and have been overwritten since, would compute a wrong gradient.

Storage::Storage(std::shared_ptr<void> memory) : memory(std::move(memory)), created(tick()) {}

void Tensor::mark_overwritten() const { storage_->overwritten = tick(); }

void Tensor::check_not_overwritten() const {
  if (!running || storage_->created > running->recorded || storage_->overwritten < running->recorded) return;
  fail("backward of ", running->op, running->scope.empty() ? "" : " in ", running->scope, ": it needs a tensor ",
       shape_, " that was overwritten after the forward pass; overwrite it (copy_from, an optimiser's step) after ",
       "backward(), or give the op a clone()");
}

// Gradients are added to in place, and scaled by clipping: that overwrites nothing a backward would need. So they count
// as created after every op, and check_not_overwritten() lets them pass.
static void may_be_overwritten(const Tensor& gradient) {
  Autograd::storage(gradient).created = std::numeric_limits<int64_t>::max();
}

// ---- gradients ------------------------------------------------------------------------------------------------

Tensor& Tensor::requires_grad(bool on) {
  slot_ = on ? std::make_shared<GradSlot>(shape_, /*leaf=*/true) : nullptr;
  return *this;
}

Tensor Tensor::grad() const {
  check(needs_grad(), "grad: this tensor ", shape_, " does not collect a gradient; call requires_grad() on it first");
  return slot_->grad;
}

bool Tensor::is_leaf() const { return !slot_ || slot_->leaf; }

void Tensor::set_grad(const Tensor& grad) {
  check(needs_grad(), "set_grad: this tensor ", shape_, " does not collect a gradient; call requires_grad() first");
  check(!grad || grad.shape() == shape_, "set_grad: gradient ", grad.shape(), " for a tensor ", shape_);
  if (grad) {
    check_same_kind("set_grad", {this, &grad});
    may_be_overwritten(grad);
  }
  slot_->grad = grad;
}

bool Input::from_relu() const { return slot_ && slot_->from_relu; }

void Input::add_grad(Tensor gradient, bool masked) {
  if (!slot_) return;
  check(gradient.shape() == slot_->shape, "add_grad: gradient ", gradient.shape(), " for an input ", slot_->shape);
  Tensor& grad = slot_->grad;
  slot_->masked = masked && (!grad || slot_->masked);
  if (!grad) {
    // The first contribution is stored as it is. A leaf gets elements of its own, since its gradient may be scaled in place.
    grad = slot_->leaf && !gradient.is_unique() ? gradient.clone() : std::move(gradient);
  } else {
    check_same_kind("add_grad", {&grad, &gradient});
    if (!grad.is_unique()) grad = grad.clone();  // two inputs were given the same gradient: leave the other's alone
    grad.accumulate(gradient);
  }
  may_be_overwritten(grad);
}

Tensor Input::grad_buffer(bool masked) const {
  if (!slot_ || !slot_->grad.is_unique()) return {};
  slot_->masked = slot_->masked && masked;
  return slot_->grad;
}

void Tensor::backward() const {
  check(elements() == 1, "backward: starts from a scalar such as a loss, not from shape ", shape_);
  backward(Tensor::full(shape_, 1, dtype_, device_));
}

void Tensor::backward(Tensor gradient) const {
  check(needs_grad(), "backward: nothing that led to this tensor collects a gradient");
  check_same_kind("backward", {this, &gradient});
  check(gradient.shape() == shape_, "backward: gradient ", gradient.shape(), " for a tensor ", shape_);

  // All that led to this tensor.
  std::vector<std::shared_ptr<GradSlot>> order{slot_};
  std::unordered_set<GradSlot*> seen{slot_.get()};
  for (size_t i = 0; i < order.size(); i++) {
    check(!order[i]->freed,  // its gradient would go no further, and be lost
          "backward: the graph was freed by an earlier backward(); compute the loss again, or detach() what is to be ",
          "used again");
    if (!order[i]->node) continue;
    for (Input& in : order[i]->node->inputs)
      if (in.needs_grad() && seen.insert(Autograd::slot(in).get()).second) order.push_back(Autograd::slot(in));
  }
  // The latest op last, where it is taken first: all that use an op's output were recorded after it, so the gradient of
  // its output is complete when its turn comes.
  std::erase_if(order, [](const auto& slot) { return !slot->node; });
  std::ranges::sort(order, {}, [](const auto& slot) { return slot->node->recorded; });

  NoGrad no_grad;
  Input(slot_).add_grad(std::move(gradient));
  while (!order.empty()) {
    const std::shared_ptr<GradSlot> slot = std::move(order.back());
    order.pop_back();
    const std::unique_ptr<Node> node = std::move(slot->node);  // freed at the end of this turn, with what it captured
    slot->freed = true;
    Tensor dy = std::move(slot->grad);
    slot->grad = Tensor();
    if (!dy) continue;
    notify({When::gradient, node->op, node->scope, &dy});
    const struct Done {  // also if the op throws
      const Node& node;
      ~Done() { notify({When::backward, node.op, node.scope}); }
    } done{*node};
    const ScopedValue<const Node*> now(running, node.get());
    node->inputs.masked = slot->masked;
    node->backward(std::move(dy), node->inputs);
  }
}

}  // namespace acinus
