// The .safetensors reader, and a checkpoint's configuration inside.
#include <algorithm>

#include "nn/checkpoint.h"
#include "tensor/io/safetensors.h"
#include "tests/fuzz/fuzz.h"

using namespace acinus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  return fuzz("x.safetensors", bytes, size, [](const std::string& path) {
    const SafeTensors file = read_safetensors(path);
    const std::string copy = fuzz_folder() + "/copy.safetensors";
    const SafeTensors again = must_work("written and read again", [&] {
      write_safetensors(copy, file.tensors, file.metadata);
      return read_safetensors(copy);
    });
    must_hold(again.metadata == file.metadata && again.tensors.size() == file.tensors.size(), "as many tensors");
    for (const auto& [name, tensor] : file.tensors) {
      const Tensor& other = again[name];
      must_hold(other.shape() == tensor.shape() && other.dtype() == tensor.dtype(), "the same shape and type");
      dispatch(tensor.dtype(), [&, &t = tensor](auto zero) {
        using T = decltype(zero);
        const auto count = size_t(t.elements());
        must_hold(count == 0 || std::memcmp(t.data<T>(), other.data<T>(), count * sizeof(T)) == 0, "the same values");
      });
    }
    load_unet(path);
  });
}
