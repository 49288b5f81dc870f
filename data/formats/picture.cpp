#include "data/formats/picture.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "data/formats/metaimage.h"
#include "data/formats/nifti.h"
#include "data/formats/npy.h"
#include "data/formats/png.h"
#include "data/formats/volume_io.h"
#include "data/volume/mask.h"
#include "tensor/check.h"
#include "tensor/io/file.h"

namespace acinus {

namespace {

ElementType element_of(NpyType type, const std::string& path) {
  switch (type) {
    case NpyType::b1:
    case NpyType::u1:
      return ElementType::u8;
    case NpyType::i1:
      return ElementType::i8;
    case NpyType::i2:
      return ElementType::i16;
    case NpyType::u2:
      return ElementType::u16;
    case NpyType::i4:
      return ElementType::i32;
    case NpyType::u4:
      return ElementType::u32;
    case NpyType::i8:
      return ElementType::i64;
    case NpyType::u8:
      return ElementType::u64;
    case NpyType::f4:
      return ElementType::f32;
    case NpyType::f8:
      return ElementType::f64;
    default:
      fail(path, ": holds numbers of half precision; save it with .astype('float32')");
  }
}

Image plain_image(ElementType type, int64_t width, int64_t height, int64_t slices, int channels) {
  Image image;
  image.type = type;
  image.channels = channels;
  image.dims = {width, height, slices};
  image.spacing = {1, 1, 1};
  image.origin = {0, 0, 0};
  image.direction = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  return image;
}

Image image_of(const Picture& picture) {
  const int channels = picture.channels == 2 ? 1 : picture.channels == 4 ? 3 : picture.channels;
  Image image = plain_image(ElementType::u8, picture.width, picture.height, 1, channels);
  image.data.reserve(size_t(picture.width) * size_t(picture.height) * size_t(channels));
  for (size_t i = 0; i < picture.pixels.size(); i += size_t(picture.channels))
    for (int c = 0; c < channels; c++) image.data.push_back(std::byte(picture.pixels[i + size_t(c)]));
  return image;
}

Image image_of(NpyArray array, const std::string& path) {
  std::vector<int64_t> shape = array.shape;
  int channels = 1;
  if (shape.size() >= 3 && shape.back() == 3) channels = 3, shape.pop_back();
  if (shape.size() == 2) shape.insert(shape.begin(), 1);
  if (shape.size() != 3 || array.size() == 0)
    fail(path, ": ", array.shape.size(), " dimensions", array.size() == 0 ? " and no number" : "",
         "; must be (rows, columns), (slices, rows, columns), or either with 3 channels behind");
  Image image = plain_image(element_of(array.type, path), shape[2], shape[1], shape[0], channels);
  image.data = std::move(array.data);
  return image;
}

}  // namespace

Image read_picture(const std::string& path) {
  if (path.ends_with(".png")) return image_of(read_png(path));
  if (path.ends_with(".npy")) return image_of(read_npy(path), path);
  Image image = volume_ending(path).starts_with(".nii") ? read_nifti(path) : read_metaimage(path);
  if (image.channels > 4) fail(path, ": has ", image.channels, " channels; at most 4 are possible");
  const Grid grid = picture_grid(image, path);
  image.dims.assign(grid.size.begin(), grid.size.end());
  image.spacing.assign(grid.spacing.begin(), grid.spacing.end());
  image.origin.assign(grid.origin.begin(), grid.origin.end());
  image.direction.clear();
  for (const Vec3& row : grid.direction) image.direction.insert(image.direction.end(), row.begin(), row.end());
  return image;
}

Grid picture_grid(ImageInfo image, const std::string& path) {
  image.channels = 1;  // grid_of wants it so
  return grid_of(image, path);
}

Volume<uint8_t> read_mask(const std::string& path, const std::vector<int64_t>& classes) {
  check(int64_t(classes.size()) <= kMaxClasses, "read_mask: ", classes.size(), " classes; ", kMaxClasses, " at most");
  for (int64_t value : classes)
    check(value >= 0 && value <= 255, "read_mask: class ", value, "; 0 to 255 are possible");
  const Image image = read_picture(path);
  Volume<uint8_t> mask(picture_grid(image, path));
  std::set<double> values;
  double last = -1;
  with_type(image.type, [&](auto zero) {
    using T = decltype(zero);
    const T* from = reinterpret_cast<const T*>(image.data.data());
    for (int64_t i = 0; i < mask.grid.voxels(); i++) {
      const double value = double(from[i * image.channels]);
      for (int c = 1; c < image.channels; c++)
        if (double(from[i * image.channels + c]) != value)
          fail(path,
               ": is coloured; a mask has one number a pixel: 0 for the background, 1 (or 255) for the foreground");
      if (i == 0 || value != last) {  // mostly it is the one before
        if (!std::isfinite(value)) fail(path, ": value ", i, " of the mask is ", value, "; it must be a class");
        values.insert(last = value);
        if (values.size() > 256) fail(path, ": more than 256 different values; is this the mask?");
      }
      mask.voxels[size_t(i)] = uint8_t(std::clamp(value, 0., 255.));
    }
  });
  std::vector<int> class_of(256, -1);
  const bool binary = std::all_of(values.begin(), values.end(), [](double v) { return v == 0 || v == 255; });
  if (!classes.empty())
    for (size_t c = 0; c < classes.size(); c++) class_of[size_t(classes[c])] = int(c);
  else
    for (int v = 0; v < int(kMaxClasses); v++) class_of[size_t(v)] = v;
  if (classes.empty() && binary) class_of[255] = 1;
  for (double value : values)
    if (value != std::floor(value) || value < 0 || value > 255 || class_of[size_t(value)] < 0) {
      std::string seen;
      for (double v : values)
        if (seen.size() < 60) seen.append(" ").append(shortest(v));
      fail(path, ": holds the values", seen, ", of which ", shortest(value), " is ",
           classes.empty() ? "no class number (0 to 31, or 0 and 255); say what they mean: --classes 0,128,255"
                           : "not among --classes");
    }
  for (uint8_t& voxel : mask.voxels) voxel = uint8_t(class_of[voxel]);
  return mask;
}

}  // namespace acinus
