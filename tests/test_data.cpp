// From scans to training pieces and back: data sets, sampling, pictures, whole scans.
#include <algorithm>
#include <numeric>
#include <set>

#include "apps/segment.cpp"  // run_tests is linked with the library, which does not hold the programs' parts
#include "data/mask.h"
#include "data/overlay.h"

#include "tests/testing.h"

using namespace acinus;
namespace fs = std::filesystem;

namespace {

const Mat3 flipped{{{-1, 0, 0}, {0, -1, 0}, {0, 0, 1}}};

}  // namespace

// ---- data sets
// --------------------------------------------------------------------------------------------------------

namespace {

const char* names = "seriesuid,coordX,coordY,coordZ,diameter_mm\n";
const Grid small_grid{{8, 6, 5}, {1, 1, 2}, {-4, 10, 100}, flipped};

void add_scan(const Scratch& folder, const std::string& path, const Grid& grid = small_grid) {
  fs::create_directories(fs::path(folder / path).parent_path());
  write_volume(folder / path, Volume<int16_t>(grid, -800));
}

Dataset load(const Scratch& folder, MaskSource masks = MaskSource::automatic, int64_t limit = 1 << 20) {
  return load_dataset(folder.path.string(), masks, limit, [](int64_t, int64_t) {});
}
std::string load_error(const Scratch& folder, MaskSource masks = MaskSource::automatic, int64_t limit = 1 << 20) {
  return error_of([&] { load(folder, masks, limit); });
}

}  // namespace

TEST_CASE("dataset: scans, nodules and masks are read, and oddities are warned of") {
  const Scratch folder;
  add_scan(folder, "subset0/1.2.b.mhd");
  add_scan(folder, "deep/er/1.2.a.mha");
  add_scan(folder, "1.2.c.nii.gz");
  add_scan(folder, "1.2.c_mask.nii");  // beside its scan, and none itself
  add_scan(folder, "1.2.c_prob.mhd");
  put(folder / "annotations.csv", text(names, "1.2.b,-8,6,104,3\n1.2.b,-8,6,204,3\n1.2.x,0,0,0,4\n1.2.y,0,0,0,4\n",
                                       "1.2.a,-6,8,102,2.2\n1.2.b,-5,9,100,1\n"));
  std::vector<std::pair<int64_t, int64_t>> progress;
  const Dataset data = load_dataset(folder.path.string(), MaskSource::automatic, 1 << 20,
                                    [&](int64_t done, int64_t of) { progress.emplace_back(done, of); });
  CHECK(progress == std::vector<std::pair<int64_t, int64_t>>{{1, 3}, {2, 3}, {3, 3}});
  REQUIRE(data.patients.size() == 3);
  CHECK((data.patients[0].seriesuid == "1.2.a" && data.patients[1].seriesuid == "1.2.b" &&
         data.patients[2].seriesuid == "1.2.c"));
  CHECK((data.patients[0].nodules.size() == 1 && data.patients[1].nodules.size() == 2 &&
         data.patients[2].nodules.empty() && data.patients[2].mask_voxels == 0));
  for (const Patient& patient : data.patients) CHECK(patient.ct.grid == small_grid);
  CHECK(data.patients[1].mask.voxels == sphere_mask(small_grid, data.patients[1].nodules).voxels);
  CHECK(data.patients[1].mask_voxels ==
        std::count(data.patients[1].mask.voxels.begin(), data.patients[1].mask.voxels.end(), 1));
  REQUIRE(data.warnings.size() == 2);
  CHECK_THAT(data.warnings[0], Catch::Contains("2 scans that are not here"));
  CHECK_THAT(data.warnings[1],
             Catch::Contains("1.2.b") && Catch::Contains("(-8, 6, 204)") && Catch::Contains("outside"));
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
  Dataset data = load(folder);
  CHECK(data.patients[0].mask_voxels == 2);
  CHECK((data.patients[0].mask.at(1, 2, 3) == 1 && data.patients[0].mask.at(3, 2, 3) == 0));
  CHECK(data.patients[1].mask.voxels == spheres.voxels);
  CHECK(load(folder, MaskSource::spheres).patients[0].mask.voxels == spheres.voxels);
  CHECK_THAT(load_error(folder, MaskSource::readers), Catch::Contains("no outlines of scan 2"));
  write_volume(folder / "readers/1_readers.mhd", Volume<uint8_t>(Grid{{8, 6, 4}}));
  CHECK_THAT(load_error(folder),
             Catch::Contains("1_readers.mhd") && Catch::Contains("8x6x4") && Catch::Contains("8x6x5"));
  Volume<uint8_t> elsewhere = readers;
  elsewhere.grid.origin[0] += 20;
  write_volume(folder / "readers/1_readers.mhd", elsewhere);
  CHECK_THAT(load_error(folder), Catch::Contains("1_readers.mhd: its voxel (0, 0, 0) lies at"));
  fs::remove(folder / "readers/1_readers.mhd");
  write_volume(folder / "readers/1_readers.nii.gz", readers);
  CHECK(load(folder).patients[0].mask_voxels == 2);
  CHECK(mask_source_named("auto") == MaskSource::automatic);
  CHECK(mask_source_named("spheres") == MaskSource::spheres);
  CHECK(mask_source_named("readers") == MaskSource::readers);
  CHECK_THAT(error_of([] { mask_source_named("both"); }), Catch::Contains("\"both\""));
}

