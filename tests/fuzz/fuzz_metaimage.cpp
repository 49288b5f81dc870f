// The MetaImage reader. The input is the header, and values that may follow in the same file; in the same folder are data
// files that it may name: a.raw, a1.raw .. a3.raw and a.zraw (see seeds.cpp).
#include "data/formats/metaimage.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/seeds.h"

using namespace acinus;

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  for (const auto& [name, bytes] : metaimage_data_files()) fuzz_file(name, bytes.data(), bytes.size());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  return fuzz("x.mha", bytes, size, [](const std::string& path) {
    const MetaHeader header = read_metaimage_header(path);
    const MetaImage image = read_metaimage(path);
    must_hold(int64_t(image.data.size()) == header.bytes(), "as many bytes as the header says");
    const int64_t last = header.dims.back() - 1;
    const MetaImage slice = must_work("the last slice", [&] { return read_slices(header, last, last + 1); });
    must_hold(std::memcmp(slice.data.data(), image.data.data() + image.data.size() - slice.data.size(),
                          slice.data.size()) == 0,
              "a slice read alone is that of the whole");
    const std::string copy = fuzz_folder() + "/copy.mha";
    const MetaImage again = must_work("written and read again", [&] {
      write_metaimage(copy, image, image.data, /*compressed=*/true, image.extra);
      return read_metaimage(copy);
    });
    must_hold(again.data == image.data && again.dims == image.dims && again.type == image.type, "the same values");
    must_hold(again.spacing == image.spacing && again.origin == image.origin && again.direction == image.direction,
              "the same geometry");
    must_hold(again.extra == image.extra, "the same extra keys");
  });
}
