// From scans to training pieces: planes, where pieces are drawn, what they hold, and batches drawn ahead.
#include "data/sampling/sampler.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "data/sampling/loader.h"
#include "data/volume/mask.h"
#include "tests/testing.h"

using namespace acinus;

TEST_CASE("planes: the window, the nearest slice at the ends, air outside") {
  const HuWindow window{-1000, 400};
  CHECK((window(-2000) == 0 && window(-1000) == 0 && window(400) == 1 && window(3000) == 1));
  CHECK(window(-300) == Approx(0.5));
  Volume<int16_t> ct(Grid{{3, 2, 2}});
  for (size_t i = 0; i < 12; i++) ct.voxels[i] = int16_t(i + 1);
  const auto planes = [&](const ScanView& image, int64_t z, int64_t n, int64_t left, int64_t top, int64_t cols,
                          int64_t rows) {
    std::vector<float> out(size_t(n * cols * rows * image.channels), -1);
    copy_planes(image, z, n, {0, 100}, left, top, cols, rows, out.data());
    std::vector<int> values;
    for (float v : out) values.push_back(int(std::lround(v * 100)));
    return values;
  };
  using Values = std::vector<int>;
  CHECK(planes(ct, 0, 1, 0, 0, 3, 2) == Values{1, 2, 3, 4, 5, 6});
  CHECK(planes(ct, 1, 1, -1, -1, 3, 2) == Values{0, 0, 0, 0, 7, 8});
  CHECK(planes(ct, 1, 1, 2, 1, 2, 2) == Values{12, 0, 0, 0});
  CHECK(planes(ct, 0, 3, 0, 0, 1, 1) == Values{1, 1, 7});
  CHECK(planes(ct, 1, 3, 2, 0, 1, 1) == Values{3, 9, 9});
  CHECK(planes(ct, 0, 5, 0, 1, 2, 1) == Values{4, 4, 4, 10, 10, 5, 5, 5, 11, 11});
  CHECK(planes(ct, 1, 1, 50, 50, 2, 1) == Values{0, 0});
  CHECK(planes(ct, 1, 1, -50, 0, 2, 1) == Values{0, 0});
  float air = -1;
  copy_planes(ct, 0, 1, {-1024, 0}, -1, 0, 1, 1, &air);
  CHECK(air == Approx(24. / 1024));

  // Bytes with a scale, three channels: those of a pixel together, plane by plane.
  const std::vector<uint8_t> bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  ScanView colours;
  colours.grid.size = {2, 1, 2}, colours.channels = 3, colours.point_to(bytes.data());
  colours.scale = 2, colours.shift = 1, colours.outside = -INFINITY;
  CHECK(planes(colours, 0, 1, 0, 0, 2, 1) == Values{3, 5, 7, 9, 11, 13});
  CHECK(planes(colours, 1, 3, 1, 0, 2, 1) == Values{9, 11, 13, 21, 23, 25, 21, 23, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0});
}

// ---- pieces --------------------------------------------------------------------------------------------------------

