// ./train --task segment: trains a U-Net to mark nodules, or what the masks of other images show.
#pragma once
#include <string>

#include "apps/common/config.h"

namespace acinus {

// Returns the program's exit code. command: how it was called, for the report.
int train_segmenter(Config& config, const Settings& settings, const std::string& command);

}  // namespace acinus
