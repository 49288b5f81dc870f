// A scan or a picture to learn from: its voxels, wherever they lie, and what is known of each of them.
//
//   ScanView image = ct;                               of a Volume<int16_t>; or of a file of the cache (data/dataset/cache.h)
//   copy_planes(image, z, 3, {-1000, 400}, ...);       what a network sees of slice z: (rows, cols, 3) numbers, 0 to 1
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/volume/annotation.h"
#include "data/volume/volume.h"

namespace acinus {

// Values from low to high (of a CT: Hounsfield units) become 0 to 1; what lies outside is clamped.
struct HuWindow {
  double low = -1000, high = 400;
  float operator()(double value) const {
    const double scaled = (value - low) / (high - low);
    return float(scaled < 0 ? 0 : scaled > 1 ? 1 : scaled);
  }
};

// Voxels that somebody else keeps: int16 or bytes, x fastest, the channels of a voxel together.
struct ScanView {
  Grid grid;
  int64_t channels = 1;            // 1 of a scan, 3 of a colour picture
  const int16_t* words = nullptr;  // one of these two
  const uint8_t* bytes = nullptr;
  double scale = 1, shift = 0;  // value = shift + scale * what is stored; of a CT: HU
  double outside = -1000;       // the value around the scan: air

  ScanView() = default;
  ScanView(const Volume<int16_t>& ct) : grid(ct.grid), words(ct.voxels.data()) {}
  double at(int64_t x, int64_t y, int64_t z, int64_t channel = 0) const {
    const int64_t i = grid.offset(x, y, z) * channels + channel;
    return shift + scale * double(words ? words[i] : bytes[i]);
  }
};

// What the network sees of slice z: the slice and its neighbours, z - planes/2 .. z + planes/2, where the nearest slice
// stands in for one that is missing. Writes rows x cols pixels of `planes` times `channels` numbers, whose upper left
// corner is voxel (left, top) of the scan.
void copy_planes(const ScanView& image, int64_t z, int64_t planes, const HuWindow& window, int64_t left, int64_t top,
                 int64_t cols, int64_t rows, float* out);

// A label is the class of a voxel (0: background, 1: nodule, ...), and whether it lies where nodules are looked for.
constexpr uint8_t kClass = 0x7f, kLungs = 0x80;

struct SliceCount {
  int64_t foreground = 0;  // voxels of any class but the background
  int64_t lungs = 0;       // voxels in the lungs
  int64_t hard = 0;        // those among them that are no nodule, and as dense as one: vessels, walls (kHardHu)
};
constexpr double kHardHu = -400;

struct Scan {
  std::string id, path;       // seriesuid, or a picture's name; its file
  std::string patient, fold;  // who it is of; "subset3" if it lies in a folder named so
  ScanView image;
  const uint8_t* labels = nullptr;  // one a voxel
  std::vector<Annotation> nodules;  // inside the scan
  std::vector<Annotation> outside;  // annotated, but not inside it
  std::vector<SliceCount> slices;
  int64_t foreground = 0;              // voxels, of all slices
  int64_t classes = 1;                 // the highest class there is, but at least 1
  uint64_t labels_fingerprint = 0;     // other labels, another number
  std::shared_ptr<const void> memory;  // what image and labels point into

  const uint8_t* labels_of(int64_t z) const { return labels + image.grid.offset(0, 0, z); }
  Volume<uint8_t> mask() const;   // the classes
  Volume<uint8_t> lungs() const;  // 1 where kLungs is
};

std::vector<SliceCount> count_slices(const ScanView& image, const uint8_t* labels);
int64_t highest_class(const uint8_t* labels, int64_t voxels);  // at least 1
uint64_t fingerprint(const void* data, int64_t bytes);         // FNV-1a (Fowler, Noll and Vo), 64 bits

// A scan that is held in memory.
Scan make_scan(const std::string& id, Volume<int16_t> ct, Volume<uint8_t> labels, std::vector<Annotation> nodules);

}  // namespace acinus
