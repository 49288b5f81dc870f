// What ./train does for each --task. Both return the program's exit code. command: how it was called, for the report.
#pragma once
#include <string>

#include "apps/common/config.h"

namespace acinus {

// --task segment: a U-Net to mark nodules, or what the masks of other images show.
int train_segmenter(Config& config, const Settings& settings, const std::string& command);
// --task classify: a classifier (apps/prediction/classifier.h) to tell nodules from the other places that a U-Net took
// for nodules (false-positive reduction). The same patients are held out as from the U-Net's training.
int train_classifier(Config& config, const Settings& settings, const std::string& command);

}  // namespace acinus
