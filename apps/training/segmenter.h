// ./train --task segment: teaches a U-Net to mark nodules, or what the masks of other images show.
#pragma once
#include <string>

#include "apps/common/config.h"

namespace acinus {

void train_segmenter(Config& config, Settings& settings, const std::string& command);

}  // namespace acinus