TEST_CASE("dataset: each thing that is wrong is said") {
  const Scratch folder;
  CHECK_THAT(error_of([&] { load_dataset(folder / "none", MaskSource::automatic, 1 << 20, nullptr); }),
             Catch::Contains("none: no such folder"));
  put(folder / "file", "");
  CHECK_THAT(error_of([&] { load_dataset(folder / "file", MaskSource::automatic, 1 << 20, nullptr); }),
             Catch::Contains("file: no such folder"));
  CHECK_THAT(load_error(folder), Catch::Contains("holds no annotations.csv"));
  put(folder / "annotations.csv", names);
  CHECK_THAT(load_error(folder), Catch::Contains("holds no scan"));
  add_scan(folder, "subset0/1.2.3.mhd");
  CHECK_THAT(load_error(folder), Catch::Contains("no row of annotations.csv") && Catch::Contains("1.2.3"));
  put(folder / "annotations.csv", text(names, "9.9,1,2,3,4\n"));
  CHECK_THAT(load_error(folder), Catch::Contains("1 scan here") && Catch::Contains("1.2.3") && Catch::Contains("9.9"));
  put(folder / "annotations.csv", text(names, "1.2.3,-8,6,104\n"));
  CHECK_THAT(load_error(folder), Catch::Contains("annotations.csv:2"));
  put(folder / "annotations.csv", text(names, "1.2.3,-8,6,104,3\n"));
  CHECK(load_error(folder) == "no error");

  CHECK_THAT(load_error(folder, MaskSource::automatic, 8 * 6 * 5 * 3 - 1), Catch::Contains("memory"));
  CHECK(load_error(folder, MaskSource::automatic, 8 * 6 * 5 * 3) == "no error");
  add_scan(folder, "subset1/1.2.3.mha");
  CHECK_THAT(load_error(folder),
             Catch::Contains("1.2.3 is there twice") && Catch::Contains("1.2.3.mhd") && Catch::Contains("1.2.3.mha"));
  fs::remove_all(folder / "subset1");
  fs::resize_file(folder / "subset0/1.2.3.raw", 8 * 6 * 5 * 2 - 1);
  CHECK_THAT(load_error(folder), Catch::Contains("1.2.3.raw"));
  fs::remove(folder / "subset0/1.2.3.raw");
  CHECK_THAT(load_error(folder), Catch::Contains("1.2.3.raw") && Catch::Contains("No such file"));
  put(folder / "subset0/1.2.3.mhd", "ObjectType = Image\nNDims = 3\n");
  CHECK_THAT(load_error(folder), Catch::Contains("1.2.3.mhd"));
}

// ---- splits
// -------------------------------------------------------------------------------------------------------------

