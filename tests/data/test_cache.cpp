// The cache: what its files hold, and when they are made again.
#include "data/dataset/cache.h"
#include "data/dataset/dataset.h"
#include "data/formats/metaimage.h"
#include "data/formats/npy.h"
#include "data/volume/mask.h"
#include "tensor/io/file.h"
#include "tensor/io/safetensors.h"
#include "tests/data/folders.h"

#include <algorithm>
#include <set>

using namespace acinus;
namespace fs = std::filesystem;
using Catch::Contains;

namespace {

// One scan with one nodule, or one picture, and its cache.
struct CacheCase {
  const Scratch& folder;
  Source source;
  DataKind kind;
  CacheOptions options;
  CachedScan get() const { return cached_scan(source, kind, options); }
  bool made() const { return get().made; }
  std::string error() const {
    return error_of([&] { get(); });
  }
  std::string file() const {
    for (const auto& entry : fs::directory_iterator(options.folder)) return entry.path().string();
    return "";
  }
};

const Grid scan_grid{{12, 10, 4}, {0.8, 0.8, 2}, {-4, 10, 100}, flipped};
int16_t hu_at(int64_t i) { return int16_t(-1024 + i * 7 % 2500); }

CacheCase scan_case(const Scratch& folder) {
  Volume<int16_t> ct(scan_grid);
  for (size_t i = 0; i < ct.voxels.size(); i++) ct.voxels[i] = hu_at(int64_t(i));
  write_volume(folder / "1.2.mhd", ct);
  fs::create_directories(folder / "cache");
  Source source{"1.2", "1.2", "subset7", folder / "1.2.mhd", "", {{"1.2", scan_grid.to_world({5, 5, 2}), 4}}};
  return {folder, source, DataKind::ct, {.folder = folder / "cache", .lungs = false}};
}

template <class T>
CacheCase pair_case(const Scratch& folder, const std::vector<T>& values, const std::vector<uint8_t>& mask) {
  write_npy(folder / "image.npy", {1, int64_t(values.size())}, values);
  write_npy(folder / "mask.npy", {1, int64_t(mask.size())}, mask);
  fs::create_directories(folder / "cache");
  return {folder,
          {"a/b", "a", "", folder / "image.npy", folder / "mask.npy", {}},
          DataKind::pictures,
          {.folder = folder / "cache"}};
}

}  // namespace

TEST_CASE("cache: a scan is made once, with its voxels, labels, counts and place") {
  const Scratch folder;
  const CacheCase c = scan_case(folder);
  CHECK(bytes_to_cache(c.source, DataKind::ct, c.options) == 4 * 24 + 480 * 3);
  CHECK(c.get().made);
  CHECK(bytes_to_cache(c.source, DataKind::ct, c.options) == 0);
  const CachedScan cached = c.get();
  CHECK_FALSE(cached.made);
  const Scan& scan = cached.scan;
  CHECK((scan.id == "1.2" && scan.patient == "1.2" && scan.fold == "subset7" && scan.path == c.source.path));
  CHECK(scan.image.grid == scan_grid);
  CHECK(scan.nodules == c.source.nodules);
  const Volume<uint8_t> truth = sphere_mask(scan_grid, c.source.nodules);
  CHECK(scan.mask().voxels == truth.voxels);
  const auto in_lungs = [](uint8_t label) { return (label & kLungs) != 0; };
  CHECK(std::count_if(scan.labels, scan.labels + 480, in_lungs) == 480);  // not looked for: all are
  int64_t i = 0, hard[4] = {}, foreground[4] = {};
  for (int64_t z = 0; z < 4; z++)
    for (int64_t y = 0; y < 10; y++)
      for (int64_t x = 0; x < 12; x++, i++) {
        if (scan.image.at(x, y, z) != hu_at(i)) FAIL_CHECK("voxel " << i);
        CHECK(scan.labels[i] == (truth.voxels[size_t(i)] | kLungs));
        foreground[z] += truth.voxels[size_t(i)];
        hard[z] += !truth.voxels[size_t(i)] && hu_at(i) > kHardHu;
      }
  for (size_t z = 0; z < 4; z++)
    CHECK(
        (scan.slices[z].foreground == foreground[z] && scan.slices[z].lungs == 120 && scan.slices[z].hard == hard[z]));
  CHECK(scan.foreground == std::accumulate(foreground, foreground + 4, int64_t(0)));
  CHECK(scan.foreground > 0);

  // Others can read it: it is a .safetensors file, whose data begin on a page.
  const std::string content = read_file(c.file(), 1 << 20);
  uint64_t length;
  std::memcpy(&length, content.data(), 8);
  CHECK((8 + length) % 4096 == 0);
  CHECK(content.size() == 8 + length + 4 * 24 + 480 * 3);
  const SafeTensors file = read_safetensors(c.file());
  CHECK(file["image"].shape() == Shape{4, 10, 12, 1});
  CHECK(file["labels"].shape() == Shape{4, 10, 12});
  CHECK(file["slices"].shape() == Shape{4, 3});
  CHECK(file["image"].data<double>()[100] == hu_at(100));
  CHECK(file["labels"].data<double>()[100] == scan.labels[100]);
  CHECK(file["slices"].data<double>()[2 * 3] == double(foreground[2]));
}

