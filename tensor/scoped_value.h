// Sets a variable for the life of a scope; the old value returns at its end. NoGrad, Scope and their like are made of it.
//
//   struct NoGrad : ScopedValue<bool> {
//     NoGrad() : ScopedValue(recording, false) {}     // recording is a thread_local variable
//   };
#pragma once
#include <utility>

namespace acinus {

template <class T>
class ScopedValue {
 public:
  ScopedValue(T& variable, T value) : variable_(variable), before_(std::exchange(variable, std::move(value))) {}
  ~ScopedValue() { variable_ = std::move(before_); }
  ScopedValue(const ScopedValue&) = delete;
  const T& before() const { return before_; }

 private:
  T& variable_;
  T before_;
};

}  // namespace acinus