namespace {

// Scans whose voxels say where they are: 1 + x + 30 y + 1000 z + 10000 times the scan. 0 is outside.
const HuWindow plain{0, 32767};
constexpr int64_t side_x = 26, side_y = 31, slices_n = 9;
const Grid grid{{side_x, side_y, slices_n}, {0.8, 0.8, 2}, {10, -10, 3}, {{{-1, 0, 0}, {0, -1, 0}, {0, 0, 1}}}};

// The lungs are the columns x < 16.
Volume<uint8_t> with_lungs(Volume<uint8_t> mask) {
  for (size_t i = 0; i < mask.voxels.size(); i++)
    if (int64_t(i) % side_x < 16) mask.voxels[i] |= kLungs;
  return mask;
}

Dataset tell_tale(int n) {
  Dataset data;
  for (int i = 0; i < n; i++) {
    Volume<int16_t> ct(grid);
    for (int64_t z = 0; z < slices_n; z++)
      for (int64_t y = 0; y < side_y; y++)
        for (int64_t x = 0; x < side_x; x++) ct.at(x, y, z) = int16_t(1 + x + 30 * y + 1000 * z + 10000 * i);
    const std::vector<Annotation> nodules{{"", grid.to_world({6 + 4. * i, 9, 3}), 5},
                                          {"", grid.to_world({18, 25, 6.5}), 3.4}};
    data.scans.push_back(make_scan(text("1.", i), ct, with_lungs(sphere_mask(grid, nodules)), nodules));
  }
  return data;
}

struct Voxel {
  int64_t scan, x, y, z;
};
bool decode(float value, Voxel& v) {
  const auto code = std::llround(value * 32767) - 1;
  if (code < 0) return false;
  v = {code / 10000, code % 1000 % 30, code % 1000 / 30, code % 10000 / 1000};
  return true;
}

SamplingOptions options_of(int64_t size, int64_t planes, double foreground, double hard = 0) {
  SamplingOptions o;
  o.size = size, o.planes = planes, o.foreground = foreground, o.hard = hard;
  o.window = plain, o.augment = no_augmentation();
  return o;
}

// Where the piece is; checks that all of its pixels and its target belong together.
struct Piece {
  int64_t scan = -1, z = -1, left = 0, top = 0;  // of the upper left corner as the scan has it
  bool flip_x = false, flip_y = false;
  bool holds(double x, double y, int64_t size) const {
    return x >= double(left) - 0.5 && x <= double(left + size) - 0.5 && y >= double(top) - 0.5 &&
           y <= double(top + size) - 0.5;
  }
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
      piece.scan = v.scan, piece.z = v.z;
      const Scan& scan = data.scans[size_t(v.scan)];
      if (target[r * s + c] != float(scan.labels[grid.offset(v.x, v.y, v.z)] & kClass))
        FAIL_CHECK("image and mask do not lie over each other");
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

// The share of pieces 0 .. n-1 for which is(piece) holds.
template <class Is>
double share(const Dataset& data, const Sampler& sampler, const SamplingOptions& o, int64_t n, Is is) {
  Tensor x, t;
  sampler.draw(0, n, x, t);
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) count += is(locate(data, x, t, i, o));
  return double(count) / double(n);
}

// Is one of the scan's nodules in the piece, in a slice that it reaches?
bool around_nodule(const Dataset& data, const Piece& piece, int64_t size) {
  const Scan& scan = data.scans[size_t(piece.scan)];
  return std::any_of(scan.nodules.begin(), scan.nodules.end(), [&](const Annotation& a) {
    const Vec3 c = grid.to_voxel(a.centre);
    return piece.holds(c[0], c[1], size) &&
           std::abs(c[2] - double(piece.z)) <= a.diameter_mm / 2 / grid.spacing[2] + 0.5;
  });
}

// How many of n pieces of 9 x 9 have a middle of this value.
int64_t count_middles(const Tensor& x, float value) {
  int64_t count = 0;
  for (int64_t i = 0; i < x.shape()[0]; i++) count += std::abs(x.data<float>()[(i * 9 + 4) * 9 + 4] - value) < 1e-5f;
  return count;
}

double foreground_of(const Tensor& t, int64_t i) {
  const int64_t each = t.elements() / t.shape()[0];
  return double(std::count(t.data<float>() + i * each, t.data<float>() + (i + 1) * each, 1.f));
}

}  // namespace

TEST_CASE("sampler: a piece depends on seed and index alone") {
  const Dataset data = tell_tale(3);
  for (bool whole : {false, true}) {
    SamplingOptions options = options_of(15, 3, 0.5, 0.2);
    options.whole_slices = whole;
    options.augment = {};
    const Sampler sampler(data, {0, 1, 2}, options, 5), same(data, {0, 1, 2}, options, 5),
        other(data, {0, 1, 2}, options, 6);
    Tensor x, t, x1, t1, x2, t2;
    {
      const Threads one(1);
      sampler.draw(10, 24, x, t);
    }
    CHECK((x.shape() == Shape{24, 15, 15, 3} && t.shape() == Shape{24, 15, 15, 1}));
    CHECK((sampler.image_shape(24) == x.shape() && sampler.target_shape(24) == t.shape()));
    const Threads three(3);
    same.draw(10, 24, x1, t1);
    CHECK((same_bits(x, x1) && same_bits(t, t1)));
    same.draw(10, 24, x1, t1, /*parallel=*/false);
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
      SamplingOptions o = options_of(14, planes, 1);
      o.augment.mirror = mirror ? 0.5 : 0;
      const int64_t n = 200;
      Tensor x, t;
      Sampler(data, {0, 2}, o, 3).draw(0, n, x, t);
      int with_nodule = 0, flips[2][2] = {};
      std::set<int64_t> drawn;
      for (int64_t i = 0; i < n; i++) {
        const Piece piece = locate(data, x, t, i, o);
        flips[piece.flip_y][piece.flip_x]++;
        drawn.insert(piece.scan);
        CHECK(around_nodule(data, piece, o.size));
        with_nodule += foreground_of(t, i) > 0;
      }
      CHECK(with_nodule > n * 6 / 10);
      CHECK(drawn == std::set<int64_t>{0, 2});
      for (auto& row : flips)
        for (int count : row) CHECK((mirror ? count > n / 8 : count == (&row == flips && count == row[0] ? n : 0)));
    }
}

