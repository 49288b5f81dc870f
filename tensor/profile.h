// Where the time goes: by op, pass, output shape and part of the network.
//
//   Profile profile;
//   ... training steps ...
//   std::cerr << profile_table(profile.rows());
//
// The events of trace.h divide the time of the thread that made the profile into intervals, and each is charged to one row:
// the time up to `forward` to the op's forward pass, from `gradient` to `backward` to its backward pass, all else to
// "outside the ops". So the rows add up to the time that has passed. An op has no event when it begins: what runs just
// before it is charged to it, unless that is a ProfileScope, or a Scope begins in between, as in every layer. An op's time
// includes waiting for other threads that work on it; networks that run in other threads are not seen.
#pragma once
#include <chrono>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "tensor/trace.h"

namespace acinus {

struct ProfileRow {
  std::string op, pass, shape, scope;  // pass: fwd, bwd, or "" for a ProfileScope and outside the ops
  int64_t calls = 0;
  double seconds = 0;
};

class Profile {
 public:
  Profile();
  std::vector<ProfileRow> rows();  // up to now, the slowest first

 private:
  ProfileRow& row(const Event& event, const char* pass);
  void charge(ProfileRow& row);  // the time since the last event
  void see(const Event& event);

  std::map<std::tuple<std::string, std::string, std::string, std::string>, ProfileRow> rows_;
  ProfileRow outside_;
  std::vector<ProfileRow*> running_{&outside_};  // backward passes are nested where one runs a network of its own
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  ObserverScope observer_;  // destroyed first, since it calls the rest
};

// Two tables of at most 100 columns: the slowest rows, with the others in one; then a row for each op. "Accounted for" is
// everything but "outside the ops".
std::string profile_table(const std::vector<ProfileRow>& rows);

}  // namespace acinus