namespace {

// Patients 1.0 ... 1.<n-1>; those below `healthy` have no nodule.
Dataset patients(int n, int healthy = 0) {
  Dataset data;
  for (int i = 0; i < n; i++) {
    Patient p;
    p.seriesuid = text("1.", i);
    p.ct = Volume<int16_t>(small_grid, 0);
    if (i >= healthy) p.nodules.push_back({p.seriesuid, small_grid.to_world({4, 3, 2}), 3});
    p.mask = sphere_mask(small_grid, p.nodules);
    p.mask_voxels = std::accumulate(p.mask.voxels.begin(), p.mask.voxels.end(), int64_t(0));
    data.patients.push_back(std::move(p));
  }
  return data;
}

}  // namespace

TEST_CASE("split: every patient is on one side, the same for the same seed") {
  const Dataset data = patients(20, 12);
  std::set<std::vector<size_t>> seen;
  for (uint64_t seed = 0; seed < 30; seed++) {
    const Split split = split_patients(data, 0.25, "", seed);
    CHECK((split.validation.size() == 5 && split.train.size() == 15));
    std::set<size_t> all(split.train.begin(), split.train.end());
    all.insert(split.validation.begin(), split.validation.end());
    CHECK(all.size() == 20);
    const auto sick = [](size_t i) { return i >= 12; };
    CHECK(std::any_of(split.validation.begin(), split.validation.end(), sick));
    const Split most = split_patients(data, 0.95, "", seed);  // one is left to train on
    CHECK((most.train.size() == 1 && sick(most.train[0])));
    CHECK(split_patients(patients(10, 9), 0.2, "", seed).train.back() == 9);  // the only one with nodules
    CHECK(split_patients(data, 0.25, "", seed).validation == split.validation);
    seen.insert(split.validation);
  }
  CHECK(seen.size() > 25);
  for (const auto& [fraction, aside] : {std::pair<double, size_t>{0, 1}, {0.01, 1}, {0.5, 10}, {0.99, 19}, {1, 19}})
    CHECK(split_patients(data, fraction, "", 1).validation.size() == aside);
  CHECK(split_patients(patients(2), 0.2, "", 1).train.size() == 1);
  CHECK_THAT(error_of([] { split_patients(patients(1), 0.2, "", 1); }),
             Catch::Contains("of 1 patient, 1 are held out"));
}

TEST_CASE("split: patients held out by the ends of their names") {
  const Dataset data = patients(12);
  CHECK(split_patients(data, 0.5, "1.3", 1).validation == std::vector<size_t>{3});
  CHECK(split_patients(data, 0.5, "7,.10,3", 1).validation == std::vector<size_t>{3, 7, 10});
  CHECK(split_patients(data, 0.5, "7,.10,3", 1).train.size() == 9);
  for (const auto& [held_out, message] :
       {std::pair<const char*, const char*>{"1", "held out \"1\": 2 seriesuids end so"},
        {"1.99", "held out \"1.99\": no seriesuid ends so; one that is there is 1.0"},
        {",", "0 are held out"}})
    CHECK_THAT(error_of([&, h = held_out] { split_patients(data, 0.5, h, 1); }), Catch::Contains(message));
  CHECK_THAT(error_of([] { split_patients(patients(2), 0.5, "1.0,1.1", 1); }),
             Catch::Contains("0 are left to train on"));
  CHECK(split_patients(data, 0.5, " 3,,7,", 1).validation == std::vector<size_t>{3, 7});
}

// ---- pieces
// -------------------------------------------------------------------------------------------------------------