TEST_CASE("sampler: outlines that no annotation names are drawn too") {
  Dataset data = tell_tale(2);
  data.scans[1].nodules.clear();
  const SamplingOptions o = options_of(9, 1, 1);
  Tensor x, t;
  Sampler(data, {1}, o, 3).draw(0, 100, x, t);
  int with_nodule = 0;
  for (int64_t i = 0; i < 100; i++) {
    CHECK(locate(data, x, t, i, o).scan == 1);
    with_nodule += foreground_of(t, i) > 0;
  }
  CHECK(with_nodule == 100);  // a voxel of the mask, at most 3 of the 4 pixels from the middle to the edge away
}

TEST_CASE("sampler: whole slices come once a pass, in another order each time") {
  const Dataset data = tell_tale(3);
  SamplingOptions o = options_of(33, 1, 1);
  o.whole_slices = true;
  const Sampler sampler(data, {0, 1, 2}, o, 9);
  int64_t slices = 0;
  for (const Scan& scan : data.scans)
    for (const SliceCount& slice : scan.slices) slices += slice.foreground > 0;
  REQUIRE(sampler.nodule_slices() == slices);
  std::vector<std::vector<std::pair<int64_t, int64_t>>> passes;
  for (int64_t pass = 0; pass < 4; pass++) {
    Tensor x, t;
    sampler.draw(pass * slices, slices, x, t);
    std::vector<std::pair<int64_t, int64_t>> order;
    for (int64_t i = 0; i < slices; i++) {
      const Piece piece = locate(data, x, t, i, o);
      order.emplace_back(piece.scan, piece.z);
      CHECK((piece.left == side_x / 2 - 16 && piece.top == side_y / 2 - 16));
      CHECK(foreground_of(t, i) > 0);
    }
    CHECK(int64_t(std::set(order.begin(), order.end()).size()) == slices);
    passes.push_back(order);
  }
  CHECK((passes[0] != passes[1] && passes[1] != passes[2] && passes[2] != passes[3]));

  // Shares: hard ones are next to a nodule's, the others are the rest with lungs in them.
  o.foreground = 0.3, o.hard = 0.3;
  std::map<std::string, double> shares;
  share(data, Sampler(data, {0, 1, 2}, o, 9), o, 1000, [&](const Piece& piece) {
    const Scan& scan = data.scans[size_t(piece.scan)];
    int64_t distance = 99;
    for (int64_t z = 0; z < slices_n; z++)
      if (scan.slices[size_t(z)].foreground > 0) distance = std::min(distance, std::abs(z - piece.z));
    shares[distance == 0 ? "nodule" : distance <= 3 ? "near" : "far"] += 1e-3;
    return true;
  });
  CHECK(shares["nodule"] == Approx(0.3).margin(0.05));
  CHECK(shares["near"] + shares["far"] == Approx(0.7).margin(0.05));
}

