#include "data/formats/picture.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "data/formats/metaimage.h"
#include "data/formats/nifti.h"
#include "data/formats/npy.h"
#include "data/formats/png.h"
#include "data/formats/volume_io.h"
#include "data/volume/mask.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {

namespace {

Image without_alpha(const Picture& picture) {
  const int channels = picture.channels == 2 ? 1 : picture.channels == 4 ? 3 : picture.channels;
  Image image{info_of(Grid{{picture.width, picture.height, 1}}, ElementType::u8, channels), {}};
  image.data.reserve(image.bytes());
  for (size_t i = 0; i < picture.pixels.size(); i += picture.channels)
    for (int c = 0; c < channels; c++) image.data.push_back(std::byte(picture.pixels[i + c]));
  return image;
}

Image image_of(NpyArray array, const std::string& path) {
  std::vector<int64_t> shape = array.shape;
  int channels = 1;
  if (shape.size() >= 3 && shape.back() == 3) channels = 3, shape.pop_back();
  if (shape.size() == 2) shape.insert(shape.begin(), 1);
  if (shape.size() != 3 || array.size() == 0)
    fail(path, ": ", array.shape.size(), " dimensions", array.size() == 0 ? " and no elements" : "",
         "; must be (rows, columns) or (slices, rows, columns), either with 3 channels last");
  return {info_of(Grid{{shape[2], shape[1], shape[0]}}, array.type, channels), std::move(array.data)};
}

// The distinct values of an image whose channels must be equal, and the values themselves, clamped to bytes.
std::set<double> distinct_values(const Image& image, const std::string& path, std::vector<uint8_t>& bytes) {
  std::set<double> distinct;
  with_type(image.type, [&](auto zero) {
    using T = decltype(zero);
    const T* from = reinterpret_cast<const T*>(image.data.data());
    double last = -1;
    for (int64_t i = 0; i < int64_t(bytes.size()); i++) {
      const double value = double(from[i * image.channels]);
      for (int c = 1; c < image.channels; c++)
        if (double(from[i * image.channels + c]) != value)
          fail(path, ": is coloured; a mask has one number per pixel: 0 for background, 1 (or 255) for foreground");
      if (i == 0 || value != last) {  // most equal their predecessor
        if (!std::isfinite(value)) fail(path, ": value ", i, " of the mask is ", value, "; it must be a class");
        distinct.insert(last = value);
        if (distinct.size() > 256) fail(path, ": more than 256 different values; is this the mask?");
      }
      bytes[i] = uint8_t(std::clamp(value, 0., 255.));
    }
  });
  return distinct;
}

}  // namespace

Image read_picture(const std::string& path) {
  if (path.ends_with(".png")) return without_alpha(read_png(path));
  if (path.ends_with(".npy")) return image_of(read_npy(path), path);
  Image image = volume_ending(path).starts_with(".nii") ? read_nifti(path) : read_metaimage(path);
  if (image.channels > 4) fail(path, ": has ", image.channels, " channels; at most 4 are supported");
  return {info_of(picture_grid(image, path), image.type, image.channels), std::move(image.data)};
}

Grid picture_grid(ImageInfo image, const std::string& path) {
  image.channels = 1;  // grid_of requires it
  return grid_of(image, path);
}

Volume<uint8_t> read_mask(const std::string& path, const std::vector<int64_t>& classes) {
  check(int64_t(classes.size()) <= kMaxClasses, "read_mask: ", classes.size(), " classes; at most ", kMaxClasses);
  for (int64_t value : classes) check(value >= 0 && value <= 255, "read_mask: class ", value, "; must be 0 to 255");
  const Image image = read_picture(path);
  Volume<uint8_t> mask(picture_grid(image, path));
  const std::set<double> values = distinct_values(image, path, mask.voxels);

  std::vector<int64_t> list = classes;
  if (list.empty() && std::ranges::all_of(values, [](double v) { return v == 0 || v == 255; })) list = {0, 255};
  if (list.empty()) {
    list.resize(kMaxClasses);
    std::iota(list.begin(), list.end(), 0);
  }
  std::vector<uint8_t> class_of(256);
  for (double value : values) {
    const auto found = std::ranges::find(list, value);
    if (found == list.end())
      fail(path, ": holds the values ", shown(joined(values)), ", of which ", shortest(value), " is ",
           classes.empty() ? "no class number (0 to 31, or 0 and 255); say what they mean: --classes 0,128,255"
                           : "not among --classes");
    class_of[int64_t(value)] = uint8_t(found - list.begin());
  }
  for (uint8_t& voxel : mask.voxels) voxel = class_of[voxel];
  return mask;
}

}  // namespace acinus
