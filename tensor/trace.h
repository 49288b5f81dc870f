// What is running: the part of the network (Scope), what happens in it (Event), and the callbacks for it (Observer). The
// profile (profile.h), the model summary and the search for the first NaN (nn/inspect.h) are observers.
#pragma once
#include <functional>
#include <string>

#include "tensor/scoped_value.h"

namespace acinus {

class Tensor;

// Names the part of the network that runs, for messages and tables: encoder.2.conv1
struct Scope : ScopedValue<std::string> {
  explicit Scope(const std::string& name, const std::string& parent = current());
  static const std::string& current();
};

enum class When {
  begins,    // a Scope or a ProfileScope begins: what ran since the last event was not an op
  forward,   // an op has computed its output, `result`
  gradient,  // backward() is about to call an op; `result` is the gradient of its output
  backward,  // ... and the op has returned
  work       // a ProfileScope ends
};
struct Event {
  When when;
  const char* op;            // or the name of the ProfileScope
  const std::string& scope;  // the part of the network
  const Tensor* result = nullptr;
};
void notify(const Event& event);  // tells every observer of this thread

using Observer = std::function<void(const Event&)>;  // must not throw: it is called from destructors

// During the life of this object the observer gets all events of its thread, in addition to the observers that exist
// already. A local variable, or a member of one: the newest must be destroyed first.
struct ObserverScope : ScopedValue<ObserverScope*> {
  explicit ObserverScope(Observer observer);
  static bool any();  // does this thread have an observer?
  const Observer observer;
};

// Names work that is not an op, such as an optimiser's step, for the profile.
class ProfileScope {
 public:
  explicit ProfileScope(const char* name);
  ~ProfileScope();
  ProfileScope(const ProfileScope&) = delete;

 private:
  const char* const name_;
};

}  // namespace acinus