TEST_CASE("sampler: pieces come in the shares that were asked for") {
  Dataset data = tell_tale(2);
  // Slices 0 and 8 of scan 1 alone are dense, and only within the lungs: hard pieces lie there. The nodules reach
  // from slice 2 to 8.
  for (Scan& scan : data.scans)
    for (int64_t z = 0; z < slices_n; z++)
      if (z > 0 || scan.id != "1.1") scan.slices[size_t(z)].hard = 0;
  const auto is_hard = [](const Piece& p) { return p.scan == 1 && p.z == 0; };
  for (const auto& [foreground, hard] : {std::pair<double, double>{1, 0}, {0, 1}, {0.5, 0.3}, {0.2, 0.8}, {0, 0}}) {
    SamplingOptions o = options_of(12, 1, foreground, hard);
    const Sampler sampler(data, {0, 1}, o, 4);
    INFO(foreground << " " << hard);
    const double rest = 1 - foreground - hard;
    // Of the rest, one of 18 slices is this one.
    CHECK(share(data, sampler, o, 2000, is_hard) == Approx(hard + rest / 18).margin(0.035));
    const double nodules = share(data, sampler, o, 2000, [&](const Piece& p) { return around_nodule(data, p, 12); });
    CHECK(nodules >= foreground - 0.035);
    CHECK(nodules <= foreground + rest * 0.4 + 0.035);
  }
}

TEST_CASE("sampler: hard pieces lie on dense voxels of the lungs, most others in the lungs") {
  const Grid wide{{40, 40, 4}};
  Volume<int16_t> ct(wide, -850);
  Volume<uint8_t> labels(wide);
  const std::vector<Annotation> nodules{{"", {10, 10, 1}, 5}};
  labels = sphere_mask(wide, nodules);
  for (int64_t z = 0; z < 4; z++)
    for (int64_t y = 0; y < 40; y++)
      for (int64_t x = 0; x < 40; x++)
        if (x < 20 && y < 20)
          labels.at(x, y, z) |= kLungs;
        else
          ct.at(x, y, z) = 30;                   // dense, too, but the wall
  for (int64_t i : {2, 3}) ct.at(3, 15, i) = 0;  // the only vessel
  ct.at(10, 10, 1) = 20;                         // the nodule
  Dataset data;
  data.scans.push_back(make_scan("1", ct, labels, nodules));
  CHECK(data.scans[0].slices[1].hard == 0);
  CHECK((data.scans[0].slices[2].hard == 1 && data.scans[0].slices[3].hard == 1 && data.scans[0].slices[0].hard == 0));
  SamplingOptions o = options_of(9, 1, 0, 1);
  o.window = {-1000, 400};
  Tensor x, t;
  Sampler(data, {0}, o, 1).draw(0, 200, x, t);
  std::set<std::pair<int64_t, int64_t>> places;
  for (int64_t i = 0; i < 200; i++) {
    const float* const piece = x.data<float>() + i * 81;
    const auto at = std::find_if(piece, piece + 81, [&](float v) { return std::abs(v - o.window(0)) < 1e-5f; }) - piece;
    REQUIRE(at < 81);
    places.emplace(at % 9, at / 9);
  }
  CHECK(places.size() > 20);  // not always in the middle

  o.hard = 0;
  Sampler(data, {0}, o, 1).draw(0, 500, x, t);
  int64_t in_lung = count_middles(x, o.window(-850));
  CHECK((in_lung > 430 && in_lung < 490));  // 90 % of the pieces, and a quarter of the others

  // Without lungs, or anything hard, the pieces are anywhere.
  for (auto& slice : data.scans[0].slices) slice.lungs = slice.hard = 0;
  o.hard = 0.5;
  Sampler(data, {0}, o, 1).draw(0, 500, x, t);
  in_lung = count_middles(x, o.window(-850));
  CHECK((in_lung > 80 && in_lung < 170));
}

