// Background threads draw batches ahead, while the network is busy with earlier ones.
//
//   Loader loader(batches_of(sampler), /*batch=*/16, /*first=*/0, /*end=*/1200, /*threads=*/1);
//   for (int64_t i = 0; i < 1200; i++) { loader.next(x, t);  ... }        batch 0, 1, 2, ..., in order
#pragma once
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "tensor/tensor.h"

namespace acinus {

class Loader {
 public:
  // Draws samples index .. index+n-1. Called by several threads at once, for each batch by one of them.
  using Draw = std::function<void(int64_t index, int64_t n, Tensor& x, Tensor& t)>;
  // Batches first .. end-1; up to threads + 2 of them are drawn, or being drawn, ahead of the one last given.
  Loader(Draw draw, int64_t batch, int64_t first, int64_t end, int threads);
  ~Loader();  // the threads stop once each has drawn its current batch
  // The next batch, on the CPU; waits until it is drawn. Rethrows an exception of the thread that drew it.
  void next(Tensor& x, Tensor& t);
  double waited() const { return waited_; }  // total seconds that next() has waited

 private:
  void work(const std::stop_token& stop);

  struct Batch {
    Tensor x, t;
    std::exception_ptr error;
  };
  const Draw draw_;
  const int64_t batch_, end_, ahead_;
  int64_t to_draw_, to_give_;
  double waited_ = 0;
  std::map<int64_t, Batch> ready_;
  std::mutex mutex_;
  std::condition_variable_any drawn_, taken_;
  std::vector<std::jthread> threads_;  // the last member: they end before what they use
};

// The draws of a Sampler or CropSampler, which must outlive the loader.
template <class S>
Loader::Draw batches_of(const S& sampler) {
  return
      [&sampler](int64_t index, int64_t n, Tensor& x, Tensor& t) { sampler.draw(index, n, x, t, /*parallel=*/false); };
}

}  // namespace acinus