namespace {

// Scans whose voxels say where they are: 1 + x + 30 y + 1000 z + 10000 times the patient. 0 is outside.
const HuWindow plain{0, 32767};
constexpr int64_t side_x = 26, side_y = 31, slices_n = 9;

Dataset tell_tale(int n) {
  Dataset data = patients(n);
  const Grid grid{{side_x, side_y, slices_n}, {0.8, 0.8, 2}, {10, -10, 3}, flipped};
  for (int i = 0; i < n; i++) {
    Patient& p = data.patients[size_t(i)];
    p.ct = Volume<int16_t>(grid);
    for (int64_t z = 0; z < slices_n; z++)
      for (int64_t y = 0; y < side_y; y++)
        for (int64_t x = 0; x < side_x; x++) p.ct.at(x, y, z) = int16_t(1 + x + 30 * y + 1000 * z + 10000 * i);
    p.nodules = {{p.seriesuid, grid.to_world({6 + 4. * i, 9, 3}), 5}, {p.seriesuid, grid.to_world({18, 25, 6.5}), 3.4}};
    p.mask = sphere_mask(grid, p.nodules);
  }
  return data;
}

struct Voxel {
  int64_t patient, x, y, z;
};
bool decode(float value, Voxel& v) {
  const auto code = std::llround(value * 32767) - 1;
  if (code < 0) return false;
  v = {code / 10000, code % 1000 % 30, code % 1000 / 30, code % 10000 / 1000};
  return true;
}

// Where the piece is; checks that all of its pixels and its target belong together.
struct Piece {
  int64_t patient = -1, z = -1, left = 0, top = 0;  // of the upper left corner as the scan has it
  bool flip_x = false, flip_y = false;
};
Piece locate(const Dataset& data, const Tensor& x, const Tensor& t, int64_t i, const SamplingOptions& o) {
  const int64_t s = o.size;
  const float* image = x.data<float>() + i * s * s * o.planes;
  const float* target = t.data<float>() + i * s * s;
  Piece piece;
  std::vector<std::array<int64_t, 4>> pixels;  // row, column and voxel of those inside the scan
  for (int64_t r = 0; r < s; r++)
    for (int64_t c = 0; c < s; c++) {
      Voxel v;
      if (!decode(image[(r * s + c) * o.planes + o.planes / 2], v)) {
        if (target[r * s + c] != 0) FAIL_CHECK("a target outside the scan");
        continue;
      }
      pixels.push_back({r, c, v.x, v.y});
      piece.patient = v.patient, piece.z = v.z;
      const Volume<uint8_t>& mask = data.patients[size_t(v.patient)].mask;
      if (target[r * s + c] != float(mask.at(v.x, v.y, v.z))) FAIL_CHECK("image and mask do not lie over each other");
      for (int64_t p = 0; p < o.planes; p++) {
        Voxel other;
        const int64_t z = std::clamp<int64_t>(v.z - o.planes / 2 + p, 0, slices_n - 1);
        if (!decode(image[(r * s + c) * o.planes + p], other) || other.x != v.x || other.y != v.y || other.z != z)
          FAIL_CHECK("plane " << p << " is not slice " << z);
      }
    }
  REQUIRE_FALSE(pixels.empty());
  const auto &first = pixels.front(), &last = pixels.back();
  piece.flip_x = first[1] != last[1] && (first[2] < last[2]) != (first[1] < last[1]);
  piece.flip_y = first[0] != last[0] && (first[3] < last[3]) != (first[0] < last[0]);
  piece.left = first[2] - (piece.flip_x ? s - 1 - first[1] : first[1]);
  piece.top = first[3] - (piece.flip_y ? s - 1 - first[0] : first[0]);
  for (const auto& [r, c, vx, vy] : pixels)
    if (vx != piece.left + (piece.flip_x ? s - 1 - c : c) || vy != piece.top + (piece.flip_y ? s - 1 - r : r))
      FAIL_CHECK("a pixel is out of line");
  return piece;
}

}  // namespace

TEST_CASE("sampler: a piece depends on seed and index alone") {
  const Dataset data = tell_tale(3);
  for (bool whole : {false, true}) {
    SamplingOptions options{.size = 15, .planes = 3, .whole_slices = whole, .window = plain};
    const Sampler sampler(data, {0, 1, 2}, options, 5), same(data, {0, 1, 2}, options, 5),
        other(data, {0, 1, 2}, options, 6);
    Tensor x, t, x1, t1, x2, t2;
    {
      const Threads one(1);
      sampler.draw(10, 24, x, t);
    }
    CHECK((x.shape() == Shape{24, 15, 15, 3} && t.shape() == Shape{24, 15, 15, 1}));
    const Threads three(3);
    same.draw(10, 24, x1, t1);
    CHECK((same_bits(x, x1) && same_bits(t, t1)));
    other.draw(10, 24, x2, t2);
    CHECK_FALSE(same_bits(x, x2));
    for (int64_t i : {0, 7, 23}) {  // one at a time: the same pieces
      sampler.draw(10 + i, 1, x1, t1);
      CHECK(std::equal(x1.data<float>(), x1.data<float>() + x1.elements(), x.data<float>() + i * x1.elements()));
      CHECK(std::equal(t1.data<float>(), t1.data<float>() + t1.elements(), t.data<float>() + i * t1.elements()));
    }
  }
}

