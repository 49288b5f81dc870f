#include "apps/common/input_format.h"

#include <cmath>

namespace acinus {

Metadata to_metadata(const InputFormat& format) {
  return {{"input.planes", std::to_string(format.planes)},     {"input.hu_low", shortest(format.window.low)},
          {"input.hu_high", shortest(format.window.high)},     {"input.threshold", shortest(format.threshold)},
          {"input.channels", std::to_string(format.channels)}, {"input.lungs", format.lungs ? "1" : "0"},
          {"input.pixel_mm", shortest(format.pixel_mm)},       {"input.slice_mm", shortest(format.slice_mm)}};
}

InputFormat input_format(const Metadata& metadata, const std::string& source) {
  const auto read = [&](const char* key, auto& value) { read_number(metadata, key, source, value); };
  InputFormat format;
  int64_t lungs = 0;
  read("input.planes", format.planes);
  read("input.channels", format.channels);
  read("input.hu_low", format.window.low);
  read("input.hu_high", format.window.high);
  read("input.threshold", format.threshold);
  read("input.lungs", lungs);
  format.lungs = lungs != 0;
  if (metadata.contains("input.pixel_mm")) {  // not in older files
    read("input.pixel_mm", format.pixel_mm);
    read("input.slice_mm", format.slice_mm);
  }
  const auto& [low, high] = format.window;
  if (format.planes < 1 || format.planes > 31 || format.planes % 2 == 0 || format.channels < 1 || format.channels > 4 ||
      !(format.pixel_mm >= 0 && format.slice_mm >= 0) || !(high > low) || !std::isfinite(high - low) ||
      !(format.threshold >= 0 && format.threshold <= 1))
    fail(source, ": invalid metadata: ", format.planes, " planes, window ", low, " to ", high, " HU, threshold ",
         format.threshold);
  return format;
}

}  // namespace acinus
