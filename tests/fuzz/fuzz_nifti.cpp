// The NIfTI-1 reader, with and without gzip.
#include "data/formats/nifti.h"
#include "tests/fuzz/fuzz.h"

using namespace acinus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  return fuzz("x.nii", bytes, size, [](const std::string& path) {
    const NiftiHeader header = read_nifti_header(path);
    const Image image = read_nifti(path);
    must_hold(int64_t(image.data.size()) == header.bytes(), "as many bytes as the header says");
    const std::string copy = fuzz_folder() + "/copy.nii.gz";
    Image again;
    try {
      write_nifti(copy, image, image.data);
    } catch (const Error&) {
      return;  // geometry that a file may have but that floats cannot hold in our form
    }
    again = must_work("written and read again", [&] { return read_nifti(copy); });
    must_hold(again.data == image.data && again.dims == image.dims && again.type == image.type, "the same values");
    for (size_t i = 0; i < image.direction.size(); i++)
      must_hold(std::abs(again.direction[i] - image.direction[i]) < 1e-4, "the same directions");
  });
}
