// Where networks and scans meet: a U-Net run over a whole scan, and what comes out judged.
#pragma once
#include <functional>
#include <string>

#include "data/dataset.h"
#include "nn/checkpoint.h"

namespace acinus {

// What a network was trained to see; stored in the metadata of its file.
struct InputFormat {
  int64_t planes = 3;  // neighbouring slices as channels
  HuWindow window;
  double threshold = 0.5;  // of the probability, for the mask
};
std::map<std::string, std::string> to_metadata(const InputFormat& format);
InputFormat input_format(const std::map<std::string, std::string>& metadata, const std::string& source);

// The probability of "nodule" in every voxel, on the scan's grid. Slices go through the network one after the other,
// so memory is bounded by one slice. progress(done, of) counts slices; may be null.
Volume<float> segment(UNet& net, const Volume<int16_t>& ct, const InputFormat& format,
                      const std::function<void(int64_t, int64_t)>& progress = nullptr);

Volume<uint8_t> thresholded(const Volume<float>& probability, double threshold);

// Hard Dice, 2 |A and B| / (|A| + |B|), over all voxels; 1 if both are empty.
double dice(const Volume<uint8_t>& a, const Volume<uint8_t>& b);

}  // namespace acinus
