#include "data/sampling/loader.h"

#include <chrono>
#include <utility>

#include "tensor/check.h"

namespace acinus {

Loader::Loader(Draw draw, int64_t batch, int64_t first, int64_t end, int threads)
    : draw_(std::move(draw)), batch_(batch), end_(end), ahead_(threads + 2), to_draw_(first), to_give_(first) {
  check(threads >= 1 && batch >= 1 && first >= 0, "Loader: ", threads, " threads, batches of ", batch, " from ", first);
  for (int i = 0; i < threads; i++) threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
}

Loader::~Loader() {
  for (std::jthread& thread : threads_) thread.request_stop();
}

void Loader::work(const std::stop_token& stop) {
  const auto may_draw = [&] { return to_draw_ < to_give_ + ahead_; };
  std::unique_lock lock(mutex_);
  while (taken_.wait(lock, stop, may_draw) && !stop.stop_requested() && to_draw_ < end_) {
    const int64_t index = to_draw_++;
    lock.unlock();
    Batch batch;
    try {
      draw_(index * batch_, batch_, batch.x, batch.t);
    } catch (...) {
      batch.error = std::current_exception();
    }
    lock.lock();
    ready_[index] = std::move(batch);
    drawn_.notify_all();
  }
}

void Loader::next(Tensor& x, Tensor& t) {
  check(to_give_ < end_, "Loader: no batch is left");
  const auto begin = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  drawn_.wait(lock, [&] { return ready_.contains(to_give_); });
  const Batch batch = std::move(ready_.at(to_give_));
  ready_.erase(to_give_++);
  lock.unlock();
  taken_.notify_all();
  waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (batch.error) std::rethrow_exception(batch.error);
  x = batch.x, t = batch.t;
}

}  // namespace acinus
