// From folders to scans: what lies in a folder, the cache, data sets and their splits.
#include "data/dataset/cache.h"
#include "data/dataset/dataset.h"
#include "data/dataset/source.h"
#include "data/formats/metaimage.h"
#include "data/formats/npy.h"
#include "data/formats/png.h"
#include "data/formats/volume_io.h"
#include "data/volume/mask.h"
#include "tensor/io/file.h"
#include "tensor/io/safetensors.h"
#include "tests/testing.h"

#include <algorithm>
#include <set>

using namespace acinus;
namespace fs = std::filesystem;
using Catch::Contains;

namespace {

const Mat3 flipped{{{-1, 0, 0}, {0, -1, 0}, {0, 0, 1}}};
const Grid small_grid{{8, 6, 5}, {1, 1, 2}, {-4, 10, 100}, flipped};
const char* const names = "seriesuid,coordX,coordY,coordZ,diameter_mm\n";

void folder_of(const std::string& path) { fs::create_directories(fs::path(path).parent_path()); }

void add_scan(const Scratch& folder, const std::string& path, const Grid& grid = small_grid) {
  folder_of(folder / path);
  write_volume(folder / path, Volume<int16_t>(grid, -800));
}

// 4 x 3 pixels of `channels` times the same value.
void add_picture(const Scratch& folder, const std::string& path, uint8_t value = 7, int channels = 1) {
  folder_of(folder / path);
  write_png(folder / path, {4, 3, channels, std::vector<uint8_t>(size_t(12 * channels), value)});
}

std::string source_error(const Scratch& folder) {
  return error_of([&] { find_sources(folder.path.string()); });
}

std::vector<std::string> ids(const Sources& sources) {
  std::vector<std::string> all;
  for (const Source& source : sources.list) all.push_back(source.id);
  return all;
}

const Source& source_named(const Sources& sources, const std::string& id) {
  const auto found =
      std::find_if(sources.list.begin(), sources.list.end(), [&](const Source& s) { return s.id == id; });
  REQUIRE(found != sources.list.end());
  return *found;
}

using Names = std::vector<std::string>;

}  // namespace

// ---- sources -------------------------------------------------------------------------------------------------------

TEST_CASE("source: LUNA16 as it is unpacked") {
  const Scratch folder;
  Names all;
  std::string list = names;
  for (int i = 0; i < 10; i++) {
    const std::string uid = text("1.3.6.", i);
    add_scan(folder, text("subset", i, "/", uid, ".mhd"));
    add_scan(folder, text("seg-lungs-LUNA16/", uid, ".mhd"));  // not the scan for a second time
    list += text(uid, ",1,2,3,4\n");
    all.push_back(uid);
  }
  put(folder / "annotations.csv", list + "1.3.6.4,5,6,7,8\n1.3.6.4,1,2,3,4\n1.3.6.77,1,2,3,4\n");
  put(folder / "subset0/._1.3.6.0.mhd", "a Mac's");
  put(folder / "candidates.csv", "of no interest");
  const Sources sources = find_sources(folder.path.string());
  CHECK(sources.kind == DataKind::ct);
  REQUIRE(ids(sources) == all);
  for (int i = 0; i < 10; i++) {
    const Source& s = sources.list[size_t(i)];
    CHECK((s.fold == text("subset", i) && s.patient == s.id && s.mask.empty()));
    CHECK(s.path == folder / text("subset", i, "/", s.id, ".mhd"));
    CHECK(s.nodules.size() == (i == 4 ? 2 : 1));  // the doubled row once
  }
  REQUIRE(sources.warnings.size() == 2);
  CHECK_THAT(sources.warnings[0], Contains("1 scan ") && Contains("1.3.6.77"));
  CHECK_THAT(sources.warnings[1], Contains("1 row twice"));
}

