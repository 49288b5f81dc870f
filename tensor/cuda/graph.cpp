#include "tensor/cuda/graph.h"

#include "tensor/cuda/device.h"

namespace acinus::cuda {

static std::vector<std::function<void()>>* preparations_of_recorded = nullptr;

void before_each_run(std::function<void()> prepare) {
  preparations_of_recorded ? preparations_of_recorded->push_back(std::move(prepare)) : prepare();
}

Graph::Graph(Device device) : state_(device == Device::cuda ? std::make_unique<State>() : nullptr) {}

void Graph::reset() {
  if (state_) state_ = std::make_unique<State>();
}

void Graph::run(const std::function<void()>& work) {
  if (!state_ || synchronize_each) return work();  // a failure within a replay would have no name
  check(!recording_graph, "a Graph runs within another Graph that is being recorded; run one after the other");
  State& s = *state_;
  if (!s.replay) {
    const memory::PoolScope in_pool(s.pool);
    if (!s.has_run) {
      work();
      s.has_run = true;
      return;
    }
    s.preparations.clear();
    const ScopedValue<std::vector<std::function<void()>>*> now(preparations_of_recorded, &s.preparations);
    s.replay = record(work);
  }
  for (const auto& prepare : s.preparations) prepare();
  s.replay();
}

}  // namespace acinus::cuda