TEST_CASE("cache: a file is made again when anything has changed of what it was made from") {
  const Scratch folder;
  CacheCase c = scan_case(folder);
  Volume<uint8_t> readers(scan_grid, 0);
  for (int64_t x : {3, 4, 5}) readers.at(x, 5, 2) = uint8_t(x - 2);
  write_volume(folder / "readers.mhd", readers);
  const auto again = [&](const char* what) {
    INFO(what);
    CHECK(c.made());
    CHECK_FALSE(c.made());
  };
  again("new");
  touch(folder / "1.2.mhd"), again("the header touched");
  touch(folder / "1.2.raw"), again("the data touched");
  c.source.nodules[0].diameter_mm = 3, again("an annotation");
  c.source.mask = folder / "readers.mhd", again("readers' outlines");
  CHECK(c.get().scan.foreground == 2);
  touch(folder / "readers.mhd"), again("outlines touched");
  touch(folder / "readers.raw"), again("the outlines' data touched");
  const auto scan_file = fs::last_write_time(folder / "1.2.raw");
  fs::last_write_time(folder / "1.2.raw", scan_file - std::chrono::hours(24)), again("an older file");

  // Of other options there are files beside, so the first ones are still there.
  const CacheOptions before = c.options;
  c.options.masks = MaskSource::spheres, again("masks");
  c.options.bytes = true, again("bits");
  c.options.window.high = 300, again("the window");
  c.options.lungs = true, again("lungs");
  CHECK(std::distance(fs::directory_iterator(c.options.folder), fs::directory_iterator()) == 5);
  c.options = before;
  CHECK_FALSE(c.made());
  c.options.window.high = 300;  // of no interest with 16 bits
  CHECK_FALSE(c.made());

  // The same file by another name.
  c.options = before;
  c.source.path = folder / "cache/../1.2.mhd";
  CHECK_FALSE(c.made());
  fs::create_directory_symlink(folder.path, folder / "link");
  c.source.path = folder / "link/1.2.mhd";
  CHECK_FALSE(c.made());
}

TEST_CASE("cache: damaged files are made again") {
  const Scratch folder;
  const CacheCase c = scan_case(folder);
  REQUIRE(c.made());
  const std::string path = c.file(), good = read_file(path, 1 << 20);
  const auto remade = [&](const std::string& content) {
    put(path, content);
    const CachedScan cached = c.get();
    return cached.made && read_file(path, 1 << 20) == good;
  };
  for (size_t size : {size_t(0), size_t(1), size_t(7), size_t(8), size_t(9), size_t(500), size_t(4095), size_t(4096),
                      size_t(4097), size_t(4200), good.size() - 1}) {
    INFO(size);
    CHECK(remade(good.substr(0, size)));
  }
  CHECK(remade(good + "x"));
  CHECK(remade(std::string(good.size(), '\0')));
  CHECK(remade(std::string(good.size(), '\xff')));
  const auto with = [&](const std::string& from, const std::string& to) {
    REQUIRE((good.find(from) != good.npos && from.size() == to.size()));
    return std::string(good).replace(good.find(from), from.size(), to);
  };
  CHECK(remade(with("\\\"version\\\":1", "\\\"version\\\":9")));
  CHECK(remade(with("\\\"channels\\\":1", "\\\"channels\\\":7")));
  CHECK(remade(with("[12,10,4]", "[10,12,4]")));  // of the same size
  CHECK(remade(with("\\\"bytes\\\":false", "\\\"bytes\\\":1e999")));
  // Each byte of the header, one after the other.
  uint64_t length;
  std::memcpy(&length, good.data(), 8);
  const size_t end = good.find_last_of('}', 8 + length) + 1;
  int kept = 0;
  for (size_t i = 0; i < end; i += 5) {
    std::string bad = good;
    bad[i] = char(bad[i] ^ (1 << i % 7));
    put(path, bad);
    const CachedScan cached = c.get();
    const Scan& scan = cached.scan;
    kept += !cached.made;
    if (scan.image.grid != scan_grid || scan.slices.size() != 4 || scan.image.at(11, 9, 3) != hu_at(479))
      FAIL_CHECK("byte " << i);
  }
  CHECK(kept < 40);  // changes of what nobody looks at, such as the offsets
  // Counts that cannot be, which would send the sampler looking for ever.
  std::string bad = good;
  bad[8 + length + 7] = '\x7f';
  CHECK(remade(bad));
  bad = good, bad[8 + length + 2 * 24 + 1] = 1;
  CHECK(remade(bad));
}