TEST_CASE("source: Tianchi's names and its place for the list, readers' outlines, any folders") {
  const Scratch folder;
  add_scan(folder, "train_subset00/LKDS-00001.mhd");
  add_scan(folder, "a folder/übung/LKDS-00002.nii.gz");
  add_scan(folder, "LKDS-00003.mha");
  add_scan(folder, "LKDS-00003_mask.nii");  // beside its scan, and none itself
  add_scan(folder, "LKDS-00003_prob.mhd");
  add_scan(folder, "readers/LKDS-00003_readers.nii.gz");
  folder_of(folder / "csv/train/annotations.csv");
  put(folder / "csv/train/annotations.csv", text(names, "LKDS-00001,1,2,3,4\n"));
  const Sources sources = find_sources(folder.path.string());
  CHECK(ids(sources) == Names{"LKDS-00001", "LKDS-00002", "LKDS-00003"});
  CHECK(sources.list[0].fold.empty());
  CHECK(sources.list[1].path == folder / "a folder/übung/LKDS-00002.nii.gz");
  CHECK(sources.list[2].mask == folder / "readers/LKDS-00003_readers.nii.gz");
  CHECK((sources.list[0].mask.empty() && sources.warnings.empty()));
}

TEST_CASE("source: links are followed, and loops of links end") {
  const Scratch folder;
  add_scan(folder, "store/x/1.mhd");
  fs::create_directories(folder / "luna");
  fs::create_directory_symlink(folder / "store/x", folder / "luna/subset3");
  fs::create_directory_symlink(folder / "luna", folder / "store/x/up");  // subset3/up/subset3/up/...
  fs::create_directory_symlink(".", folder / "luna/again");
  fs::create_symlink("itself", folder / "luna/itself");
  put(folder / "luna/annotations.csv", text(names, "1,1,2,3,4\n"));
  const Sources luna = find_sources(folder / "luna");
  REQUIRE(ids(luna) == Names{"1"});

  // A picture has the name of the link, not of what it leads to.
  add_picture(folder, "store/p/8f3a.png");
  add_picture(folder, "store/m/anna/1.png");
  fs::create_directories(folder / "pairs/images/anna");
  fs::create_symlink(folder / "store/p/8f3a.png", folder / "pairs/images/anna/1.png");
  fs::create_directory_symlink(folder / "store/m", folder / "pairs/masks");
  const Sources pairs = find_sources(folder / "pairs");
  REQUIRE(ids(pairs) == Names{"anna/1"});
  CHECK(pairs.list[0].patient == "anna");
  put(folder / "luna/subset3/2.mhd", "");
  fs::create_symlink(folder / "nowhere", folder / "luna/3.mhd");  // whoever reads it will say so
  CHECK(ids(find_sources(folder / "luna")) == Names{"1", "2", "3"});
}

TEST_CASE("source: images and masks of the same name") {
  const Scratch folder;
  Volume<uint8_t> slice(Grid{{4, 3, 1}});
  for (const char* name : {"a.png", "b.png", "c.png", "d_0000.png", "anna/1.png", "anna/2.png", "ben/1.png"})
    add_picture(folder, text("images/", name));
  for (const char* name : {"a.png", "b_mask.png", "c_seg.png", "d.png", "anna/1.png", "anna/2_mask.png", "ben/1.png"})
    add_picture(folder, text("masks/", name));
  write_npy(folder / "images/n.npy", {3, 4}, std::vector<float>(12));
  write_npy(folder / "masks/n.npy", {3, 4}, std::vector<uint8_t>(12));
  write_volume(folder / "images/v.nii.gz", slice);
  write_volume(folder / "masks/v.mhd", slice);  // its .raw is no picture
  write_volume(folder / "images/w.w.mhd", slice);
  write_volume(folder / "masks/w.w_seg.nii", slice);
  put(folder / "images/readme.txt", "");
  Sources sources = find_sources(folder.path.string());
  CHECK(sources.kind == DataKind::pictures);
  CHECK(ids(sources) == Names{"a", "anna/1", "anna/2", "b", "ben/1", "c", "d_0000", "n", "v", "w.w"});
  CHECK(sources.warnings.empty());
  const auto mask = [&](const char* id) { return fs::path(source_named(sources, id).mask).filename().string(); };
  CHECK((mask("a") == "a.png" && mask("b") == "b_mask.png" && mask("c") == "c_seg.png" && mask("d_0000") == "d.png"));
  CHECK((mask("anna/2") == "2_mask.png" && mask("v") == "v.mhd" && mask("w.w") == "w.w_seg.nii"));
  CHECK(source_named(sources, "ben/1").mask == folder / "masks/ben/1.png");
  CHECK((source_named(sources, "anna/1").patient == "anna" && source_named(sources, "anna/2").patient == "anna"));
  CHECK((source_named(sources, "ben/1").patient == "ben" && source_named(sources, "a").patient == "a"));

  add_picture(folder, "images/alone.png");
  add_picture(folder, "images/zoo.png");
  add_picture(folder, "masks/nobody.png");
  sources = find_sources(folder.path.string());
  REQUIRE(sources.warnings.size() == 2);
  CHECK_THAT(sources.warnings[0], Contains("2 images have no mask") && Contains("images/alone.png"));
  CHECK_THAT(sources.warnings[1], Contains("1 mask without an image") && Contains("masks/nobody.png"));
  CHECK(sources.list.size() == 10);

  write_npy(folder / "images/a.npy", {3, 4}, std::vector<float>(12));
  CHECK_THAT(source_error(folder), Contains("two pictures have one name") && Contains("a.npy") && Contains("a.png"));
}

