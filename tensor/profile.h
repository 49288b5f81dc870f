// Where the time goes: by op, pass, output shape and part of the network.
//
//   Profile profile;
//   ... training steps ...
//   std::cerr << profile_table(profile.rows());
//
// The events of trace.h cut the time of the thread that made the profile into stretches, and each stretch is one
// row's: up to `forward`, the op's forward pass; from `gradient` to `backward`, its backward pass; all else is "outside
// the ops". So the rows add up to the time that has passed. An op has no event where it begins: what runs right before
// it counts as the op's, unless that is a ProfileScope or a Scope begins in between, as in every layer. An op's time includes
// waiting for the threads that help it; a network that runs in another thread is not seen.
#pragma once
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
  std::vector<ProfileRow> rows();  // up to now, the longest first

 private:
  ProfileRow& row(const Event& event, const char* pass);
  void charge(ProfileRow& row);  // with the time since the last event
  void see(const Event& event);

  std::map<std::tuple<std::string, std::string, std::string, std::string>, ProfileRow> rows_;
  ProfileRow outside_;
  std::vector<ProfileRow*> running_{&outside_};  // backward passes: one may run a network of its own
  double last_;
  ObserverScope observer_;  // goes first, as it calls the rest
};

// Two tables, no line longer than 100 columns: the rows that took longest, the others as one; then a row for each op.
// "Accounted for" is all but what was outside the ops.
std::string profile_table(const std::vector<ProfileRow>& rows);

}  // namespace acinus