TEST_CASE("sampler: pieces around nodules hold them, image and mask mirrored together") {
  const Dataset data = tell_tale(3);
  for (int64_t planes : {1, 3, 5})
    for (bool mirror : {true, false}) {
      const SamplingOptions o{.size = 14, .planes = planes, .foreground = 1, .mirror = mirror, .window = plain};
      const int64_t n = 200;
      Tensor x, t;
      Sampler(data, {0, 2}, o, 3).draw(0, n, x, t);
      int with_nodule = 0, flips[2][2] = {};
      std::set<int64_t> drawn;
      for (int64_t i = 0; i < n; i++) {
        const Piece piece = locate(data, x, t, i, o);
        flips[piece.flip_y][piece.flip_x]++;
        drawn.insert(piece.patient);
        const Patient& p = data.patients[size_t(piece.patient)];
        const bool around = std::any_of(p.nodules.begin(), p.nodules.end(), [&](const Annotation& a) {
          const Vec3 c = p.ct.grid.to_voxel(a.centre);
          return c[0] >= double(piece.left) - 0.5 && c[0] <= double(piece.left + o.size) - 0.5 &&
                 c[1] >= double(piece.top) - 0.5 && c[1] <= double(piece.top + o.size) - 0.5 &&
                 std::abs(c[2] - double(piece.z)) <= a.diameter_mm / 2 / p.ct.grid.spacing[2] + 0.5;
        });
        CHECK(around);
        const float* target = t.data<float>() + i * o.size * o.size;
        with_nodule += std::count(target, target + o.size * o.size, 1.f) > 0;
      }
      CHECK(with_nodule > n * 6 / 10);
      CHECK(drawn == std::set<int64_t>{0, 2});
      for (auto& row : flips)
        for (int count : row) CHECK((mirror ? count > n / 8 : count == 0 || count == n));
    }
}

TEST_CASE("sampler: outlines that no annotation names are drawn too") {
  Dataset data = tell_tale(2);
  data.patients[1].nodules.clear();
  const SamplingOptions o{.size = 9, .planes = 1, .foreground = 1, .mirror = false, .window = plain};
  Tensor x, t;
  Sampler(data, {1}, o, 3).draw(0, 100, x, t);
  int with_nodule = 0;
  for (int64_t i = 0; i < 100; i++) {
    CHECK(locate(data, x, t, i, o).patient == 1);
    with_nodule += std::count(t.data<float>() + i * 81, t.data<float>() + (i + 1) * 81, 1.f) > 0;
  }
  CHECK(with_nodule > 80);
}

TEST_CASE("sampler: whole slices come once a pass, in another order each time") {
  const Dataset data = tell_tale(3);
  const SamplingOptions o{.size = 33, .planes = 1, .whole_slices = true, .mirror = false, .window = plain};
  const Sampler sampler(data, {0, 1, 2}, o, 9);
  int64_t slices = 0;
  for (const Patient& p : data.patients)
    for (int64_t z = 0; z < slices_n; z++)
      slices += std::any_of(p.mask.slice(z), p.mask.slice(z + 1), [](uint8_t v) { return v != 0; });
  REQUIRE(sampler.nodule_slices() == slices);
  std::vector<std::vector<std::pair<int64_t, int64_t>>> passes;
  for (int64_t pass = 0; pass < 4; pass++) {
    Tensor x, t;
    sampler.draw(pass * slices, slices, x, t);
    std::vector<std::pair<int64_t, int64_t>> order;
    for (int64_t i = 0; i < slices; i++) {
      const Piece piece = locate(data, x, t, i, o);
      order.emplace_back(piece.patient, piece.z);
      CHECK((piece.left == side_x / 2 - 16 && piece.top == side_y / 2 - 16));
      CHECK(std::count(t.data<float>() + i * 33 * 33, t.data<float>() + (i + 1) * 33 * 33, 1.f) > 0);
    }
    CHECK(int64_t(std::set(order.begin(), order.end()).size()) == slices);
    passes.push_back(order);
  }
  CHECK((passes[0] != passes[1] && passes[1] != passes[2] && passes[2] != passes[3]));
}

