#include "tensor/trace.h"

namespace acinus {
namespace {

// Each thread's own, so that two networks may run in two threads.
thread_local std::string scope_name;
thread_local ObserverScope* newest_observer = nullptr;

}  // namespace

Scope::Scope(const std::string& name, const std::string& parent)
    : ScopedValue(scope_name, parent.empty() ? name : parent + '.' + name) {
  notify({When::begins, "", scope_name});
}
const std::string& Scope::current() { return scope_name; }

void notify(const Event& event) {
  for (const ObserverScope* o = newest_observer; o; o = o->before()) o->observer(event);
}

ObserverScope::ObserverScope(Observer observer) : ScopedValue(newest_observer, this), observer(std::move(observer)) {}
bool ObserverScope::any() { return newest_observer != nullptr; }

ProfileScope::ProfileScope(const char* name) : name_(name) { notify({When::begins, name, scope_name}); }
ProfileScope::~ProfileScope() { notify({When::work, name_, scope_name}); }

}  // namespace acinus
