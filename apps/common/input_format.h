// What a network was trained to see. It is stored in the metadata of the network's file, so that nothing else is needed
// to use it.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "data/dataset/scan.h"
#include "tensor/text.h"

namespace acinus {

using Metadata = std::map<std::string, std::string>;

struct InputFormat {
  int64_t planes = 3;    // neighbouring slices as channels
  int64_t channels = 1;  // of each plane: 3 for colour pictures
  HuWindow window = {};
  double threshold = 0.5;             // on the probability, for the mask
  bool lungs = false;                 // nothing is predicted outside the lungs
  double pixel_mm = 0, slice_mm = 0;  // median spacing of the training scans; 0 for images and masks

  bool of_scans() const { return lungs || pixel_mm > 0; }  // trained to find nodules, not for another task
};
Metadata to_metadata(const InputFormat& format);
// An Error if an entry is missing or makes no sense; `source` is the file's name, for the message.
InputFormat input_format(const Metadata& metadata, const std::string& source);

// Reads the number stored under `key`.
template <class T>
void read_number(const Metadata& metadata, const std::string& key, const std::string& source, T& value) {
  const auto entry = metadata.find(key);
  if (entry == metadata.end() || !parse(entry->second, value))
    fail(source, ": \"", key, "\" is missing from its metadata or not a number; it was not written by ./train");
}

}  // namespace acinus
