// Learning-rate schedules: what the learning rate is at a step. Pure functions, so a resumed run needs no state.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "tensor/text.h"

namespace acinus {

struct Schedule {
  enum class Decay { constant, cosine, polynomial };
  double lr = 1e-3;    // after the warm-up
  int64_t warmup = 0;  // steps over which the rate rises in a line from lr / warmup to lr
  int64_t steps = 1;   // in all
  Decay decay = Decay::constant;
  double power = 0.9;         // of the polynomial decay (1 - t)^power
  double final_fraction = 0;  // cosine ends at lr * final_fraction

  // step: 0 .. steps-1
  double at(int64_t step) const {
    if (step < warmup) return lr * double(step + 1) / double(warmup);
    const double t = std::clamp(double(step - warmup) / double(std::max<int64_t>(steps - warmup, 1)), 0.0, 1.0);
    switch (decay) {
      case Decay::cosine:  // (Loshchilov and Hutter 2017)
        return lr * (final_fraction + (1 - final_fraction) * 0.5 * (1 + std::cos(3.141592653589793 * t)));
      case Decay::polynomial:
        return lr * std::pow(1 - t, power);
      case Decay::constant:
        break;
    }
    return lr;
  }
};

inline EnumNames<Schedule::Decay> enum_names(Schedule::Decay) {
  using Decay = Schedule::Decay;
  return {"decay", {{"constant", Decay::constant}, {"cosine", Decay::cosine}, {"polynomial", Decay::polynomial}}};
}

}  // namespace acinus
