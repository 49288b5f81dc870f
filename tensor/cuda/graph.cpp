#include "tensor/cuda/graph.h"

#include <vector>

#include "tensor/cuda/device.h"
#include "tensor/cuda/queue.h"
#include "tensor/memory.h"

namespace acinus::cuda {

struct Graph::State {
  memory::Pool pool = memory::make_pool(Device::cuda);
  int runs = 0;
  std::vector<std::function<void()>> preparations;
  std::unique_ptr<Recording> recording;

  void run(const std::function<void()>& work);
};

static std::vector<std::function<void()>>* preparations_of_recorded = nullptr;

void before_each_run(std::function<void()> prepare) {
  if (preparations_of_recorded)
    preparations_of_recorded->push_back(std::move(prepare));
  else
    prepare();
}

void Graph::State::run(const std::function<void()>& work) {
  if (sync_each) return work();  // a failure within a replay would have no name
  if (runs < 2) {
    const memory::PoolScope in_pool(pool);
    if (runs == 0) {
      work();
    } else {
      preparations.clear();
      const ScopedValue<std::vector<std::function<void()>>*> now(preparations_of_recorded, &preparations);
      recording = record(work);
    }
  }
  if (runs > 0) {
    for (const auto& prepare : preparations) prepare();
    recording->replay();
  }
  runs++;
}

Graph::Graph(Device device) : state_(device == Device::cuda ? std::make_unique<State>() : nullptr) {}
Graph::~Graph() = default;
void Graph::run(const std::function<void()>& work) { state_ ? state_->run(work) : work(); }
void Graph::reset() {
  if (state_) state_ = std::make_unique<State>();
}

}  // namespace acinus::cuda
