// Networks over scans, and the files that ./predict leaves.
#include "apps/prediction/prediction.h"
#include "data/formats/metaimage.h"
#include "data/formats/png.h"
#include "data/formats/volume_io.h"
#include "tensor/cuda/device.h"
#include "tensor/io/file.h"
#include "tensor/trace.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

const Mat3 flipped{{{-1, 0, 0}, {0, -1, 0}, {0, 0, 1}}};

// A chest in the simplest form: lungs as two boxes of air with some vessels, in a body of water; whichever way stored.
Volume<int16_t> chest(bool turned) {
  Volume<int16_t> ct(Grid{{48, 40, 12}, {6, 6, 15}, {-141, -117, 0}});
  Random random(3);
  for (int64_t z = 0; z < 12; z++)
    for (int64_t y = 0; y < 40; y++)
      for (int64_t x = 0; x < 48; x++) {
        const bool body = x > 2 && x < 45 && y > 2 && y < 37;
        const bool lung = y > 6 && y < 33 && ((x > 5 && x < 21) || (x > 26 && x < 42));
        const bool vessel = random.uniform() < 0.05;
        ct.at(x, y, z) = int16_t((!body ? -1000 : lung && !vessel ? -850 : 40) + random.uniform(-20, 20));
      }
  if (!turned) return ct;
  Volume<int16_t> other(ct.grid);
  other.grid.direction = flipped;
  other.grid.origin = ct.grid.to_world({47, 39, 0});
  for (int64_t z = 0; z < 12; z++)
    for (int64_t y = 0; y < 40; y++)
      for (int64_t x = 0; x < 48; x++) other.at(x, y, z) = ct.at(47 - x, 39 - y, z);
  return other;
}

UNet& ready(UNet& net) {
  net.eval();
  return net;
}

}  // namespace

TEST_CASE("predict: a scan stored the other way round gives the same places", "[slow]") {
  UNet net({.in = 3, .out = 1, .width = 4, .depth = 2, .norm = NormKind::batch}, 5);
  const Segmenter segmenter{&ready(net), {.lungs = true}};
  Scratch scratch;
  PredictionOptions options;
  options.segment.mirror = true;  // without, a network need not say the same of a mirrored slice
  options.segment.batch = 5;
  options.candidates = {.threshold = 0.5, .min_diameter_mm = 3};
  std::vector<Candidate> found[2];
  for (const bool turned : {false, true}) {
    const std::string path = scratch / (turned ? "turned.mhd" : "plain.mhd");
    write_volume(path, chest(turned));
    Prediction p = predict_scan(path, {segmenter}, options, {}, {});
    CHECK(p.warnings.size() <= 1);  // that there is no trachea
    CHECK(p.left_ml + p.right_ml > 1000);
    found[turned] = p.candidates;
    const auto files = write_prediction(p, scratch.path.string(), options);
    CHECK(files[0] == p.id + "_mask.mhd");
    CHECK(read_grid(scratch / files[0]) == read_grid(path));
    CHECK(read_volume<float>(scratch / files[1]).voxels == p.probability.voxels);
  }
  REQUIRE(found[0].size() > 5);
  REQUIRE(found[0].size() == found[1].size());
  for (const Candidate& a : found[0]) {  // their order may differ where probabilities do so little
    double nearest = INFINITY;
    for (const Candidate& b : found[1]) {
      double squared = 0;
      for (size_t k = 0; k < 3; k++) squared += (a.centre[k] - b.centre[k]) * (a.centre[k] - b.centre[k]);
      nearest = std::min(nearest, std::sqrt(squared) + std::abs(a.probability - b.probability));
    }
    CHECK(nearest < 0.01);
  }
}

