// The .png reader: stb_image behind checks of our own.
#include "data/formats/png.h"
#include "tests/fuzz/fuzz.h"

using namespace acinus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  return fuzz("x.png", bytes, size, [](const std::string& path) {
    const Picture picture = read_png(path);
    must_hold(int64_t(picture.pixels.size()) == int64_t(picture.width) * picture.height * picture.channels,
              "as many pixels as the header says");
    if (picture.pixels.size() > 1 << 16) return;  // writing takes its time
    const std::string copy = fuzz_folder() + "/copy.png";
    const Picture again = must_work("written and read again", [&] {
      write_png(copy, picture);
      return read_png(copy);
    });
    must_hold(again.pixels == picture.pixels && again.width == picture.width && again.channels == picture.channels,
              "the same picture");
  });
}
