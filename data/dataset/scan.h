// A scan or picture to learn from: its voxels, wherever they are stored, and the label of each.
//
//   ScanView image = ct;                               of a Volume<int16_t>, or of a cache file (data/dataset/cache.h)
//   copy_planes(image, z, 3, {-1000, 400}, ...);       a network's input for slice z: (rows, cols, 3) numbers, 0 to 1
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/volume/image.h"
#include "data/volume/mask.h"
#include "data/volume/volume.h"

namespace acinus {

// Maps values from low to high (in a CT: Hounsfield units) to 0 to 1; values outside are clamped.
struct HuWindow {
  double low = -1000, high = 400;
  float operator()(double value) const {
    const double scaled = (value - low) / (high - low);
    return float(scaled < 0 ? 0 : scaled > 1 ? 1 : scaled);
  }
};

// Voxels owned by another object: int16_t or uint8_t, x fastest, the channels of a voxel interleaved.
struct ScanView {
  Grid grid;
  int64_t channels = 1;                 // 1 in a scan, 3 in a colour picture
  ElementType type = ElementType::i16;  // i16 or u8
  const void* values = nullptr;
  double scale = 1, shift = 0;  // value = shift + scale * stored value; in a CT: HU
  double outside = -1000;       // the value around the scan: air

  ScanView() = default;
  ScanView(const Volume<int16_t>& ct) : grid(ct.grid), values(ct.voxels.data()) {}
  template <class T>
  void point_to(const T* stored) {
    type = element_type<T>, values = stored;
  }
  int64_t bytes(int64_t voxels) const { return voxels * channels * size_of(type); }
  double at(int64_t x, int64_t y, int64_t z, int64_t channel = 0) const { return value(grid.offset(x, y, z), channel); }
  double value(int64_t offset, int64_t channel = 0) const {  // of the voxel grid.offset(x, y, z)
    const int64_t i = offset * channels + channel;
    const int stored =
        type == ElementType::u8 ? static_cast<const uint8_t*>(values)[i] : static_cast<const int16_t*>(values)[i];
    return shift + scale * double(stored);
  }
};

// The network's input for slice z: the slice and its neighbours, z - planes/2 .. z + planes/2, missing ones replaced by
// the nearest slice. Writes rows x cols pixels of `planes` times `channels` numbers, the upper left one being voxel
// (left, top) of the scan.
void copy_planes(const ScanView& image, int64_t z, int64_t planes, const HuWindow& window, int64_t left, int64_t top,
                 int64_t cols, int64_t rows, float* out);

// A label is the class of a voxel (0: background, 1: nodule, ...), plus kLungs where nodules are searched for.
constexpr uint8_t kClass = 0x7f, kLungs = 0x80;

struct SliceCount {
  int64_t foreground = 0;  // voxels of any class but the background
  int64_t lungs = 0;       // voxels in the lungs
  int64_t hard = 0;        // of these, background as dense as a nodule, above kHardHu: vessels, walls
};
constexpr double kHardHu = -400;

struct Scan {
  std::string id, path;       // seriesuid, or a picture's name; its file
  std::string patient, fold;  // fold: "subset3" if it lies in a folder of that name
  ScanView image;
  const uint8_t* labels = nullptr;  // one per voxel
  std::vector<Annotation> nodules;  // inside the scan
  std::vector<Annotation> outside;  // annotated, but outside the scan
  std::vector<SliceCount> slices;
  int64_t foreground = 0;                           // voxels, of all slices
  int64_t classes = 1;                              // the highest class present, at least 1
  uint64_t labels_hash = 0;                         // fnv1a
  std::vector<std::shared_ptr<const void>> memory;  // owns what image and labels point to

  const uint8_t* labels_of(int64_t z) const { return labels + image.grid.offset(0, 0, z); }
  bool is_foreground(int64_t offset) const { return (labels[offset] & kClass) != 0; }
  bool is_in_lungs(int64_t offset) const { return (labels[offset] & kLungs) != 0; }
  bool is_hard(int64_t offset) const { return labels[offset] == kLungs && image.value(offset) > kHardHu; }
  Volume<uint8_t> mask() const;   // the classes
  Volume<uint8_t> lungs() const;  // kLungs where it is set, else 0
  // Takes ownership of the values, which stay at their address.
  template <class T>
  const T* keep(std::vector<T> owned) {
    const auto kept = std::make_shared<const std::vector<T>>(std::move(owned));
    memory.push_back(kept);
    return kept->data();
  }
  // Fills in what follows from image and labels: slices, foreground, classes, labels_hash.
  void count_labels();
};

uint64_t fnv1a(const void* data, int64_t bytes);  // the 64-bit hash of Fowler, Noll and Vo

// A scan in memory.
Scan make_scan(const std::string& id, Volume<int16_t> ct, Volume<uint8_t> labels, std::vector<Annotation> nodules);

}  // namespace acinus