TEST_CASE("sampler: most of the other pieces lie in the lungs") {
  Dataset data = patients(1);
  const Grid grid{{40, 40, 4}};
  Patient& p = data.patients[0];
  p.ct = Volume<int16_t>(grid, 30);
  p.nodules = {{p.seriesuid, {20, 20, 1}, 3}};
  p.mask = sphere_mask(grid, p.nodules);
  for (int64_t z = 0; z < 4; z++)
    for (int64_t y = 0; y < 20; y++)
      for (int64_t x = 0; x < 20; x++) p.ct.at(x, y, z) = -850;
  Tensor x, t;
  Sampler(data, {0}, {.size = 9, .planes = 1, .foreground = 0, .mirror = false, .window = {}}, 1).draw(0, 500, x, t);
  int in_lung = 0;
  for (int64_t i = 0; i < 500; i++) in_lung += x.data<float>()[(i * 9 + 4) * 9 + 4] == HuWindow()(-850);
  CHECK((in_lung > 390 && in_lung < 460));  // 80 % of the pieces, and a quarter of the others

  CHECK_THAT(error_of([&] { Sampler(patients(2, 2), {0, 1}, {}, 1); }), Catch::Contains("none of the 2"));
  CHECK_THAT(error_of([&] { Sampler(data, {0}, {.planes = 2, .window = {}}, 1); }), Catch::Contains("planes 2"));
  CHECK_THAT(error_of([&] { Sampler(data, {0}, {.size = 0, .window = {}}, 1); }), Catch::Contains("size 0"));
}

TEST_CASE("planes: the window, the nearest slice at the ends, air outside") {
  const HuWindow window{-1000, 400};
  CHECK((window(-2000) == 0 && window(-1000) == 0 && window(400) == 1 && window(3000) == 1));
  CHECK(window(-300) == Approx(0.5));
  Volume<int16_t> ct(Grid{{3, 2, 2}});
  for (size_t i = 0; i < 12; i++) ct.voxels[i] = int16_t(i + 1);
  const HuWindow scale{0, 100};
  const auto planes = [&](int64_t z, int64_t n, int64_t left, int64_t top, int64_t cols, int64_t rows) {
    std::vector<float> out(size_t(n * cols * rows), -1);
    copy_planes(ct, z, n, scale, left, top, cols, rows, out.data());
    std::vector<int> values;
    for (float v : out) values.push_back(int(std::lround(v * 100)));
    return values;
  };
  CHECK(planes(0, 1, 0, 0, 3, 2) == std::vector<int>{1, 2, 3, 4, 5, 6});
  CHECK(planes(1, 1, -1, -1, 3, 2) == std::vector<int>{0, 0, 0, 0, 7, 8});
  CHECK(planes(1, 1, 2, 1, 2, 2) == std::vector<int>{12, 0, 0, 0});
  CHECK(planes(0, 3, 0, 0, 1, 1) == std::vector<int>{1, 1, 7});
  CHECK(planes(1, 3, 2, 0, 1, 1) == std::vector<int>{3, 9, 9});
  CHECK(planes(0, 5, 0, 1, 2, 1) == std::vector<int>{4, 4, 4, 10, 10, 5, 5, 5, 11, 11});
  CHECK(planes(1, 1, 50, 50, 2, 1) == std::vector<int>{0, 0});
  float air = -1;
  copy_planes(ct, 0, 1, {-1024, 0}, -1, 0, 1, 1, &air);
  CHECK(air == Approx(24. / 1024));
}

// ---- pictures
// -----------------------------------------------------------------------------------------------------------