TEST_CASE("source: each thing that is wrong is said") {
  const Scratch folder;
  CHECK_THAT(error_of([&] { find_sources(folder / "none"); }), Contains("none: no such folder"));
  put(folder / "file", "");
  CHECK_THAT(error_of([&] { find_sources(folder / "file"); }), Contains("file: no such folder"));
  CHECK_THAT(source_error(folder), Contains("holds no annotations.csv") && Contains("images/ and masks/"));
  put(folder / "annotations.csv", names);
  CHECK_THAT(source_error(folder), Contains("holds no scan"));
  add_scan(folder, "subset0/1.2.3.mhd");
  CHECK_THAT(source_error(folder), Contains("no row of annotations.csv") && Contains("1.2.3"));
  put(folder / "annotations.csv", text(names, "9.9,1,2,3,4\n"));
  CHECK_THAT(source_error(folder), Contains("1 scan here") && Contains("1.2.3") && Contains("9.9"));
  put(folder / "annotations.csv", text(names, "1.2.3,-8,6,104\n"));
  CHECK_THAT(source_error(folder), Contains("annotations.csv:2"));
  put(folder / "annotations.csv", text(names, "1.2.3,-8,6,104,3\n"));
  CHECK(source_error(folder) == "no error");
  add_scan(folder, "subset1/1.2.3.mha");
  CHECK_THAT(source_error(folder), Contains("1.2.3 is there twice") && Contains("1.2.3.mhd") && Contains("1.2.3.mha"));

  fs::remove(folder / "annotations.csv");
  fs::create_directories(folder / "images");
  CHECK_THAT(source_error(folder), Contains("holds no annotations.csv"));
  fs::create_directories(folder / "masks");
  CHECK_THAT(source_error(folder), Contains("images: holds no picture"));
  add_picture(folder, "images/a.png");
  CHECK_THAT(source_error(folder), Contains("images/a.png") && Contains("there is no mask"));
  add_picture(folder, "masks/b.png");
  CHECK_THAT(source_error(folder), Contains("images/a.png") && Contains("masks/b.png"));
}

// ---- the cache -----------------------------------------------------------------------------------------------------

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

// Another time, at once; a write within the clock's step might leave it.
void touch(const std::string& path) { fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(2)); }

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
  const std::vector<uint8_t> lungs = scan.lungs().voxels;
  CHECK(std::count(lungs.begin(), lungs.end(), 1) == 480);  // not looked for: all are
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
  write_metaimage(folder / "colour.mhd", colour);
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

// ---- data sets -----------------------------------------------------------------------------------------------------

namespace {

Dataset load(const Scratch& folder, MaskSource masks = MaskSource::automatic, int64_t memory = int64_t(4) << 30) {
  return load_dataset(folder.path.string(), {.folder = folder / ".cache", .masks = masks, .lungs = false}, memory);
}
std::string load_error(const Scratch& folder, MaskSource masks = MaskSource::automatic) {
  return error_of([&] { load(folder, masks); });
}

}  // namespace

