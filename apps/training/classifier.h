// ./train --task classify: trains a classifier (apps/prediction/classifier.h) to tell nodules from the other places that
// a U-Net took for nodules (false-positive reduction). The same patients are held out as from the U-Net's training.
#pragma once
#include <string>

#include "apps/common/config.h"

namespace acinus {

// Returns the program's exit code. command: how it was called, for the report.
int train_classifier(Config& config, const Settings& settings, const std::string& command);

}  // namespace acinus
