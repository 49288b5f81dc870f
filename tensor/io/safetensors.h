// Files of named tensors in the safetensors format, which PyTorch, JAX and others read too:
//
//   8 bytes: header length n, little-endian | n bytes of JSON | the elements of all tensors, C order
//   {"__metadata__":{"format":"pt"}, "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}, ...}
//
// Source: the format's README and safetensors/src/tensor.rs of huggingface/safetensors, whose limits are enforced.
#pragma once
#include <map>
#include <string>

#include "tensor/tensor.h"

namespace acinus {

struct SafeTensors {
  NamedTensors tensors;                                     // in the order of their data in the file
  std::map<std::string, std::string> metadata;              // "__metadata__"
  const Tensor& operator[](const std::string& name) const;  // Error if there is none of this name
  bool contains(const std::string& name) const;
};

// F32 and F64 are read as they are, F16 and BF16 as float32, integers and BOOL as float64 (exact up to 2^53).
// Throws Error, naming the file and the tensor, on anything the format forbids: a header of over 100 MB, doubled
// names, data that overlap, leave holes or end elsewhere than the file, shapes that do not match their bytes.
SafeTensors read_safetensors(const std::string& path);

// Written beside and renamed: the file is there whole or not at all. Float32 is written as F32, float64 as F64.
void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace acinus
