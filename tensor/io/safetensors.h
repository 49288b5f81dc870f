// Files of named tensors in the safetensors format, which PyTorch, JAX and others read as well:
//
//   8 bytes: header length n, little-endian | n bytes of JSON | the elements of all tensors, C order
//   {"__metadata__":{"format":"pt"}, "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}, ...}
//
// Source: the format's README and safetensors/src/tensor.rs of huggingface/safetensors, whose limits are enforced.
#pragma once
#include <functional>
#include <map>
#include <string>

#include "tensor/tensor.h"

namespace acinus {

struct SafeTensors {
  NamedTensors tensors;                                     // in the order of their data in the file
  std::map<std::string, std::string> metadata;              // "__metadata__"
  const Tensor& operator[](const std::string& name) const;  // Error if there is no such name
  bool contains(const std::string& name) const;
  // Compared with what was expected: a line for each tensor that is missing, of another shape, or unexpected, which a name
  // can be for which `concerns` is true. Empty if there is none.
  std::string differences(const NamedTensors& expected,
                          const std::function<bool(const std::string& name)>& concerns) const;
};

// F32 and F64 are read as they are, F16 and BF16 as float32, integers and BOOL as float64 (exact up to 2^53).
// Throws Error, naming the file and the tensor, on anything the format forbids: a header of more than 100 MB, duplicate
// names, data that overlap, have gaps or do not end with the file, shapes that do not match the number of bytes.
SafeTensors read_safetensors(const std::string& path);

// The file appears completely or not at all (AtomicFile). Each tensor is written in its own type: F32, F64 or BF16.
void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace acinus
