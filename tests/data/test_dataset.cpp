// Data sets, and their split into training and validation.
#include "data/dataset/dataset.h"
#include "data/formats/metaimage.h"
#include "data/formats/npy.h"
#include "data/volume/mask.h"
#include "tensor/io/file.h"
#include "tests/data/folders.h"

#include <algorithm>
#include <set>

using namespace acinus;
namespace fs = std::filesystem;
using Catch::Contains;

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
