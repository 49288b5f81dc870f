#include "data/sampling/augment.h"

#include <algorithm>

#include "tensor/check.h"

namespace acinus {

namespace {

struct Limits {
  const char* name;
  RandomChange AugmentOptions::*change;
  double min, max;  // of its parameter
};
constexpr Limits kChanges[] = {
    {"rotate", &AugmentOptions::rotate, -360, 360},
    {"zoom", &AugmentOptions::zoom, 0.25, 4},
    {"elastic", &AugmentOptions::elastic, 0, 7.8},
    {"noise", &AugmentOptions::noise, 0, 1},
    {"blur", &AugmentOptions::blur, 0.1, 1.5},
    {"brightness", &AugmentOptions::brightness, 0, 10},
    {"contrast", &AugmentOptions::contrast, 0, 10},
    {"low_resolution", &AugmentOptions::low_resolution, 0.01, 1},
    {"gamma_of_inverse", &AugmentOptions::gamma_of_inverse, 0.1, 10},
    {"gamma", &AugmentOptions::gamma, 0.1, 10},
};

void check_change(const char* name, const RandomChange& change, double min, double max) {
  check(change.probability >= 0 && change.probability <= 1, "augmentation: ", name, " has the probability ",
        change.probability, "; it must be between 0 and 1");
  check(min <= change.low && change.low <= change.high && change.high <= max, "augmentation: ", name, " from ",
        change.low, " to ", change.high, ": must be a range between ", min, " and ", max);
}

}  // namespace

AugmentOptions no_augmentation() {
  AugmentOptions none;
  none.mirror = 0;
  for (const Limits& limits : kChanges) (none.*limits.change).probability = 0;
  return none;
}

bool is_enabled(const AugmentOptions& options) {
  return options.mirror > 0 ||
         std::ranges::any_of(kChanges, [&](const Limits& limits) { return (options.*limits.change).probability > 0; });
}

void check_options(const AugmentOptions& options) {
  check_change("mirror", {options.mirror, 0, 0}, 0, 0);
  for (const auto& [name, change, min, max] : kChanges) check_change(name, options.*change, min, max);
}

bool draw_change(const RandomChange& change, Random& random, double& parameter) {
  const double u = random.uniform();
  parameter = random.uniform(change.low, change.high);
  return u < change.probability;
}

}  // namespace acinus
