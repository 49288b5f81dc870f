// ./train --task classify: teaches a classifier (apps/prediction/classifier.h) to tell nodules from the other places that a U-Net
// took for some (false-positive reduction). The same patients are held out as from the U-Net's training.
#pragma once
#include <string>

#include "apps/common/config.h"

namespace acinus {

void train_classifier(Config& config, Settings& settings, const std::string& command);

}  // namespace acinus
