// Images and masks of any format, and what a mask's values mean.
#include <cmath>
#include <cstring>
#include <numeric>

#include "data/formats/metaimage.h"
#include "data/formats/npy.h"
#include "data/formats/picture.h"
#include "data/formats/png.h"
#include "tests/testing.h"

using namespace acinus;
using Catch::Contains;

TEST_CASE("picture: images of all formats have three dimensions and their place") {
  const Scratch folder;
  write_png(folder / "rgba.png", {2, 1, 4, {1, 2, 3, 9, 4, 5, 6, 9}});
  Image image = read_picture(folder / "rgba.png");
  CHECK((image.channels == 3 && image.dims == std::vector<int64_t>{2, 1, 1} && image.type == ElementType::u8));
  CHECK(image.data[3] == std::byte(4));
  write_png(folder / "grey_alpha.png", {2, 1, 2, {1, 9, 2, 9}});
  CHECK(read_picture(folder / "grey_alpha.png").data == std::vector<std::byte>{std::byte(1), std::byte(2)});
  for (const auto& [shape, dims, channels] :
       {std::tuple<std::vector<int64_t>, std::vector<int64_t>, int>{{6, 5}, {5, 6, 1}, 1},
        {{2, 5, 3}, {5, 2, 1}, 3},
        {{2, 3, 5}, {5, 3, 2}, 1},
        {{1, 2, 5, 3}, {5, 2, 1}, 3}}) {
    write_npy(folder / "x.npy", shape, std::vector<int32_t>(size_t(dims[0] * dims[1] * dims[2] * channels)));
    image = read_picture(folder / "x.npy");
    CHECK((image.dims == dims && image.channels == channels && image.type == ElementType::i32));
  }
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{30}, {1, 1, 5, 6}, {0, 5}}) {
    write_npy(folder / "x.npy", shape, std::vector<int32_t>(shape[0] ? 30 : 0));
    CHECK_THAT(error_of([&] { read_picture(folder / "x.npy"); }), Contains("x.npy: ") && Contains("rows, columns"));
  }
  // Numbers of half precision are widened: 1 and 0.
  const std::string half = "{'descr': '<f2', 'fortran_order': False, 'shape': (1, 2)}";
  put(folder / "half.npy",
      std::string("\x93NUMPY\1\0", 8) + char(half.size()) + '\0' + half + std::string("\0\x3c\0\0", 4));
  image = read_picture(folder / "half.npy");
  float first;
  std::memcpy(&first, image.data.data(), 4);
  CHECK((image.type == ElementType::f32 && image.data.size() == 8 && first == 1));

  // Colours with a place: as far apart as the header says.
  MetaImage colour;
  colour.type = ElementType::u8, colour.channels = 3, colour.dims = {2, 2}, colour.spacing = {0.5, 0.25};
  colour.origin = {1, 2}, colour.direction = {1, 0, 0, 1}, colour.data.resize(12);
  write_metaimage(folder / "colour.mha", colour, colour.data);
  image = read_picture(folder / "colour.mha");
  CHECK((image.channels == 3 && image.dims == std::vector<int64_t>{2, 2, 1} && image.data.size() == 12));
  CHECK((image.spacing[0] == 0.5 && image.spacing[1] == 0.25 && image.origin[1] == 2));
  colour.channels = 5, colour.data.resize(20);
  write_metaimage(folder / "five.mha", colour, colour.data);
  CHECK_THAT(error_of([&] { read_picture(folder / "five.mha"); }), Contains("5 channels"));
}

TEST_CASE("mask: what its values mean") {
  const Scratch folder;
  const std::string path = folder / "m.npy";
  const auto classes = [&](const auto& values, const std::vector<int64_t>& list = {}) {
    write_npy(path, {1, int64_t(values.size())}, values);
    return read_mask(path, list).voxels;
  };
  const auto error = [&](const auto& values, const std::vector<int64_t>& list = {}) {
    return error_of([&] { classes(values, list); });
  };
  using U8 = std::vector<uint8_t>;
  using F = std::vector<float>;
  CHECK(classes(U8{0, 255, 255, 0}) == U8{0, 1, 1, 0});
  CHECK(classes(U8{255}) == U8{1});
  CHECK(classes(U8{0, 1, 1}) == U8{0, 1, 1});
  CHECK(classes(U8{0, 0}) == U8{0, 0});
  CHECK(classes(U8{0, 3, 31, 1}) == U8{0, 3, 31, 1});
  CHECK(classes(F{0, 2, 1, -0.f}) == U8{0, 2, 1, 0});
  CHECK(classes(std::vector<int64_t>{0, 255}) == U8{0, 1});
  CHECK(classes(U8{0, 128, 255, 128}, {0, 128, 255}) == U8{0, 1, 2, 1});
  CHECK(classes(U8{7, 0}, {7, 0}) == U8{0, 1});
  CHECK(classes(U8{0, 255}, {0, 128, 255}) == U8{0, 2});

  CHECK_THAT(error(U8{0, 1, 255}), Contains("m.npy: holds the values 0 1 255, of which 255") && Contains("--classes"));
  CHECK_THAT(error(U8{0, 32}), Contains("of which 32 is no class number"));
  CHECK_THAT(error(U8{0, 128, 255}, {0, 255}), Contains("of which 128 is not among --classes"));
  CHECK_THAT(error(F{0, 0.5}), Contains("holds the values 0 0.5, of which 0.5"));
  CHECK_THAT(error(F{0, -1}), Contains("of which -1"));
  CHECK_THAT(error(std::vector<int32_t>{0, 256}), Contains("of which 256"));
  CHECK_THAT(error(std::vector<int32_t>{0, 256}, {0, 255}), Contains("of which 256"));
  CHECK_THAT(error(F{0, 1, NAN, 1}), Contains("value 2 of the mask is nan"));
  CHECK_THAT(error(F{NAN, 0}), Contains("value 0 of the mask is nan"));
  CHECK_THAT(error(F{0, -INFINITY}), Contains("value 1 of the mask is -inf"));
  F photo(300);
  std::iota(photo.begin(), photo.end(), 0.f);
  CHECK_THAT(error(photo), Contains("more than 256"));
  CHECK_THAT(error(U8{0}, {0, 256}), Contains("class 256"));
  CHECK_THAT(error(U8{0}, std::vector<int64_t>(33)), Contains("33 classes"));

  // Grey stored as colours is as good; other colours are not.
  write_png(folder / "m.png", {2, 1, 3, {0, 0, 0, 255, 255, 255}});
  CHECK(read_mask(folder / "m.png", {}).voxels == U8{0, 1});
  write_png(folder / "m.png", {2, 1, 3, {0, 0, 0, 255, 0, 0}});
  CHECK_THAT(error_of([&] { read_mask(folder / "m.png", {}); }), Contains("m.png: is coloured"));
}
