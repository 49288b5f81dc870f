#include "data/dataset/scan.h"

#include <algorithm>

#include "tensor/check.h"
#include "tensor/parallel.h"

namespace acinus {

namespace {

// One row of one plane: out[i * stride + c] = window(value), or window(outside) where the column is outside the scan.
template <class T>
void copy_row(const T* row, const ScanView& image, const HuWindow& window, int64_t left, int64_t cols, int64_t stride,
              float* out) {
  const int64_t width = image.grid.size[0], channels = image.channels;
  const float scale = float(image.scale / (window.high - window.low)),
              shift = float((image.shift - window.low) / (window.high - window.low)), outside = window(image.outside);
  const int64_t begin = std::clamp<int64_t>(-left, 0, cols), end = std::clamp<int64_t>(width - left, begin, cols);
  for (int64_t c = 0; c < channels; c++) {
    for (int64_t i = 0; i < begin; i++) out[i * stride + c] = outside;
    for (int64_t i = begin; i < end; i++) {
      const float value = scale * float(row[(left + i) * channels + c]) + shift;
      out[i * stride + c] = std::min(std::max(value, 0.f), 1.f);
    }
    for (int64_t i = end; i < cols; i++) out[i * stride + c] = outside;
  }
}

}  // namespace

void copy_planes(const ScanView& image, int64_t z, int64_t planes, const HuWindow& window, int64_t left, int64_t top,
                 int64_t cols, int64_t rows, float* out) {
  const Index3 size = image.grid.size;
  const int64_t channels = image.channels, stride = planes * channels;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t p = 0; p < planes; p++) {
      const int64_t y = top + r, slice = std::clamp<int64_t>(z - planes / 2 + p, 0, size[2] - 1);
      float* const to = out + r * cols * stride + p * channels;
      if (y < 0 || y >= size[1]) {
        for (int64_t i = 0; i < cols; i++) std::fill_n(to + i * stride, channels, window(image.outside));
        continue;
      }
      const int64_t start = image.grid.offset(0, y, slice) * channels;
      if (image.type == ElementType::u8)
        copy_row(static_cast<const uint8_t*>(image.values) + start, image, window, left, cols, stride, to);
      else
        copy_row(static_cast<const int16_t*>(image.values) + start, image, window, left, cols, stride, to);
    }
}

void Scan::count_labels() {
  const Grid& grid = image.grid;
  slices.assign(grid.size[2], {});
  parallel(grid.size[2], /*pays=*/grid.voxels() > 100000, [&](int64_t z) {
    SliceCount& count = slices[z];
    const int64_t end = grid.offset(0, 0, z + 1);
    for (int64_t i = grid.offset(0, 0, z); i < end; i++) {
      count.foreground += is_foreground(i);
      count.lungs += is_in_lungs(i);
      count.hard += is_hard(i);
    }
  });
  foreground = 0;
  for (const SliceCount& slice : slices) foreground += slice.foreground;
  classes = 1;
  for (int64_t i = 0; i < grid.voxels(); i++) classes = std::max<int64_t>(classes, labels[i] & kClass);
  labels_hash = fnv1a(labels, grid.voxels());
}

uint64_t fnv1a(const void* data, int64_t bytes) {
  const auto* const byte = static_cast<const uint8_t*>(data);
  uint64_t hash = 0xcbf29ce484222325ull;
  for (int64_t i = 0; i < bytes; i++) hash = (hash ^ byte[i]) * 0x100000001b3ull;
  return hash;
}

static Volume<uint8_t> bits_of(const Scan& scan, uint8_t bits) {
  Volume<uint8_t> volume(scan.image.grid);
  std::transform(scan.labels, scan.labels + volume.grid.voxels(), volume.voxels.begin(),
                 [bits](uint8_t label) { return uint8_t(label & bits); });
  return volume;
}

Volume<uint8_t> Scan::mask() const { return bits_of(*this, kClass); }
Volume<uint8_t> Scan::lungs() const { return bits_of(*this, kLungs); }

Scan make_scan(const std::string& id, Volume<int16_t> ct, Volume<uint8_t> labels, std::vector<Annotation> nodules) {
  check(ct.grid.size == labels.grid.size, "make_scan: ", id, ": the scan and its labels differ in size");
  Scan scan;
  scan.id = scan.patient = id;
  scan.nodules = std::move(nodules);
  scan.image.grid = ct.grid;
  scan.image.point_to(scan.keep(std::move(ct.voxels)));
  scan.labels = scan.keep(std::move(labels.voxels));
  scan.count_labels();
  return scan;
}

}  // namespace acinus