TEST_CASE("sampler: classes one-hot, colours together") {
  const int64_t w = 10, h = 8;
  const auto memory = std::make_shared<std::pair<std::vector<uint8_t>, std::vector<uint8_t>>>();
  for (int64_t i = 0; i < w * h; i++) {
    for (int64_t c = 0; c < 3; c++) memory->first.push_back(uint8_t(i * 3 + c));
    memory->second.push_back(uint8_t(i % 4 | kLungs));
  }
  Dataset data;
  data.classes = 3, data.kind = DataKind::pictures;
  Scan scan;
  scan.id = "a", scan.image.grid.size = {w, h, 1}, scan.image.channels = 3;
  scan.image.point_to(memory->first.data()), scan.labels = memory->second.data(), scan.memory = {memory};
  scan.image.outside = -INFINITY;
  scan.count_labels();
  CHECK((scan.classes == 3 && scan.foreground == 60));
  data.scans.push_back(scan);
  SamplingOptions o = options_of(5, 1, 0.5);
  o.window = {0, 255}, o.augment.mirror = 0.5;
  Tensor x, t;
  Sampler(data, {0}, o, 1).draw(0, 50, x, t);
  CHECK((x.shape() == Shape{50, 5, 5, 3} && t.shape() == Shape{50, 5, 5, 3}));
  int64_t inside = 0;
  for (int64_t i = 0; i < 50 * 25; i++) {
    const float *pixel = x.data<float>() + 3 * i, *target = t.data<float>() + 3 * i;
    const auto red = std::lround(pixel[0] * 255), green = std::lround(pixel[1] * 255);
    const bool outside = red == 0 && green == 0;
    const int64_t label = outside ? 0 : red / 3 % 4;
    inside += !outside;
    if (!outside && (red % 3 != 0 || green != red + 1 || std::lround(pixel[2] * 255) != red + 2))
      FAIL_CHECK("colours of " << i);
    for (int64_t k = 0; k < 3; k++)
      if (target[k] != (label == k + 1)) FAIL_CHECK("class " << k << " of " << i);
  }
  CHECK(inside > 600);
}

TEST_CASE("sampler: what is changed at random keeps image and target together") {
  // The image is the mask: where the target is 1 the image is bright.
  const Grid wide{{60, 60, 3}};
  const std::vector<Annotation> nodules{{"", {30, 30, 1}, 30}};
  const Volume<uint8_t> mask = sphere_mask(wide, nodules);
  Volume<int16_t> ct(wide);
  std::transform(mask.voxels.begin(), mask.voxels.end(), ct.voxels.begin(),
                 [](uint8_t m) { return int16_t(m * 1000); });
  Dataset data;
  data.scans.push_back(make_scan("1", ct, mask, nodules));
  SamplingOptions o = options_of(32, 1, 1);
  o.window = {0, 1000};
  o.augment.mirror = 0.5;
  o.augment.rotate.probability = o.augment.zoom.probability = o.augment.elastic.probability = 0.8;
  Tensor x, t;
  const auto wrong = [&](const SamplingOptions& options) {
    Sampler(data, {0}, options, 1).draw(0, 200, x, t);
    int64_t differ = 0, between = 0;
    for (int64_t i = 0; i < x.elements(); i++) {
      const float value = x.data<float>()[i];
      differ += (value > 0.5f) != (t.data<float>()[i] == 1);
      between += value > 0 && value < 1;
    }
    const std::vector<float> targets = t.to_vector<float>();
    CHECK(std::count(targets.begin(), targets.end(), 1.f) > x.elements() / 8);
    return std::pair(double(differ) / double(x.elements()), between);
  };
  const auto changed = wrong(o);
  CHECK(changed.first < 0.02);  // at the edge: the nearest voxel, and half of bilinear, differ at times
  CHECK(changed.second > 1000);
  o.augment = no_augmentation();
  CHECK(wrong(o) == std::pair(0., int64_t(0)));  // not even interpolated
  o.augment.mirror = 1;
  CHECK(wrong(o) == std::pair(0., int64_t(0)));
}

TEST_CASE("sampler: each thing that is wrong is said") {
  Dataset data = tell_tale(2);
  const auto error = [&](const SamplingOptions& o) { return error_of([&] { Sampler(data, {0, 1}, o, 1); }); };
  CHECK_THAT(error(options_of(9, 2, 0.5)), Catch::Contains("planes 2"));
  CHECK_THAT(error(options_of(0, 1, 0.5)), Catch::Contains("size 0"));
  CHECK_THAT(error(options_of(9, 1, 0.7, 0.4)), Catch::Contains("fractions 0.7"));
  CHECK_THAT(error(options_of(9, 1, -0.1)), Catch::Contains("fractions -0.1"));
  SamplingOptions o = options_of(9, 1, 0.5);
  o.augment.zoom.low = 0;
  CHECK_THAT(error(o), Catch::Contains("zoom"));
  CHECK_THAT(error_of([&] { Sampler(data, {}, options_of(9, 1, 1), 1); }), Catch::Contains("no scans"));
  for (Scan& scan : data.scans) scan.nodules.clear(), scan.slices.assign(scan.slices.size(), {});
  CHECK_THAT(error(options_of(9, 1, 1)), Catch::Contains("none of the 2 training patients has a nodule"));
  data.kind = DataKind::pictures;
  CHECK_THAT(error(options_of(9, 1, 1)), Catch::Contains("none of the 2 training pictures has any foreground"));
}