TEST_CASE("cache: values are what they were, or as near as 16 or 8 bits come") {
  const Scratch folder;
  const std::vector<uint8_t> mask{0, 0, 1, 1, 0, 0};
  const auto largest_error = [&](const auto& values) {
    const CacheCase c = pair_case(folder, values, mask);
    const CachedScan cached = c.get();
    CHECK((cached.made && cached.scan.image.scale > 0));
    double error = 0;
    for (size_t i = 0; i < values.size(); i++)
      error = std::max(error, std::abs(cached.scan.image.at(int64_t(i), 0, 0) - double(values[i])));
    touch(folder / "image.npy");  // for the next one
    return error;
  };
  CHECK(largest_error(std::vector<uint8_t>{0, 1, 128, 254, 255, 7}) == 0);
  CHECK(largest_error(std::vector<int8_t>{-128, 1, 127, 0, 0, 7}) == 0);
  CHECK(largest_error(std::vector<int16_t>{-32768, 32767, 0, 1, -1, 7}) == 0);
  CHECK(largest_error(std::vector<uint16_t>{0, 65535, 1, 32768, 32767, 40000}) == 0);
  CHECK(largest_error(std::vector<int32_t>{1000000, 1065535, 1000001, 1033333, 1000000, 1000007}) == 0);
  CHECK(largest_error(std::vector<float>{-1000, 3071, 0, 1, 2, 3}) == 0);
  CHECK(largest_error(std::vector<float>{0, 1, 0.3f, 0.7f, 0.123456f, 1e-5f}) <= 0.5001 / 65535);
  CHECK(largest_error(std::vector<double>{-2e6, 3e6, 1.5, 0, 2.5, 100}) <= 0.5001 * 5e6 / 65535);
  CHECK(largest_error(std::vector<int32_t>{-2000000, 3000000, 1, 0, 2, 100}) <= 0.5001 * 5e6 / 65535);
  CHECK(largest_error(std::vector<float>{0.3f, 0.3f, 0.3f, 0.3f, 0.3f, 0.3f}) < 1e-9);  // a step of 0
  CHECK(largest_error(std::vector<double>{0, 5e-324, 0, 0, 0, 0}) <= 5e-324);
  CHECK_THAT(pair_case(folder, std::vector<float>{0, 1, NAN, 0, 0, 0}, mask).error(),
             Contains("image.npy: value 2 of the image is nan"));
  CHECK_THAT(pair_case(folder, std::vector<double>{-1e308, 1e308, 0, 0, 0, 0}, mask).error(),
             Contains("too far apart"));

  // Outside of a picture it is black; and no voxel of it lies outside the "lungs".
  const CachedScan picture = pair_case(folder, std::vector<float>{0, 1, 2, 3, 4, 5}, mask).get();
  CHECK(picture.scan.image.outside == -INFINITY);
  CHECK(picture.scan.slices[0].lungs == 6);
  CHECK((picture.scan.mask().voxels == mask && picture.scan.foreground == 2 && picture.scan.classes == 1));

  // A CT in 8 bits: half a step of the window at most, what lies outside clamped.
  CacheCase c = scan_case(folder);
  c.options.bytes = true, c.options.window = {-1000, 530};
  CHECK(bytes_to_cache(c.source, DataKind::ct, c.options) == 4 * 24 + 480 * 2);
  const CachedScan bytes = c.get();
  for (int64_t i = 0; i < 480; i++) {
    const double hu = std::clamp<double>(hu_at(i), -1000, 530);
    if (std::abs(bytes.scan.image.at(i % 12, i / 12 % 10, i / 120) - hu) > 3.0001) FAIL_CHECK(i);
  }
}