TEST_CASE("dataset: scans, nodules and masks are read, and oddities are warned of") {
  const Scratch folder;
  add_scan(folder, "subset0/1.2.b.mhd");
  add_scan(folder, "deep/er/1.2.a.mha");
  add_scan(folder, "1.2.c.nii.gz");
  put(folder / "annotations.csv", text(names, "1.2.b,-8,6,104,3\n1.2.b,-8,6,204,3\n1.2.x,0,0,0,4\n1.2.y,0,0,0,4\n",
                                       "1.2.a,-6,8,102,2.2\n1.2.b,-5,9,100,1\n"));
  std::vector<std::pair<int64_t, int64_t>> progress;
  const Dataset data = load_dataset(folder.path.string(), {.folder = folder / ".cache", .lungs = false}, 1 << 20,
                                    [&](int64_t done, int64_t of) { progress.emplace_back(done, of); });
  CHECK(progress == std::vector<std::pair<int64_t, int64_t>>{{1, 3}, {2, 3}, {3, 3}});
  REQUIRE(data.scans.size() == 3);
  CHECK((data.scans[0].id == "1.2.a" && data.scans[1].id == "1.2.b" && data.scans[2].id == "1.2.c"));
  CHECK((data.scans[0].nodules.size() == 1 && data.scans[1].nodules.size() == 2 && data.scans[2].nodules.empty() &&
         data.scans[2].foreground == 0));
  CHECK((data.made == 3 && data.classes == 1 && data.is_ct()));
  for (const Scan& scan : data.scans) CHECK(scan.image.grid == small_grid);
  CHECK(data.scans[1].mask().voxels == sphere_mask(small_grid, data.scans[1].nodules).voxels);
  REQUIRE(data.warnings.size() == 2);
  CHECK_THAT(data.warnings[0], Contains("2 scans that are not here"));
  CHECK_THAT(data.warnings[1], Contains("1.2.b") && Contains("(-8, 6, 204)") && Contains("outside"));
  const Dataset again = load(folder);
  CHECK((again.made == 0 && again.warnings == data.warnings));
  CHECK_FALSE(folder.holds_temporary());
}

TEST_CASE("dataset: readers' outlines are used where they are, and must fit") {
  const Scratch folder;
  add_scan(folder, "1.mhd");
  add_scan(folder, "2.mhd");
  put(folder / "annotations.csv", text(names, "1,-8,6,104,3\n2,-8,6,104,3\n"));
  Volume<uint8_t> readers(small_grid, 0);
  readers.at(1, 2, 3) = 2, readers.at(2, 2, 3) = 4, readers.at(3, 2, 3) = 1;
  fs::create_directories(folder / "readers");
  write_volume(folder / "readers/1_readers.mhd", readers);
  const Volume<uint8_t> spheres = sphere_mask(small_grid, {{"1", {-8, 6, 104}, 3}});
  const Dataset data = load(folder);
  CHECK(data.scans[0].foreground == 2);
  CHECK((data.scans[0].mask().at(1, 2, 3) == 1 && data.scans[0].mask().at(3, 2, 3) == 0));
  CHECK(data.scans[1].mask().voxels == spheres.voxels);
  CHECK(load(folder, MaskSource::spheres).scans[0].mask().voxels == spheres.voxels);
  CHECK_THAT(load_error(folder, MaskSource::readers), Contains("no outlines of scan 2"));
  write_volume(folder / "readers/1_readers.mhd", Volume<uint8_t>(Grid{{8, 6, 4}}));
  CHECK_THAT(load_error(folder), Contains("1_readers.mhd") && Contains("8x6x4") && Contains("8x6x5"));
  Volume<uint8_t> elsewhere = readers;
  elsewhere.grid.origin[0] += 20;
  write_volume(folder / "readers/1_readers.mhd", elsewhere);
  CHECK_THAT(load_error(folder), Contains("1_readers.mhd: its voxel (0, 0, 0) lies at"));
  fs::remove(folder / "readers/1_readers.mhd");
  write_volume(folder / "readers/1_readers.nii.gz", readers);
  CHECK(load(folder).scans[0].foreground == 2);
  CHECK(named<MaskSource>("auto") == MaskSource::automatic);
  CHECK(named<MaskSource>("spheres") == MaskSource::spheres);
  CHECK(named<MaskSource>("readers") == MaskSource::readers);
  CHECK_THAT(error_of([] { named<MaskSource>("both"); }), Contains("\"both\""));
}