TEST_CASE("overlay: the scan in grey, truth green, prediction red, both yellow, insides free") {
  Volume<int16_t> ct(Grid{{6, 5, 2}}, -300);
  ct.at(5, 4, 1) = 2000, ct.at(0, 4, 1) = -2000;
  Volume<uint8_t> truth(ct.grid, 0), predicted(ct.grid, 0);
  for (int64_t y = 0; y < 3; y++)
    for (int64_t x = 0; x < 3; x++) truth.at(x, y, 1) = 1, predicted.at(x + 2, y, 1) = 1;
  using Colour = std::array<int, 3>;
  const auto colour = [](const Picture& p, int x, int y) {
    const uint8_t* at = &p.pixels[size_t(y * p.width + x) * 3];
    return Colour{at[0], at[1], at[2]};
  };
  const Colour grey{127, 127, 127}, green{0, 255, 0}, red{255, 0, 0}, yellow{255, 255, 0};
  const Picture p = overlay(ct, &truth, &predicted, 1, 1);
  CHECK((p.width == 6 && p.height == 5 && p.channels == 3));
  CHECK(colour(p, 0, 0) == green);
  CHECK(colour(p, 1, 1) == grey);  // inside of the truth
  CHECK(colour(p, 2, 1) == yellow);
  CHECK(colour(p, 3, 1) == grey);
  CHECK(colour(p, 4, 2) == red);
  CHECK(colour(p, 5, 0) == grey);
  CHECK((colour(p, 5, 4) == Colour{255, 255, 255} && colour(p, 0, 4) == Colour{0, 0, 0}));
  CHECK(colour(overlay(ct, nullptr, nullptr, 1, 1), 0, 0) == grey);
  CHECK(colour(overlay(ct, &truth, nullptr, 1, 1), 2, 1) == green);
  CHECK(colour(overlay(ct, &truth, &predicted, 0, 1), 0, 0) == grey);  // another slice
  // Magnified, only the pixels at the mask's own edge are coloured.
  const Picture large = overlay(ct, &truth, &predicted, 1, 3);
  CHECK((large.width == 18 && large.height == 15));
  CHECK((colour(large, 0, 1) == green && colour(large, 1, 1) == grey && colour(large, 1, 0) == green));
  CHECK((colour(large, 8, 4) == green && colour(large, 6, 4) == red && colour(large, 7, 4) == grey));
  CHECK_THAT(error_of([&] { overlay(ct, nullptr, nullptr, 2); }), Catch::Contains("slice 2"));
  // The same body stored the other way round gives the same picture.
  Volume<int16_t> turned(ct.grid);
  Volume<uint8_t> turned_truth(ct.grid);
  for (int64_t i = 0; i < 60; i++) {
    const int64_t from = i / 30 * 30 + 29 - i % 30;
    turned.voxels[size_t(i)] = ct.voxels[size_t(from)], turned_truth.voxels[size_t(i)] = truth.voxels[size_t(from)];
  }
  turned.grid.direction = flipped;
  CHECK(overlay(turned, &turned_truth, nullptr, 1, 2).pixels == overlay(ct, &truth, nullptr, 1, 2).pixels);
  CHECK((as_drawn(ct.grid, {1, 2, 1}) == Index3{1, 2, 1} && as_drawn(turned.grid, {1, 2, 1}) == Index3{4, 2, 1}));

  const Picture close = close_up(p, -1, -1, 4);
  CHECK((close.width == 4 && close.height == 4));
  CHECK((colour(close, 0, 0) == Colour{0, 0, 0} && colour(close, 1, 1) == green && colour(close, 3, 2) == yellow));
  CHECK(densest_place(truth) == Index3{1, 1, 1});
  Volume<uint8_t> two(Grid{{60, 60, 2}}, 0);  // two nodules of one slice: a place in one of them, not between
  for (int64_t i = 0; i < 6; i++) two.at(4 + i, 7, 1) = two.at(48 + i, 50, 1) = two.at(48 + i, 51, 1) = 1;
  CHECK((densest_place(two)[0] >= 49 && densest_place(two)[0] <= 51 && densest_place(two)[1] == 50));
  CHECK(densest_place(Volume<uint8_t>(ct.grid, 0)) == Index3{3, 2, 1});
  const Picture both = montage({p, close, p}, 2);
  CHECK((both.width == 6 + 4 + 6 && both.height == 5 + 4 + 5));
  CHECK((colour(both, 0, 0) == green && colour(both, 10 + 1, 1) == green && colour(both, 0, 9) == green));
  CHECK((colour(both, 7, 0) == Colour{0, 0, 0} && colour(both, 15, 13) == Colour{0, 0, 0}));
  CHECK_THAT(error_of([] { montage({}, 2); }), Catch::Contains("no pictures"));
}