// ---- batches drawn ahead -------------------------------------------------------------------------------------------

TEST_CASE("loader: the sampler's batches, in order, however many threads draw them") {
  const Dataset data = tell_tale(3);
  SamplingOptions o = options_of(16, 3, 0.5, 0.2);
  o.augment = {};
  const Sampler sampler(data, {0, 1, 2}, o, 8);
  for (int threads : {1, 2, 5})
    for (int64_t first : {0, 17}) {
      Loader loader(batches_of(sampler), 4, first, first + 20, threads);
      Tensor x, t, x1, t1;
      for (int64_t i = first; i < first + 20; i++) {
        loader.next(x, t);
        sampler.draw(i * 4, 4, x1, t1);
        CHECK((same_bits(x, x1) && same_bits(t, t1)));
      }
      CHECK_THAT(error_of([&] { loader.next(x, t); }), Catch::Contains("no batch is left"));
    }
  CHECK_THAT(error_of([&] { Loader(batches_of(sampler), 4, 0, 1, 0); }), Catch::Contains("0 threads"));
  CHECK_THAT(error_of([&] { Loader(batches_of(sampler), 0, 0, 1, 1); }), Catch::Contains("batches of 0"));
}

TEST_CASE("loader: no more is drawn ahead than it says, and what is left undrawn holds nobody up") {
  const Dataset data = tell_tale(1);
  const SamplingOptions o = options_of(16, 1, 1);
  const Sampler sampler(data, {0}, o, 8);
  const int64_t before = memory::stats().in_use;
  {
    Loader loader(batches_of(sampler), 256, 0, int64_t(1) << 40, 2);
    Tensor x, t;
    loader.next(x, t);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const int64_t batch = 2 * 256 * 16 * 16 * 4;                  // x and t
    CHECK(memory::stats().in_use - before <= 5 * batch * 9 / 8);  // 2 + 2, and the one that was given
  }
  CHECK(memory::stats().in_use == before);
  const Loader never_asked(batches_of(sampler), 4, 0, 1000, 3), nothing_to_do(batches_of(sampler), 4, 5, 5, 2);
}

TEST_CASE("loader: an error of a thread is thrown where its batch is asked for; waiting is counted") {
  const Dataset data = tell_tale(2);
  bool fails = true, slow = false;
  const Sampler sampler(data, {0, 1}, options_of(8, 1, 1), 8);
  const Loader::Draw draw = [&](int64_t index, int64_t n, Tensor& x, Tensor& t) {
    if (fails && index == 8) fail("the disk is gone");  // batch 2
    if (slow) std::this_thread::sleep_for(std::chrono::milliseconds(2 * n));
    batches_of(sampler)(index, n, x, t);
  };
  {
    Loader loader(draw, 4, 0, 6, 1);
    Tensor x, t, x1, t1;
    loader.next(x, t), loader.next(x, t);
    CHECK(error_of([&] { loader.next(x, t); }) == "the disk is gone");
    loader.next(x, t);  // and the next one is there
    fails = false;
    sampler.draw(12, 4, x1, t1);
    CHECK(same_bits(x, x1));
  }
  slow = true;
  Loader loader(draw, 4, 0, 10, 1);
  Tensor x, t;
  for (int i = 0; i < 3; i++) loader.next(x, t);
  CHECK((loader.waited() >= 0.006 &&
         loader.waited() < 10));  // 3 batches of 4 pieces of 2 ms each, and some time to start
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const double before = loader.waited();
  loader.next(x, t);
  CHECK(loader.waited() - before < 0.05);  // it lay ready
}