TEST_CASE("dataset: an error in one of several scans is thrown, and names its file") {
  const Scratch folder;
  std::string list = names;
  for (int i = 0; i < 8; i++) add_scan(folder, text(i, ".mhd")), list += text(i, ",-8,6,104,3\n");
  put(folder / "annotations.csv", list);
  const Threads three(3);
  fs::resize_file(folder / "5.raw", 8 * 6 * 5 * 2 - 1);
  CHECK_THAT(load_error(folder), Contains("5.raw"));
  fs::remove(folder / "5.raw");
  CHECK_THAT(load_error(folder), Contains("5.raw") && Contains("No such file"));
  put(folder / "5.mhd", "ObjectType = Image\nNDims = 3\n");
  CHECK_THAT(load_error(folder), Contains("5.mhd"));
  CHECK_FALSE(folder.holds_temporary());
  const auto stop = [](int64_t, int64_t) { fail("stopped"); };
  fs::remove(folder / "5.mhd");
  CHECK(error_of([&] { load_dataset(folder.path.string(), {.folder = folder / ".cache"}, 1 << 30, stop); }) ==
        "stopped");
  put(folder / "file", "");
  CHECK_THAT(error_of([&] { load_dataset(folder.path.string(), {.folder = folder / "file/cache"}); }),
             Contains("cannot make the folder"));
}

TEST_CASE("dataset: several threads make the same files as one") {
  const Scratch folder;
  std::string list = names;
  for (int i = 0; i < 6; i++) {
    Volume<int16_t> ct(Grid{{20, 18, 9}, {1, 1, 1}, {0, 0, 0}, flipped});
    for (size_t k = 0; k < ct.voxels.size(); k++) ct.voxels[k] = int16_t(random_bits(uint64_t(i), k) % 2000 - 1000);
    write_volume(folder / text(i, ".mha"), ct);
    list += text(i, ",-8,-6,4,5\n");
  }
  put(folder / "annotations.csv", list);
  const auto files = [&](int threads, int64_t memory) {
    const Threads these(threads);
    const std::string cache = folder / text(".cache", threads, "-", memory);
    const Dataset data = load_dataset(folder.path.string(), {.folder = cache}, memory);
    CHECK(data.made == 6);
    std::map<std::string, std::string> contents;
    for (const auto& entry : fs::directory_iterator(cache))
      contents[entry.path().filename().string()] = read_file(entry.path().string(), 1 << 20);
    return contents;
  };
  const auto one = files(1, 1 << 30);
  CHECK(one.size() == 6);
  CHECK(files(4, 1 << 30) == one);
  CHECK(files(4, 1) == one);  // one scan after the other, each by all
}

TEST_CASE("dataset: its identity is that of the scans and masks") {
  const Scratch folder;
  const auto mask = [&](const std::vector<uint8_t>& pixels) {
    write_png(folder / "masks/a.png", {4, 1, 1, pixels});
    touch(folder / "masks/a.png");
    return identity(load_dataset(folder.path.string(), {.folder = folder / "cache"}));
  };
  fs::create_directories(folder / "images"), fs::create_directories(folder / "masks");
  write_png(folder / "images/a.png", {4, 1, 1, {1, 2, 3, 4}});
  const std::string first = mask({0, 1, 0, 0});
  CHECK_THAT(first, Contains("1 picture, "));
  std::set<std::string> others;
  others.insert(mask({0, 0, 1, 0}));  // moved within the slice
  others.insert(mask({0, 1, 1, 0}));
  others.insert(mask({0, 2, 0, 0}));  // another class
  CHECK((others.size() == 3 && !others.contains(first)));
  CHECK(mask({0, 1, 0, 0}) == first);    // back again, though the file is new
  CHECK(mask({0, 255, 0, 0}) == first);  // the same, said in another way
  fs::copy(folder / "images/a.png", folder / "images/b.png");
  fs::copy(folder / "masks/a.png", folder / "masks/b.png");
  CHECK_THAT(mask({0, 1, 0, 0}), Contains("2 pictures, ") && !Contains(first.substr(first.find(", "))));
}