TEST_CASE("cache: colours, classes, and pictures whose names would meet") {
  const Scratch folder;
  const auto make = [&](const std::string& id, uint8_t first) {
    fs::create_directories(fs::path(folder / ("images/" + id)).parent_path());
    fs::create_directories(fs::path(folder / ("masks/" + id)).parent_path());
    Picture picture{4, 3, 3, {}}, mask{4, 3, 1, {}};
    for (int i = 0; i < 36; i++) picture.pixels.push_back(uint8_t(first + i));
    for (int i = 0; i < 12; i++) mask.pixels.push_back(uint8_t(i % 3 * 100));
    write_png(folder / ("images/" + id + ".png"), picture);
    write_png(folder / ("masks/" + id + ".png"), mask);
  };
  const std::string deep = std::string(200, 'd') + "/" + std::string(200, 'e');
  make("a/b", 0), make("a+b", 100), make("ü b", 50), make(deep, 60);
  const CacheOptions options{.folder = folder / "cache", .classes = {0, 100, 200}};
  for (bool made : {true, false}) {
    const Dataset data = load_dataset(folder.path.string(), options);
    CHECK((data.made == (made ? 4 : 0) && !data.is_ct() && data.classes == 2));
    REQUIRE(data.scans.size() == 4);
    CHECK((data.scans[0].id == "a+b" && data.scans[1].id == "a/b" && data.scans[2].id == deep));
    const uint8_t first[] = {100, 0, 60, 50};
    for (size_t k = 0; k < 4; k++) {
      const Scan& scan = data.scans[k];
      CHECK((scan.image.channels == 3 && scan.image.grid.size == Index3{4, 3, 1} && scan.classes == 2));
      for (int64_t i = 0; i < 36; i++) CHECK(scan.image.at(i / 3 % 4, i / 12, 0, i % 3) == first[k] + i);
      for (int64_t i = 0; i < 12; i++) CHECK(scan.labels[i] == (i % 3 | kLungs));
    }
  }
  CHECK_THAT(error_of([&] { load_dataset(folder.path.string(), {.folder = folder / "cache"}); }),
             Contains("masks/") && Contains("100") && Contains("--classes"));
}

TEST_CASE("cache: masks of another size or place than their image, and what cannot be written") {
  const Scratch folder;
  CHECK_THAT(pair_case(folder, std::vector<float>(6), std::vector<uint8_t>(5)).error(),
             Contains("mask.npy: 5x1x1 voxels, but ") && Contains("image.npy has 6x1x1"));
  CacheCase c = pair_case(folder, std::vector<float>(6), std::vector<uint8_t>(6));
  Volume<int16_t> image(scan_grid);
  Volume<uint8_t> mask(scan_grid);
  write_volume(folder / "image.nii.gz", image);
  c.source.path = folder / "image.nii.gz", c.source.mask = folder / "mask.mhd";
  write_volume(c.source.mask, mask);
  CHECK(c.made());
  mask.grid.origin[0] += 0.5;  // more than half of a voxel of 0.8 mm
  write_volume(c.source.mask, mask), touch(c.source.mask);
  CHECK_THAT(c.error(), Contains("mask.mhd: its voxel (0, 0, 0) lies at (-0.6") && Contains("spacing or direction"));
  mask.grid = scan_grid, mask.grid.direction = Grid().direction;
  write_volume(c.source.mask, mask), touch(c.source.mask);
  CHECK_THAT(c.error(), Contains("mask.mhd: its voxel (1"));
  c.source.mask = folder / "mask.npy";  // has no place: only the size must fit
  write_npy(c.source.mask, {4, 10, 12}, std::vector<uint8_t>(480));
  CHECK(c.error() == "no error");

  // A colour image and its mask, both with a place.
  MetaImage colour;
  colour.type = ElementType::u8, colour.channels = 3, colour.dims = {12, 10, 4}, colour.spacing = {0.8, 0.8, 2};
  colour.origin = {-4, 10, 100}, colour.direction = {-1, 0, 0, 0, -1, 0, 0, 0, 1}, colour.data.resize(1440);
  write_metaimage(folder / "colour.mhd", colour, colour.data);
  mask.grid = scan_grid;
  write_volume(folder / "mask.mhd", mask);
  c.source.path = folder / "colour.mhd", c.source.mask = folder / "mask.mhd";
  CHECK(bytes_to_cache(c.source, DataKind::pictures, c.options) >= 480 * 4);
  CHECK(c.error() == "no error");
  CHECK(c.get().scan.image.grid == scan_grid);

  CacheCase scan = scan_case(folder);
  put(folder / "file", "");
  scan.options.folder = folder / "file";  // no folder
  CHECK_THAT(scan.error(), Contains("cannot write ") && Contains("file/1.2-"));
  scan.options.folder = folder / "cache";
  scan.options.masks = MaskSource::readers;
  CHECK_THAT(scan.error(), Contains("no outlines of scan 1.2"));
  scan.source.path = folder / "gone.mhd";
  CHECK_THAT(scan.error(), Contains("gone.mhd") && Contains("No such file"));
  CHECK_FALSE(folder.holds_temporary());

  // Headers may claim any size.
  put(folder / "huge.mhd",
      "ObjectType = Image\nNDims = 3\nDimSize = 1000000 1000000 1000000\nElementType = MET_UCHAR\n"
      "ElementDataFile = huge.raw\n");
  scan.source.path = folder / "huge.mhd";
  put(folder / "huge.raw", "");
  CHECK(bytes_to_cache(scan.source, DataKind::ct, scan.options) == int64_t(1) << 50);
}