TEST_CASE("segment: boxes, batches, mirror images and several networks") {
  Volume<int16_t> ct(Grid{{120, 92, 6}});
  Random random(4);
  for (int16_t& hu : ct.voxels) hu = int16_t(random.uniform(-1000, 400));
  const int64_t pixels = 120 * 92;
  std::vector<uint8_t> labels(ct.voxels.size());
  for (int64_t z = 1; z < 5; z++)  // not in all slices, and not in the middle
    for (int64_t y = 1; y < 9; y++)
      for (int64_t x = 70; x < 85; x++) labels[size_t(ct.grid.offset(x, y, z))] = kLungs;
  UNet one({.in = 3, .out = 1, .width = 4, .depth = 2, .norm = NormKind::batch}, 5);
  UNet other({.in = 1, .out = 1, .width = 2, .depth = 1}, 6);
  const Segmenter a{&ready(one), {.lungs = true}}, b{&ready(other), {.planes = 1, .lungs = true}};
  const auto all = [&](const std::vector<Segmenter>& networks, const SegmentOptions& options) {
    std::vector<float> p;
    segment_slices(networks, ct, labels.data(), options, [&](int64_t z, const float* of_slice) {
      CHECK(z * pixels == int64_t(p.size()));
      p.insert(p.end(), of_slice, of_slice + pixels);
      return true;
    });
    return p;
  };
  const auto difference = [](const std::vector<float>& p, const std::vector<float>& q) {
    float most = 0;
    for (size_t i = 0; i < p.size(); i++) most = std::max(most, std::abs(p[i] - q[i]));
    return most;
  };
  const std::vector<float> plain = all({a}, {});
  REQUIRE(plain.size() == ct.voxels.size());
  for (size_t i = 0; i < plain.size(); i++)
    if ((plain[i] > 0) != (labels[i] == kLungs)) FAIL_CHECK(i);
  for (const int64_t batch : {1, 2, 3, 5, 100}) CHECK(all({a}, {.batch = batch}) == plain);
  {  // Slices so small that the convolution's algorithm would depend on how many there are.
    Volume<int16_t> small(Grid{{20, 24, 5}});
    for (int16_t& hu : small.voxels) hu = int16_t(random.uniform(-1000, 400));
    UNet deep({.in = 1, .out = 1, .width = 8, .depth = 3}, 7);
    std::vector<float> p[2];
    for (const int64_t batch : {0, 1})
      segment_slices({{&ready(deep), {.planes = 1}}}, small, nullptr, {.batch = batch}, [&](int64_t, const float* of) {
        p[batch].insert(p[batch].end(), of, of + 20 * 24);
        return true;
      });
    CHECK(p[0] == p[1]);
  }

  // The box is 32 voxels larger than the lungs on each side, and this network sees less far (5 convolutions at full
  // size, 4 at half, 2 at a quarter: 5 + 8 + 8, and some for the squares that are pooled): the same as of whole slices.
  {
    NoGrad no_grad;
    for (const int64_t z : {1, 4}) {
      Tensor x({1, 92, 120, 3});
      copy_planes(ct, z, 3, a.format.window, 0, 0, 120, 92, x.data<float>());
      const Tensor whole = sigmoid(one(x));
      for (int64_t i = 0; i < pixels; i++)
        if (labels[size_t(z * pixels + i)] &&
            !(std::abs(whole.data<float>()[i] - plain[size_t(z * pixels + i)]) < 1e-5f))
          FAIL_CHECK(z << " " << i);
    }
  }

  const std::vector<float> second = all({b}, {});
  std::vector<float> mean(plain.size());
  for (size_t i = 0; i < mean.size(); i++) mean[i] = (plain[i] + second[i]) / 2;
  CHECK(difference(all({a, b}, {}), mean) < 1e-6f);
  CHECK(difference(plain, second) > 1e-3f);

  const std::vector<float> mirror = all({a}, {.mirror = true});
  CHECK(difference(mirror, plain) > 1e-4f);
  CHECK(difference(all({a}, {.batch = 3, .mirror = true}), mirror) < 1e-6f);

  // Unless asked otherwise, all of the four slices with lungs, as they are small.
  const auto largest_batch = [&] {
    int64_t most = 0;
    const ObserverScope observer([&](const Event& event) {
      if (event.result) most = std::max(most, event.result->shape()[0]);
    });
    CHECK(difference(all({a}, {}), plain) < 1e-6f);
    return most;
  };
  CHECK(largest_batch() == 4);
  if (cuda::available()) {
    one.to(Device::cuda);
    CHECK(largest_batch() == 4);
    one.to(Device::cpu);
  }

  const Segmenter elsewhere{&ready(other), {.planes = 1, .lungs = false}};
  CHECK_THAT(error_of([&] { all({a, elsewhere}, {}); }), Catch::Contains("cannot average networks"));
  std::fill(labels.begin(), labels.end(), uint8_t(0));  // no lungs: nothing is looked at
  for (const float p : all({a}, {}))
    if (p != 0) FAIL_CHECK(p);
}

TEST_CASE("predict: what looks odd is said, old pictures go") {
  UNet net({.in = 1, .out = 1, .width = 2, .depth = 1}, 5);
  Segmenter segmenter{&ready(net), {.planes = 1}};
  segmenter.format.pixel_mm = 6, segmenter.format.slice_mm = 15;
  Scratch scratch;
  const std::string path = scratch / "a.mhd";
  write_volume(path, chest(false));
  PredictionOptions options;
  options.candidates = {.threshold = 0, .min_diameter_mm = 0};
  options.pictures = 2;
  const auto predicted = [&] { return predict_scan(path, {segmenter}, options, {}, {}); };
  CHECK(predicted().warnings.empty());
  segmenter.format.pixel_mm = 0.7;
  auto p = predicted();
  REQUIRE(p.warnings.size() == 1);
  CHECK_THAT(p.warnings[0], Catch::Contains("6 x 15 mm") && Catch::Contains("0.7 x 15 mm"));
  segmenter.format = {.planes = 1, .window = {500, 900}};
  CHECK(predicted().candidates.empty());  // a network of another task: a mask alone
  CHECK_THAT(predicted().warnings.at(0), Catch::Contains("outside 500 to 900"));

  for (const char* name :
       {"a_candidate1.png", "a_candidate17.png", "a_z3.png", "a_candidate.png", "ab_candidate1.png", "a_zoo.png"})
    put(scratch / name, "old");
  const auto files = write_prediction(p, scratch.path.string(), options);
  CHECK(files.back() == "a.html");
  for (const char* name : {"a_candidate17.png", "a_z3.png"}) CHECK_FALSE(std::filesystem::exists(scratch / name));
  for (const char* name : {"a_candidate.png", "ab_candidate1.png", "a_zoo.png", "a_candidate1.png"})
    CHECK(std::filesystem::exists(scratch / name));
  CHECK(read_png(scratch / "a_candidate1.png").width > 3 * 48);

  segmenter.format = {.planes = 1, .lungs = true};
  Volume<int16_t> water(chest(false).grid, 0);
  write_volume(path, water);
  p = predicted();
  CHECK(p.candidates.empty());
  CHECK_FALSE(p.warnings.empty());  // no lungs
  write_prediction(p, scratch.path.string(), options);
  CHECK_FALSE(std::filesystem::exists(scratch / "a_candidate1.png"));
  CHECK_THAT(read_file(scratch / "a.html", 1 << 20), Catch::Contains("the network had nothing to look at"));
  CHECK(error_of([&] { predict_scan(scratch / "a_zoo.png", {segmenter}, options, {}, {}); }).find("is not a scan") !=
        std::string::npos);
}