TEST_CASE("dataset: pictures have as many channels each") {
  const Scratch folder;
  add_picture(folder, "images/a.png", 3, 1), add_picture(folder, "images/b.png", 3, 3);
  add_picture(folder, "masks/a.png", 1), add_picture(folder, "masks/b.png", 1);
  CHECK_THAT(load_error(folder), Contains("b.png: has 3 channels, ") && Contains("a.png has 1"));
  add_picture(folder, "images/b.png", 3, 4), touch(folder / "images/b.png");
  add_picture(folder, "images/a.png", 3, 3), touch(folder / "images/a.png");
  CHECK(load_error(folder) == "no error");
}

TEST_CASE("dataset: more than the disk has room for is refused before any of it is made") {
  const Scratch folder;
  fs::create_directories(folder / "subset0");
  put(folder / "subset0/1.mhd",
      "ObjectType = Image\nNDims = 3\nDimSize = 1000000 1000000 1000000\nElementType = "
      "MET_UCHAR\nElementDataFile = 1.raw\n");
  put(folder / "subset0/1.raw", "");
  put(folder / "annotations.csv", text(names, "1,1,2,3,4\n"));
  CHECK_THAT(load_error(folder), Contains("MB more, and the disk has") && Contains("--cache_bits 8"));
}

TEST_CASE("dataset: the cache's place depends on where the data are") {
  const Scratch folder;
  fs::create_directories(folder / "my data");
  const std::string place = default_cache(folder / "my data");
  CHECK_THAT(place, Catch::StartsWith("runs/cache/my data-"));
  CHECK(default_cache(folder / "my data/") == place);
  CHECK(default_cache(folder / "other/../my data") == place);
  CHECK(default_cache(folder / "other/my data") != place);
}

// ---- splits --------------------------------------------------------------------------------------------------------

namespace {

// Patients 1.0 ... 1.<n-1>; those below `healthy` have no nodule.
Dataset patients(int n, int healthy = 0) {
  Dataset data;
  for (int i = 0; i < n; i++) {
    std::vector<Annotation> nodules;
    if (i >= healthy) nodules.push_back({text("1.", i), small_grid.to_world({4, 3, 2}), 3});
    data.scans.push_back(
        make_scan(text("1.", i), Volume<int16_t>(small_grid, 0), sphere_mask(small_grid, nodules), nodules));
  }
  return data;
}

std::string split_error(const Dataset& data, const SplitOptions& options) {
  return error_of([&] { split_patients(data, options); });
}

}  // namespace

TEST_CASE("split: every patient is on one side, the same for the same seed") {
  const Dataset data = patients(20, 12), one_ill = patients(10, 9), two = patients(2);
  std::set<std::vector<size_t>> seen;
  for (uint64_t seed = 0; seed < 30; seed++) {
    const Split split = split_patients(data, {.fraction = 0.25, .seed = seed});
    CHECK((split.validation.size() == 5 && split.train.size() == 15));
    std::set<size_t> all(split.train.begin(), split.train.end());
    all.insert(split.validation.begin(), split.validation.end());
    CHECK(all.size() == 20);
    const auto ill = [](size_t i) { return i >= 12; };
    CHECK(std::any_of(split.validation.begin(), split.validation.end(), ill));
    const Split most = split_patients(data, {.fraction = 0.95, .seed = seed});
    CHECK((most.train.size() == 1 && ill(most.train[0])));
    CHECK(split_patients(one_ill, {.seed = seed}).train.back() == 9);
    CHECK(split_patients(data, {.fraction = 0.25, .seed = seed}).validation == split.validation);
    seen.insert(split.validation);
  }
  CHECK(seen.size() > 25);
  for (const auto& [fraction, aside] : {std::pair<double, size_t>{0, 1}, {0.01, 1}, {0.5, 10}, {0.99, 19}, {1, 19}})
    CHECK(split_patients(data, {.fraction = fraction}).validation.size() == aside);
  CHECK(split_patients(two, {}).train.size() == 1);
  CHECK_THAT(split_error(patients(1), {}), Contains("of 1 patient, all are held out"));
}

