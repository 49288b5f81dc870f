// The .npy reader.
#include "data/formats/npy.h"
#include "tests/fuzz/fuzz.h"

using namespace acinus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  return fuzz("x.npy", bytes, size, [](const std::string& path) {
    const NpyArray array = read_npy(path);
    const std::string copy = fuzz_folder() + "/copy.npy";
    const NpyArray again = must_work("written and read again", [&] {
      write_npy(copy, array);
      return read_npy(copy);
    });
    must_hold(again.type == array.type && again.shape == array.shape && again.data == array.data, "the same array");
    with_type(array.type, [&](auto zero) {
      must_hold(int64_t(array.values<decltype(zero)>().size()) == array.size(), "as many values as the shape says");
    });
  });
}
