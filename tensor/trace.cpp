#include "tensor/trace.h"

namespace acinus {
namespace {

// Each thread's own, so that two networks may run in two threads.
thread_local std::string scope_name;
thread_local ObserverScope* newest_observer = nullptr;

}  // namespace

Scope::Scope(const std::string& name, const std::string& parent)
    : name_(scope_name, parent.empty() ? name : parent + '.' + name) {
  notify({When::begins, "", scope_name});
}
const std::string& Scope::current() { return scope_name; }

void notify(const Event& event) {
  for (ObserverScope* o = newest_observer; o; o = o->newest_.before()) o->observer_(event);
}

ObserverScope::ObserverScope(Observer observer) : observer_(std::move(observer)), newest_(newest_observer, this) {}
bool ObserverScope::any() { return newest_observer != nullptr; }

ProfileScope::ProfileScope(const char* name) : name_(name) { notify({When::begins, name, scope_name}); }
ProfileScope::~ProfileScope() { notify({When::work, name_, scope_name}); }

}  // namespace acinus
