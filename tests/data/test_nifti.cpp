// The NIfTI reader and writer: on what nibabel wrote (tests/cases/nifti), and on files made here, byte by byte.
#include <sys/resource.h>
#include <zlib.h>

#include <limits>
#include <random>

#include "data/formats/byte_source.h"
#include "data/formats/nifti.h"
#include "data/formats/volume_io.h"
#include "tensor/io/file.h"
#include "tests/testing.h"

using namespace acinus;
namespace fs = std::filesystem;

namespace {

const Mat3 straight{{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}, flipped{{{-1, 0, 0}, {0, 1, 0}, {0, 0, -1}}},
    oblique{{{-0.8, -0.6, 0}, {0.48, -0.64, 0.6}, {-0.36, 0.48, 0.8}}};

// 4 x 3 x 2 shorts.
Volume<int16_t> small_ct(const Mat3& direction = oblique) {
  Volume<int16_t> ct(Grid{{4, 3, 2}, {0.5, 0.75, 2.5}, {-10, 20, 30.5}, direction});
  for (size_t i = 0; i < ct.voxels.size(); i++) ct.voxels[i] = int16_t(i * 1000 - 5000);
  return ct;
}

std::string gzipped(const std::string& bytes) {
  std::string result;
  deflate_parts({std::as_bytes(std::span(bytes))}, Wrapper::gzip,
                [&](Bytes chunk) { result.append(reinterpret_cast<const char*>(chunk.data()), chunk.size()); });
  return result;
}

// The bytes of a .nii file with other values in some of its fields.
struct File {
  std::string bytes;

  template <class T>
  File& set(size_t offset, T value, size_t i = 0) {
    std::memcpy(&bytes[offset + i * sizeof value], &value, sizeof value);
    return *this;
  }
};

File small_file(const Scratch& folder, const Mat3& direction = oblique) {
  write_volume(folder / "small.nii", small_ct(direction));
  return {read_file(folder / "small.nii", 1000)};
}

// The same file on a machine of the other byte order.
std::string other_order(std::string bytes, size_t element) {
  const auto turn = [&](size_t begin, size_t end, size_t size) {
    for (size_t at = begin; at < end; at += size) std::reverse(&bytes[at], &bytes[at] + size);
  };
  turn(0, 4, 4), turn(40, 56, 2), turn(70, 74, 2), turn(76, 120, 4), turn(252, 256, 2), turn(256, 328, 4);
  turn(352, bytes.size(), element);
  return bytes;
}

void check_near(const Grid& a, const Grid& b, double tolerance = 1e-6) {
  CHECK(a.size == b.size);
  for (size_t i = 0; i < 3; i++) {
    CHECK(a.spacing[i] == Approx(b.spacing[i]).epsilon(tolerance));
    CHECK(a.origin[i] == Approx(b.origin[i]).epsilon(tolerance));
    for (size_t j = 0; j < 3; j++) CHECK(std::abs(a.direction[i][j] - b.direction[i][j]) < tolerance);
  }
}

const ElementType kAllTypes[] = {ElementType::i8,  ElementType::u8,  ElementType::i16, ElementType::u16,
                                 ElementType::i32, ElementType::u32, ElementType::i64, ElementType::u64,
                                 ElementType::f32, ElementType::f64};

}  // namespace

TEST_CASE("compression: blocks make one stream, of the same bytes for any number of threads", "[nifti]") {
  for (const size_t size : {size_t(0), size_t(1), size_t(1) << 20, (size_t(1) << 20) + 1, (size_t(34) << 20) + 7})
    for (const Wrapper wrapper : {Wrapper::zlib, Wrapper::gzip}) {
      CAPTURE(size);
      std::string bytes(size, '\0');
      for (size_t i = 0; i < size; i += 3) bytes[i] = char(i * i >> 7);
      const Bytes all = std::as_bytes(std::span(bytes));
      std::string streams[2];
      for (const int threads : {1, 3}) {
        const Threads some(threads);
        deflate_parts({all.first(size / 3), all.subspan(size / 3)}, wrapper, [&](Bytes chunk) {
          streams[threads > 1].append(reinterpret_cast<const char*>(chunk.data()), chunk.size());
        });
      }
      CHECK(streams[0] == streams[1]);
      z_stream z{};
      REQUIRE(inflateInit2(&z, wrapper == Wrapper::gzip ? MAX_WBITS + 16 : MAX_WBITS) == Z_OK);
      std::string back(size + 1, '\0');
      z.next_in = reinterpret_cast<Bytef*>(streams[0].data()), z.avail_in = uInt(streams[0].size());
      z.next_out = reinterpret_cast<Bytef*>(back.data()), z.avail_out = uInt(back.size());
      CHECK(inflate(&z, Z_FINISH) == Z_STREAM_END);  // zlib compares the checksum, and gzip's length
      CHECK((z.avail_in == 0 && z.total_out == size));
      inflateEnd(&z);
      back.resize(size);
      CHECK(back == bytes);
    }
}

TEST_CASE("nifti: what nibabel wrote", "[nifti]") {
  // Each value is x + 10 y + 100 z, and 1000 more in the second volume, if there is one.
  const auto check_file = [](const std::string& name, ElementType type, const std::vector<int64_t>& dims,
                             const Mat3& direction, double plus) {
    CAPTURE(name);
    const std::string path = "tests/cases/nifti/" + name;
    const Image image = read_nifti(path);
    CHECK(image.type == type);
    REQUIRE(image.dims == dims);
    with_type(type, [&](auto value) {
      for (int64_t i = 0; i < image.values(); i++) {
        std::memcpy(&value, image.data.data() + i * int64_t(sizeof value), sizeof value);
        CHECK(double(value) == double(i % 4 + i / 4 % 3 * 10 + i / 12 % 2 * 100 + i / 24 * 1000) + plus);
      }
    });
    if (dims.size() == 3) {
      const Volume<int16_t> ct = read_volume<int16_t>(path);
      check_near(ct.grid, {{4, 3, dims[2]}, {0.5, 0.75, 2.5}, {-10, 20, 30.5}, direction});
      CHECK(ct.at(3, 2, 0) == int16_t(23 + plus));
      CHECK(read_grid(path) == ct.grid);
    }
  };
  const Mat3 third_turned{{oblique[0], oblique[1], {0.36, -0.48, -0.8}}};
  const Mat3 flip{{{1, 0, 0}, {0, -1, 0}, {0, 0, -1}}};
  check_file("oblique_sform.nii.gz", ElementType::i16, {4, 3, 2}, oblique, 0);
  check_file("oblique_qform_big_endian.nii.gz", ElementType::f32, {4, 3, 2}, third_turned, 0);
  check_file("flipped_scaled.nii", ElementType::f64, {4, 3, 2}, flip, -1024);
  check_file("slice.nii.gz", ElementType::u8, {4, 3, 1}, flip, 0);
  check_file("four_dimensions.nii.gz", ElementType::i32, {4, 3, 2, 2}, flip, 0);
  CHECK_THAT(error_of([] { read_volume<int16_t>("tests/cases/nifti/four_dimensions.nii.gz"); }),
             Catch::Contains("four_dimensions.nii.gz: has 4 dimensions"));
}

TEST_CASE("nifti: every type, byte order and compression comes back the same", "[nifti]") {
  const Scratch folder;
  for (ElementType type : kAllTypes)
    for (const char* name : {"x.nii", "x.nii.gz"}) {
      CAPTURE(name_of(type), name);
      Image image;
      image.type = type, image.dims = {5, 2, 3};
      image.spacing = {0.5, 0.25, 2.5}, image.origin = {-195.25, 0, 1e6},
      image.direction = {0, 1, 0, 0, 0, -1, 1, 0, 0};
      image.data.resize(size_t(image.bytes()));
      with_type(type, [&](auto value) {
        using Limits = std::numeric_limits<decltype(value)>;
        const decltype(value) values[] = {Limits::lowest(), Limits::max(), Limits::min(), 0, 1, 2, 3, 77};
        for (size_t i = 0; i < image.data.size() / sizeof value; i++)
          std::memcpy(&image.data[i * sizeof value], &values[i % 8], sizeof value);
      });
      const auto check_same = [&](const Image& read) {
        CHECK((read.type == type && read.dims == image.dims && read.data == image.data));
        CHECK((read.spacing == image.spacing && read.origin == image.origin && read.direction == image.direction));
      };
      write_nifti(folder / name, image, image.data);
      check_same(read_nifti(folder / name));
      write_nifti(folder / "y.nii", image, image.data);
      const std::string turned = other_order(read_file(folder / "y.nii", 1000), size_t(size_of(type)));
      put(folder / "z.nii", fs::path(name).extension() == ".gz" ? gzipped(turned) : turned);
      check_same(read_nifti(folder / "z.nii"));
    }
}

TEST_CASE("nifti: the header that is written", "[nifti]") {
  const Scratch folder;
  write_volume(folder / "x.nii", small_ct(flipped));
  const std::string bytes = read_file(folder / "x.nii", 1000);
  REQUIRE(bytes.size() == 352 + 48);
  const auto at = [&](auto value, size_t offset, size_t i = 0) {
    std::memcpy(&value, &bytes[offset + i * sizeof value], sizeof value);
    return value;
  };
  CHECK((at(int32_t(), 0) == 348 && at(int16_t(), 70) == 4 && at(int16_t(), 72) == 16 && at(float(), 108) == 352));
  for (size_t i = 0; i < 8; i++) {
    CHECK(at(int16_t(), 40, i) == std::vector<int16_t>{3, 4, 3, 2, 1, 1, 1, 1}[i]);
    CHECK(at(float(), 76, i) == std::vector<float>{1, 0.5, 0.75, 2.5, 1, 1, 1, 1}[i]);
  }
  CHECK((at(float(), 112) == 1 && at(float(), 116) == 0 && bytes[123] == 2));
  CHECK((at(int16_t(), 252) == 0 && at(int16_t(), 254) == 1));
  for (size_t i = 0; i < 12; i++)  // RAS
    CHECK(at(float(), 280, i) == std::vector<float>{0.5, 0, 0, 10, 0, -0.75, 0, -20, 0, 0, -2.5, 30.5}[i]);
  CHECK(bytes.substr(344, 8) == std::string("n+1\0\0\0\0\0", 8));

  write_volume(folder / "a.nii.gz", small_ct(flipped));
  write_volume(folder / "b.nii.gz", small_ct(flipped));
  const std::string packed = read_file(folder / "a.nii.gz", 1000);
  CHECK(packed == read_file(folder / "b.nii.gz", 1000));
  CHECK(packed.substr(0, 8) == std::string("\x1f\x8b\x08\0\0\0\0\0", 8));  // no name, no time
  CHECK_FALSE(folder.holds_temporary());
}

TEST_CASE("nifti: volumes keep their place to a float's precision, and then exactly", "[nifti]") {
  const Scratch folder;
  for (const Mat3& direction : {straight, flipped, oblique, Mat3{{{0, 0, 1}, {-1, 0, 0}, {0, 1, 0}}},
                                Mat3{{{1, 0, 0}, {0.6, 0.8, 0}, {0, 0.6, -0.8}}}})  // the last is sheared
    for (const char* name : {"x.nii", "x.nii.gz"}) {
      Volume<float> volume(Grid{{3, 2, 4}, {0.7617189884185791, 0.7, 2.5}, {-195.123456789, 170.5, -378}, direction});
      for (size_t i = 0; i < volume.voxels.size(); i++) volume.voxels[i] = float(i) / 7;
      write_volume(folder / name, volume);
      const Volume<float> once = read_volume<float>(folder / name);
      check_near(once.grid, volume.grid);
      CHECK(once.voxels == volume.voxels);
      write_volume(folder / name, once);
      CHECK(read_volume<float>(folder / name).grid == once.grid);
    }
  write_volume(folder / "flat.nii", Volume<uint8_t>(Grid{{5, 4, 1}}, 7));
  CHECK(read_volume<uint8_t>(folder / "flat.nii").grid == Grid{{5, 4, 1}});

  Image image;
  image.type = ElementType::u8, image.dims = {2, 2}, image.spacing = {0.5, 2}, image.origin = {3, 4};
  image.direction = {0, 1, -1, 0}, image.data.resize(4);
  write_nifti(folder / "flat.nii", image, image.data);
  CHECK(read_grid(folder / "flat.nii") ==
        Grid{{2, 2, 1}, {0.5, 2, 1}, {3, 4, 0}, {{{0, 1, 0}, {-1, 0, 0}, {0, 0, 1}}}});
  image.dims = {2, 1, 1, 2, 3}, image.spacing = {1, 1, 1, 5, 1}, image.origin.assign(5, 0), image.data.resize(12);
  image.direction.assign(25, 0);
  for (size_t i = 0; i < 5; i++) image.direction[i * 6] = 1;
  write_nifti(folder / "deep.nii", image, image.data);
  const Image deep = read_nifti(folder / "deep.nii");
  CHECK((deep.dims == image.dims && deep.spacing == image.spacing && deep.direction == image.direction));
}

TEST_CASE("nifti: the forms, units and dimensions", "[nifti]") {
  const Scratch folder;
  const auto grid = [&](const File& file) {
    put(folder / "x.nii", file.bytes);
    return read_grid(folder / "x.nii");
  };
  const File made = small_file(folder, straight);
  const auto no_forms = [&] { return File(made).set(254, int16_t(0)); };
  const Grid method1{{4, 3, 2}, {0.5, 0.75, 2.5}, {0, 0, 0}, straight};
  CHECK(grid(no_forms()) == method1);

  // The quaternion (0, 0, 0, 1) turns x and y round; qfac -1 the third axis.
  const auto qform = [&] { return no_forms().set(252, int16_t(1)).set(264, 1.f).set(268, 7.f).set(276, 9.f); };
  CHECK(grid(qform()) == Grid{{4, 3, 2}, {0.5, 0.75, 2.5}, {-7, 0, 9}, straight});
  CHECK(grid(qform().set(76, -1.f)).direction == Mat3{{{1, 0, 0}, {0, 1, 0}, {0, 0, -1}}});
  CHECK(grid(qform().set(76, 0.f)).direction == straight);
  CHECK(grid(qform().set(254, int16_t(2))) == small_ct(straight).grid);    // the sform goes before
  check_near(grid(qform().set(256, 0.36f).set(260, 0.48f).set(264, 0.f)),  // a = 0.8: by hand from the formula
             {{4, 3, 2},
              {0.5, 0.75, 2.5},
              {-7, 0, 9},
              {{{-0.5392, -0.3456, -0.768}, {-0.3456, -0.7408, 0.576}, {-0.768, 0.576, 0.28}}}});

  CHECK(grid(no_forms().set(123, uint8_t(0))) == method1);
  CHECK(grid(File(made).set(123, uint8_t(1 + 8))) ==
        Grid{{4, 3, 2}, {500, 750, 2500}, {-10000, 20000, 30500}, straight});
  check_near(grid(File(made).set(123, uint8_t(3))),
             {{4, 3, 2}, {0.0005, 0.00075, 0.0025}, {-0.01, 0.02, 0.0305}, straight});

  // Sizes of 1 at the end are no dimensions; what is beyond dim[0] is not looked at.
  CHECK(grid(File(made).set(40, int16_t(7)).set(92, 0.f)) == small_ct(straight).grid);
  CHECK(grid(File(made).set(40, int16_t(2)).set(46, int16_t(-9)).set(88, NAN)).size == Index3{4, 3, 1});
  CHECK(grid(File(made).set(40, int16_t(1))).size == Index3{4, 1, 1});

  // Others' data before the values.
  File extended = made;
  extended.bytes.insert(352, std::string(32, 'x')), extended.bytes[348] = 1, extended.set(108, 384.f);
  put(folder / "e.nii", extended.bytes);
  CHECK(read_volume<int16_t>(folder / "e.nii").voxels == small_ct().voxels);
  put(folder / "e.nii.gz", gzipped(extended.bytes.substr(0, 100)) + gzipped(extended.bytes.substr(100)));
  CHECK(read_volume<int16_t>(folder / "e.nii.gz").voxels == small_ct().voxels);
}

TEST_CASE("nifti: scaled values", "[nifti]") {
  const Scratch folder;
  const auto scaled = [&](float slope, float inter) {
    put(folder / "x.nii", small_file(folder).set(112, slope).set(116, inter).bytes);
    return folder / "x.nii";
  };
  const std::vector<int16_t> stored = small_ct().voxels;
  for (const auto& [slope, inter] : {std::pair(1.f, -1024.f), {0.5f, 3.f}, {-1.f, 0.f}}) {
    const std::vector<int16_t> ct = read_volume<int16_t>(scaled(slope, inter)).voxels;
    for (size_t i = 0; i < ct.size(); i++) CHECK(float(ct[i]) == float(stored[i]) * slope + inter);
    CHECK(read_nifti(folder / "x.nii").type == ElementType::f64);
  }
  for (float slope : {0.f, NAN})  // no scaling, whatever the intercept
    CHECK(read_volume<int16_t>(scaled(slope, NAN)).voxels == stored);
  CHECK(read_nifti(scaled(1, 0)).type == ElementType::i16);
  CHECK(read_volume<float>(scaled(0.1f, 0)).voxels[0] == float(-5000 * double(0.1f)));
  CHECK_THAT(error_of([&] { read_volume<int16_t>(scaled(0.5, 0.25)); }),
             Catch::Contains("x.nii") && Catch::Contains("the value -2499.75 (number 0) does not fit into int16"));
  CHECK_THAT(error_of([&] { read_volume<uint8_t>(scaled(0, 0)); }), Catch::Contains("the value -5000"));
}

TEST_CASE("nifti: values beyond one piece, scaled or not", "[nifti]") {
  const Scratch folder;
  Volume<int16_t> ct(Grid{{100, 90, 31}});
  for (size_t i = 0; i < ct.voxels.size(); i++) ct.voxels[i] = int16_t(i % 30011);
  for (const char* name : {"x.nii", "x.nii.gz"}) {
    write_volume(folder / name, ct);
    // Double brackets: Catch would be at printing so many values for minutes.
    CHECK((read_volume<int16_t>(folder / name).voxels == ct.voxels));
    const std::vector<float> floats = read_volume<float>(folder / name).voxels;
    CHECK(std::equal(floats.begin(), floats.end(), ct.voxels.begin(), ct.voxels.end()));
  }
  File scaled{read_file(folder / "x.nii", 1 << 20)};
  put(folder / "x.nii", scaled.set(116, 5.f).bytes);
  std::vector<int16_t> shifted = read_volume<int16_t>(folder / "x.nii").voxels;
  for (int16_t& v : shifted) v = int16_t(v - 5);
  CHECK((shifted == ct.voxels));
}

TEST_CASE("nifti: what a file may not say", "[nifti]") {
  const Scratch folder;
  const File made = small_file(folder);
  const auto change = [&](size_t offset, auto value) { return File(made).set(offset, value); };
  const auto magic = [&](const char* text) { return File(made).set(344, std::array{text[0], text[1], text[2], '\0'}); };
  const auto qform = [&](size_t offset, float value) {
    return File(made).set(254, int16_t(0)).set(252, int16_t(1)).set(offset, value);
  };
  struct Case {
    File file;
    const char* complaint;
  };
  const Case cases[] = {
      {change(0, int32_t(540)), "sizeof_hdr = 540: this is NIfTI-2"},
      {change(0, __builtin_bswap32(540)), "sizeof_hdr = 540: this is NIfTI-2"},
      {change(0, int32_t(347)), "sizeof_hdr = 347: must be 348"},
      {magic("ni1"), "magic = ni1: the values are in an .img file"},
      {magic("n+2"), "magic = 'n+2?'"},
      {magic("\0\0\0"), "may be Analyze"},
      {change(40, int16_t(0)), "dim[0] = 0"},
      {change(40, int16_t(8)), "dim[0] = 8"},
      {change(40, int16_t(-1)), "dim[0] = -1"},
      {change(44, int16_t(0)), "dim = 4 0 2"},
      {change(46, int16_t(-2)), "dim = 4 3 -2"},
      {change(46, int16_t(3)), "dim = 4 3 3: 72 bytes of values from byte 352 on cannot come from a file of 400 bytes"},
      {change(42, std::array<int16_t, 3>{32767, 32767, 32767}), "dim = 32767 32767 32767"},
      {change(40, std::array<int16_t, 8>{7, 32767, 32767, 32767, 32767, 32767, 32767, 32767}),
       "more bytes than 64 bits"},
      {change(70, int16_t(0)), "datatype = 0"},
      {change(70, int16_t(1)), "datatype = 1: values are single bits"},
      {change(70, int16_t(128)), "datatype = 128: values are colours"},
      {change(70, int16_t(2304)), "datatype = 2304: values are colours"},
      {change(70, int16_t(32)), "datatype = 32: values are complex"},
      {change(70, int16_t(1536)), "datatype = 1536: values are float128"},
      {change(70, int16_t(-4)), "datatype = -4"},
      {change(72, int16_t(8)), "bitpix = 8: datatype = 4 has 16 bits"},
      {change(80, 0.f), "pixdim = 0 0.75 2.5"},
      {change(84, -0.75f), "pixdim = 0.5 -0.75 2.5"},
      {change(88, NAN), "pixdim = 0.5 0.75 nan"},
      {change(80, INFINITY), "pixdim = inf"},
      {change(108, 0.f), "vox_offset = 0"},
      {change(108, 348.f), "vox_offset = 348"},
      {change(108, 352.5f), "vox_offset = 352.5"},
      {change(108, NAN), "vox_offset = nan"},
      {change(108, 1e38f), "vox_offset = "},
      {change(108, 1e9f), "from byte 1000000000 on"},
      {change(108, 368.f), "from byte 368 on"},
      {change(112, INFINITY), "scl_slope = inf"},
      {change(116, NAN), "scl_inter = nan"},
      {change(123, uint8_t(4)), "xyzt_units = 4"},
      {change(280, NAN), "srow = nan"},
      {change(292, INFINITY), "srow = "},
      {change(280, std::array<float, 12>{}), "column 1 is zero"},
      {change(280, std::array<float, 12>{1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0}), "singular"},
      {qform(256, NAN), "quatern = nan"},
      {qform(268, NAN), "qoffset = nan"},
      {qform(264, 1.1f), "the squares add up to"},
      {qform(76, NAN), "pixdim[0] = nan"},
  };
  for (const Case& c : cases)
    for (bool compressed : {false, true}) {
      CAPTURE(c.complaint, compressed);
      put(folder / "x.nii.gz", compressed ? gzipped(c.file.bytes) : c.file.bytes);
      const std::string message = error_of([&] { read_nifti(folder / "x.nii.gz"); });
      // How long a compressed file is shows only when it is read.
      const bool is_short = std::strstr(c.complaint, "byte ") && compressed;
      CHECK_THAT(message, Catch::Contains("x.nii.gz: ") && Catch::Contains(is_short ? "x.nii.gz: " : c.complaint));
    }
  for (const std::string& content :
       {std::string(), std::string(347, '\0'), std::string(400, '\0'), std::string("\x1f\x8b"),
        std::string("\x1f\x8b", 2) + std::string(400, 'x'), gzipped(""), gzipped("short")}) {
    put(folder / "x.nii", content);
    CHECK_THAT(error_of([&] { read_nifti(folder / "x.nii"); }), Catch::Contains("x.nii: "));
  }
  CHECK_THAT(error_of([&] { read_nifti(folder / "gone.nii"); }), Catch::Contains("gone.nii: No such file"));
}

TEST_CASE("nifti: short and damaged files end in an Error", "[nifti]") {
  const Scratch folder;
  const std::string plain = small_file(folder).bytes, packed = gzipped(plain);
  const auto error = [&](const std::string& content) {
    put(folder / "x.nii", content);
    return error_of([&] { read_nifti(folder / "x.nii"); });
  };
  REQUIRE(error(plain) == "no error");
  REQUIRE(error(packed) == "no error");
  REQUIRE(error(plain + "tail") == "no error");
  for (const std::string& whole : {plain, packed})
    for (size_t n = 0; n < whole.size(); n++) REQUIRE_THAT(error(whole.substr(0, n)), Catch::Contains("x.nii: "));
  REQUIRE_THAT(error(gzipped(plain.substr(0, 390))), Catch::Contains("x.nii: the file ends 10 bytes early"));

  std::mt19937 random(1);
  int read = 0, refused = 0;
  for (int i = 0; i < 2000; i++) {
    std::string content = i % 2 ? plain : packed;
    for (unsigned edits = 1 + random() % 3; edits > 0; edits--) {
      size_t at = random() % content.size();
      if (i % 4 == 1) at = 40 + random() % 84;  // sizes, types, offsets
      content[at] = char(random());
    }
    (error(content) == "no error" ? read : refused)++;
  }
  CHECK(read > 100);
  CHECK(refused > 500);
}

TEST_CASE("nifti: no memory is taken for values that cannot be there", "[nifti]") {
  const Scratch folder;
  // 2 GB of zeros are claimed: plainly, and by a stream that is too short for them even at deflate's best.
  const File huge = small_file(folder).set(42, std::array<int16_t, 3>{1024, 1024, 1024});
  put(folder / "x.nii", huge.bytes);
  put(folder / "x.nii.gz", gzipped(huge.bytes + std::string(1 << 20, '\0')));
  const auto megabytes = [] {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss >> 10;
  };
  const long before = megabytes();
  for (const char* name : {"x.nii", "x.nii.gz"})
    CHECK_THAT(error_of([&] { read_volume<int16_t>(folder / name); }),
               Catch::Contains("dim = 1024 1024 1024: 2147483648 bytes of values from byte 352 on cannot come from"));
  CHECK(megabytes() - before < 50);
}

TEST_CASE("nifti: what cannot be written is said, and leaves what was there", "[nifti]") {
  const Scratch folder;
  Image image;
  image.type = ElementType::u8, image.dims = {2, 1, 1, 2}, image.spacing.assign(4, 1), image.origin.assign(4, 0);
  image.direction = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}, image.data.resize(4);
  const auto refused = [&](auto change) {
    Image wrong = image;
    change(wrong);
    return error_of([&] { write_nifti(folder / "x.nii", wrong, wrong.data); });
  };
  REQUIRE(refused([](Image&) {}) == "no error");
  put(folder / "x.nii", "old");
  CHECK_THAT(refused([](Image& i) { i.data.pop_back(); }), Catch::Contains("3 bytes"));
  CHECK_THAT(refused([](Image& i) { i.spacing[1] = 0; }), Catch::Contains("x.nii: spacing = 1 0 1 1"));
  CHECK_THAT(refused([](Image& i) { i.spacing[1] = 1e-60; }), Catch::Contains("x.nii: pixdim = 1 0 1 1"));
  CHECK_THAT(refused([](Image& i) { i.spacing[1] = 1e-43, i.direction[5] = 0.6, i.direction[6] = 0.8; }),
             Catch::Contains("floats are too coarse"));
  CHECK(refused([](Image& i) { i.direction[0] = 2; }) == "no error");  // is written as a spacing of 2
  put(folder / "x.nii", "old");
  CHECK_THAT(refused([](Image& i) { i.origin[1] = 1e60; }), Catch::Contains("x.nii: srow = "));
  CHECK_THAT(refused([](Image& i) { i.origin[3] = 1; }), Catch::Contains("beyond the third dimension"));
  CHECK_THAT(refused([](Image& i) { i.direction[3] = 0.5; }), Catch::Contains("only the first three axes"));
  CHECK_THAT(refused([](Image& i) { i.channels = 2, i.data.resize(8); }), Catch::Contains("2 values per voxel"));
  CHECK_THAT(refused([](Image& i) { i.dims[3] = 40000, i.data.resize(80000); }), Catch::Contains("dims = 2 1 1 40000"));
  CHECK(read_file(folder / "x.nii", 10) == "old");
  CHECK_THAT(error_of([&] { write_nifti(folder / "x.mha", image, image.data); }),
             Catch::Contains("must end in .nii or .nii.gz"));
  for (const char* name : {"full.nii", "full.nii.gz"}) {
    fs::create_symlink("/dev/full", folder / name);
    CHECK_THAT(error_of([&] { write_volume(folder / name, small_ct()); }), Catch::Contains("No space left on device"));
  }
  CHECK_FALSE(folder.holds_temporary());
}

TEST_CASE("volume: the format follows from the name", "[nifti]") {
  const Scratch folder;
  for (const char* name : {"1.2.mhd", "1.2.mha", "1.2.nii", "1.2.nii.gz"}) {
    write_volume(folder / name, small_ct(flipped));
    CHECK(read_volume<int16_t>(folder / name).grid == small_ct(flipped).grid);
    CHECK(read_grid(folder / name) == small_ct(flipped).grid);
    CHECK(read_volume<int16_t>(folder / name).voxels == small_ct().voxels);
    CHECK(volume_name(folder / name) == "1.2");
  }
  CHECK(volume_ending("a/b.nii.gz") == ".nii.gz");
  for (const char* name : {"x.raw", "x.nii.gz.tmp", "x", "x.gz", ".nii", "x.nii/y"}) {
    CHECK(volume_ending(name).empty());
    CHECK_THAT(error_of([&] { read_volume<int16_t>(name); }),
               Catch::Contains("the name does not say the format; it must end in .mhd, .mha, .nii or .nii.gz"));
    CHECK_THAT(error_of([&] { write_volume(folder / "x.raw", small_ct()); }), Catch::Contains("x.raw: the name"));
  }
}