TEST_CASE("split: patients held out by the ends of their names") {
  Dataset data = patients(12);
  const auto held = [&](const std::string& names) { return split_patients(data, {.held_out = names}).validation; };
  CHECK(held("1.3") == std::vector<size_t>{3});
  CHECK(held("7,.10,3") == std::vector<size_t>{3, 7, 10});
  CHECK(split_patients(data, {.held_out = "7,.10,3"}).train.size() == 9);
  CHECK(held(" 3,,7,") == std::vector<size_t>{3, 7});
  for (const auto& [names, message] : {std::pair<const char*, const char*>{"1", "held out \"1\": 2 seriesuids end so"},
                                       {"1.99", "held out \"1.99\": no seriesuid ends so; one that is there is 1.0"},
                                       {",", "of 12 patients, none are held out"}})
    CHECK_THAT(split_error(data, {.held_out = names}), Contains(message));
  CHECK_THAT(split_error(patients(2), {.held_out = "1.0,1.1"}), Contains("of 2 patients, all are held out"));
  data.scans[2].id = "1", data.scans[2].patient = "1";  // the whole name, though others end so
  CHECK(held("1") == std::vector<size_t>{2});
  // All scans of the patient, by the patient's name or one scan's.
  for (size_t i : {4, 5, 6}) data.scans[i].patient = "anna";
  CHECK(held("anna") == std::vector<size_t>{4, 5, 6});
  CHECK(held("1.5") == std::vector<size_t>{4, 5, 6});
  CHECK(held("na,.9") == std::vector<size_t>{4, 5, 6, 9});
}

TEST_CASE("split: each scan is in exactly one fold, and no patient in two") {
  Dataset data = patients(23, 8);
  for (size_t i = 0; i < 9; i++) data.scans[i * 2].patient = text("p", i % 3);  // three patients with three scans each
  const auto folds = [&](int64_t n, uint64_t seed = 1) {
    std::vector<int64_t> of(data.scans.size(), -1);
    std::map<std::string, std::set<int64_t>> of_patient;
    for (int64_t fold = 0; fold < n; fold++) {
      const Split split = split_patients(data, {.fold = fold, .folds = n, .seed = seed});
      CHECK(split.train.size() + split.validation.size() == data.scans.size());
      for (size_t i : split.validation) {
        CHECK(of[i] == -1);
        of[i] = fold;
        of_patient[data.scans[i].patient].insert(fold);
      }
    }
    CHECK(std::count(of.begin(), of.end(), -1) == 0);
    for (const auto& entry : of_patient) CHECK(entry.second.size() == 1);
    return of;
  };
  const std::vector<int64_t> dealt = folds(5);
  for (int64_t fold = 0; fold < 5; fold++) {  // and those with nodules are dealt out evenly
    std::set<std::string> ill;
    for (size_t i = 0; i < data.scans.size(); i++)
      if (dealt[i] == fold && data.scans[i].foreground > 0) ill.insert(data.scans[i].patient);
    CHECK((ill.size() == 2 || ill.size() == 3));
  }
  CHECK(folds(5) == dealt);
  CHECK(folds(5, 2) != dealt);
  folds(17);
  CHECK_THAT(split_error(data, {.folds = 18}), Contains("18 folds of 17 patients"));
  CHECK_THAT(split_error(data, {.fold = 5, .folds = 5}), Contains("fold 5 of 5"));
  CHECK_THAT(split_error(data, {.fold = -1, .folds = 5}), Contains("fold -1 of 5"));
  CHECK_THAT(split_error(data, {.fold = 0, .folds = 1}), Contains("all are held out"));

  // LUNA16's own.
  data = patients(12);
  for (size_t i = 0; i < 12; i++) data.scans[i].fold = text("subset", i % 4);
  const std::vector<int64_t> own = folds(4);
  for (size_t i = 0; i < 12; i++) CHECK(own[i] == int64_t(i % 4));
  CHECK(folds(4, 7) == own);
  folds(3);                                        // another number: dealt out
  data.scans[11].patient = data.scans[0].patient;  // in subset3 and subset0
  CHECK(folds(4) != own);
  data.scans[11].patient = "1.11", data.scans[5].fold = "";
  CHECK(folds(4) != own);
}