// ---- whole scans
// ----------------------------------------------------------------------------------------------------------

TEST_CASE("segment: Dice counts voxels, thresholds are strict") {
  Volume<uint8_t> a(Grid{{4, 2, 1}}), b = a;
  CHECK(dice(a, b) == 1);  // both empty
  a.voxels = {1, 1, 1, 0, 0, 0, 0, 0};
  CHECK((dice(a, b) == 0 && dice(b, a) == 0 && dice(a, a) == 1));
  b.voxels = {0, 1, 1, 1, 1, 0, 0, 0};
  CHECK(dice(a, b) == Approx(2 * 2. / 7));
  b.voxels = {0, 2, 255, 1, 1, 0, 0, 0};  // anything but 0 is inside
  CHECK(dice(b, a) == Approx(2 * 2. / 7));
  CHECK_THAT(error_of([&] { dice(a, Volume<uint8_t>(Grid{{4, 2, 2}})); }), Catch::Contains("8 voxels vs 16"));
  Volume<float> p(Grid{{3, 1, 1}});
  p.voxels = {0.4999f, 0.5f, 0.5001f};
  CHECK(thresholded(p, 0.5).voxels == std::vector<uint8_t>{0, 0, 1});
}

TEST_CASE("segment: a scan goes through the network slice by slice, on its own grid") {
  UNet net({.in = 3, .width = 2, .depth = 2, .norm = NormKind::batch, .norm_groups = 2}, 1);
  Volume<int16_t> ct(Grid{{13, 10, 4}, {0.7, 0.7, 2}, {1, 2, 3}, flipped});
  Random random(1);
  for (int16_t& hu : ct.voxels) hu = int16_t(random.uniform(-1000, 400));
  const InputFormat format;
  int64_t calls = 0;
  const memory::Stats before = memory::stats();
  const Volume<float> probability =
      segment(net, ct, format, [&](int64_t done, int64_t of) { CHECK((done == ++calls && of == 4)); });
  CHECK(memory::stats().in_use == before.in_use);
  CHECK((calls == 4 && probability.grid == ct.grid && net.training()));
  net.eval();
  const NoGrad no_grad;
  for (int64_t z = 0; z < 4; z++) {
    Tensor x({1, 10, 13, 3});
    copy_planes(ct, z, 3, format.window, 0, 0, 13, 10, x.data<float>());
    const Tensor y = sigmoid(net(x));
    CHECK(std::equal(probability.slice(z), probability.slice(z) + 130, y.data<float>()));
  }
  segment(net, ct, format);
  CHECK_FALSE(net.training());
  CHECK_THAT(error_of([&] { segment(net, ct, {.planes = 1, .window = {}}); }),
             Catch::Contains("3 channels") && Catch::Contains("1 planes"));

  const InputFormat odd{5, {-1200.5, 600}, 0.3};
  const InputFormat back = input_format(to_metadata(odd), "x");
  CHECK((back.planes == 5 && back.window.low == -1200.5 && back.window.high == 600 && back.threshold == 0.3));
  for (const auto& [key, value] : {std::pair<const char*, const char*>{"input.planes", "2"},
                                   {"input.planes", "x"},
                                   {"input.hu_high", "-5000"},
                                   {"input.threshold", ""}}) {
    auto metadata = to_metadata(odd);
    metadata[key] = value;
    CHECK_THAT(error_of([&] { input_format(metadata, "x.safetensors"); }), Catch::Contains("x.safetensors"));
    metadata.erase(key);
    CHECK_THAT(error_of([&] { input_format(metadata, "x.safetensors"); }), Catch::Contains(key));
  }
}
