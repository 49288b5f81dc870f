// The second look at candidates: the residual network, its crops, where they are drawn, and what is made of them.
#include <algorithm>
#include <set>

#include "apps/prediction/classifier.h"
#include "apps/common/config.h"
#include "data/sampling/crop_sampler.h"
#include "data/scoring/froc.h"
#include "optim/adam.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

const NormKind all_norms[] = {NormKind::none, NormKind::batch, NormKind::group, NormKind::instance};

ResNetOptions tiny(NormKind norm) {
  return {.in = 2, .width = 4, .stages = 2, .blocks = 2, .norm = norm, .norm_groups = 2};
}

}  // namespace

// ---- the network --------------------------------------------------------------------------------------------------

TEST_CASE("resnet: names, shapes and parameters") {
  const ResNet net({.in = 3, .width = 4, .stages = 2, .blocks = 1, .norm = NormKind::batch}, 1);
  std::map<std::string, Shape> expected{{"stem.weight", {4, 3, 3, 3}},
                                        {"block.0.conv1.weight", {4, 4, 3, 3}},
                                        {"block.0.conv2.weight", {4, 4, 3, 3}},
                                        {"block.1.conv1.weight", {8, 4, 3, 3}},
                                        {"block.1.conv2.weight", {8, 8, 3, 3}},
                                        {"block.1.shortcut.weight", {8, 4, 1, 1}},
                                        {"head.weight", {1, 8}},
                                        {"head.bias", {1}}};
  for (const auto& [norm, channels] : {std::pair<const char*, int64_t>{"stem_norm", 4},
                                       {"block.0.norm1", 4},
                                       {"block.0.norm2", 4},
                                       {"block.1.norm1", 8},
                                       {"block.1.norm2", 8},
                                       {"block.1.norm3", 8}})
    for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"})
      expected.emplace(std::string(norm) + part, Shape{channels});
  const NamedTensors state = state_dict(net);
  CHECK(state.size() == expected.size());
  for (const auto& [name, tensor] : state) {
    INFO(name);
    REQUIRE(expected.contains(name));
    CHECK(text(tensor.shape()) == text(expected.at(name)));
  }
  // Weights 9 c n, 2 n of each norm; c of the head and its bias.
  CHECK(net.parameter_count() == (108 + 8) + (144 + 8 + 144 + 8) + (288 + 16 + 576 + 16 + 32 + 16) + (8 + 1));
  // Without norms a bias of each convolution instead.
  const ResNet plain({.in = 3, .width = 4, .stages = 2, .blocks = 1, .norm = NormKind::none}, 1);
  CHECK(plain.parameter_count() == (108 + 4) + (144 + 4 + 144 + 4) + (288 + 8 + 576 + 8 + 32 + 8) + (8 + 1));
  // Two blocks a stage: the channels double where a stage begins.
  const ResNet longer({.in = 1, .width = 2, .stages = 2, .blocks = 2, .norm = NormKind::none}, 1);
  CHECK(longer.parameter_count() == 20 + 2 * (38 + 38) + (76 + 148 + 12) + (148 + 148) + 5);
}

TEST_CASE("resnet: any side goes in, one logit comes out, and nothing is left unwritten") {
  const NoGrad no_grad;
  const Poison poison;
  for (NormKind norm : all_norms)
    for (int64_t side : {1, 2, 5, 8, 13}) {
      INFO(name(norm) << ' ' << side);
      ResNet net(tiny(norm), 3);
      for (bool training : {true, false}) {
        net.train(training);
        const Tensor y = net(random_tensor({3, side, side, 2}, 4, DType::f32));
        CHECK(text(y.shape()) == text(Shape{3, 1}));
        for (double v : y.to_vector()) CHECK(std::isfinite(v));
      }
    }
  ResNet net(tiny(NormKind::batch), 3);
  CHECK_THAT(error_of([&] { net(Tensor::zeros({1, 8, 6, 2})); }), Catch::Contains("needs (N,H,H,2)"));
  CHECK_THAT(error_of([&] { net(Tensor::zeros({1, 8, 8, 3})); }), Catch::Contains("needs (N,H,H,2)"));
  CHECK_THAT(error_of([&] { net(Tensor::zeros({0, 8, 8, 2})); }), Catch::Contains("needs (N,H,H,2)"));
  CHECK_THAT(error_of([] { ResNet({.stages = 0}, 1); }), Catch::Contains("stages 0"));
  CHECK_THAT(error_of([] { ResNet({.width = 6, .norm = NormKind::group, .norm_groups = 4}, 1); }),
             Catch::Contains("norm_groups 4 does not divide width 6"));
}

TEST_CASE("resnet: gradients through the whole of it agree with finite differences") {
  const Poison poison;
  const Threads one(1);
  for (NormKind norm : all_norms) {
    INFO(name(norm));
    ResNet net(tiny(norm), 1);
    net.to(DType::f64);
    uint64_t seed = 10;
    for (auto [name, tensor] : net.parameters())
      tensor.copy_from(random_tensor(tensor.shape(), seed++, DType::f64, -0.6, 0.6));
    Tensor x = random_tensor({3, 7, 7, 2}, 6).requires_grad();
    NamedTensors inputs = net.parameters();
    inputs.emplace_back("x", x);
    const Tensor cotangent = random_tensor({3, 1}, 7);
    sum(mul(net(x), cotangent)).backward();
    const NoGrad no_grad;
    compare_slopes(
        inputs, [&] { return dot(net(x), cotangent); },
        [](const std::string&, double slope, double difference) {
          CHECK(slope == Approx(difference).epsilon(1e-5).margin(1e-7));
        });
  }
}

// A bright square somewhere, or two halves of one: no mean over the picture tells them apart.
TEST_CASE("resnet: learns what a picture shows, wherever it is") {
  const auto batch = [](int64_t index, int64_t n, Tensor& x, Tensor& t) {
    x = Tensor::zeros({n, 12, 12, 1});
    t = Tensor::zeros({n, 1});
    for (int64_t i = 0; i < n; i++) {
      Random random(random_bits(9, uint64_t(index + i)));
      float* const image = x.data<float>() + i * 144;
      const bool whole = i % 2 == 0;
      const int64_t row = random.below(9), left = random.below(4), right = whole ? left + 2 : 6 + random.below(4);
      for (int64_t r = row; r < row + 3; r++)
        for (int64_t c = 0; c < 2; c++) image[r * 12 + left + c] = image[r * 12 + right + c] = 1;
      t.data<float>()[i] = whole;
    }
  };
  ResNet net({.in = 1, .width = 8, .stages = 2, .blocks = 1, .norm = NormKind::batch}, 1);
  Adam adam(net.parameters());
  Tensor x, t;
  for (int64_t step = 0; step < 60; step++) {
    batch(step * 32, 32, x, t);
    net.zero_grad();
    bce_with_logits(net(x), t).backward();
    adam.step(1e-2);
  }
  net.eval();
  batch(1'000'000, 100, x, t);
  const NoGrad no_grad;
  const Tensor y = net(x);
  int64_t right = 0;
  for (int64_t i = 0; i < 100; i++) right += (y.data<float>()[i] > 0) == (t.data<float>()[i] > 0.5f);
  CHECK(right >= 97);
}

TEST_CASE("resnet: a file of the one kind is refused where the other is wanted") {
  const Scratch folder;
  const std::string path = folder / "classifier.safetensors", unet_path = folder / "unet.safetensors";
  ResNet net({.in = 5, .width = 4, .stages = 2, .blocks = 2, .norm = NormKind::group, .norm_groups = 2}, 7);
  std::map<std::string, std::string> metadata = to_metadata(CropOptions{16, 0.75, 5, 1.5, {-900, 300}});
  metadata["resnet.config"] = to_json(net.options());
  write_safetensors(path, state_dict(net), metadata);
  const LoadedClassifier loaded = load_classifier(path);
  CHECK_FALSE(loaded.net->training());
  const NamedTensors was = net.state(), is = loaded.net->state();
  REQUIRE(is.size() == was.size());
  for (size_t i = 0; i < is.size(); i++) {
    INFO(was[i].first);
    CHECK(is[i].first == was[i].first);
    CHECK(same_bits(is[i].second, was[i].second));
  }
  CHECK((loaded.crop.size == 16 && loaded.crop.planes == 5));
  CHECK((loaded.crop.pixel_mm == 0.75 && loaded.crop.plane_mm == 1.5));
  CHECK((loaded.crop.window.low == -900 && loaded.crop.window.high == 300));

  UNet unet({.width = 2, .depth = 1}, 1);
  write_safetensors(unet_path, state_dict(unet), {{"unet.config", to_json(unet.options())}});
  CHECK_THAT(error_of([&] { load_classifier(unet_path); }), Catch::Contains("unet.safetensors: holds a U-Net"));
  CHECK_THAT(error_of([&] { load_unet(path); }), Catch::Contains("classifier.safetensors: holds a classifier"));
  const auto with = [&](const std::string& key, const std::string& value) {
    auto other = metadata;
    other[key] = value;
    write_safetensors(path, state_dict(net), other);
    return error_of([&] { load_classifier(path); });
  };
  CHECK_THAT(with("crop.planes", "7"), Catch::Contains("takes 5 planes, its crops have 7"));
  CHECK_THAT(with("crop.size", "1000000"), Catch::Contains("crops: 1000000 pixels"));
  CHECK_THAT(with("crop.pixel_mm", "wide"), Catch::Contains("\"crop.pixel_mm\" is missing from its metadata or no"));
  CHECK_THAT(with("crop.plane_mm", "nan"), !Catch::Contains("no error"));
  CHECK_THAT(with("resnet.config", "{}"), Catch::Contains("\"resnet.config\" is damaged"));
  CHECK_THAT(with("resnet.config", R"({"in":5,"width":4096,"stages":8,"blocks":1,"norm":"none","norm_groups":8})"),
             Catch::Contains("all tensors together hold"));
  CHECK_THAT(with("resnet.config", R"({"in":5,"width":1000,"stages":1,"blocks":64,"norm":"none","norm_groups":8})"),
             Catch::Contains("all tensors together hold"));
  CHECK_THAT(with("resnet.config", R"({"in":5,"width":4,"stages":1,"blocks":1,"norm":"none","norm_groups":8})"),
             Catch::Contains("holds another network"));
}

// ---- crops --------------------------------------------------------------------------------------------------------

namespace {

// A linear function of where a voxel lies in the patient: interpolation keeps it.
double density(const Vec3& mm) { return 3 * mm[0] - 2 * mm[1] + 5 * mm[2] + 40; }

// What the values of a crop are in that patient, 1 HU a unit.
const HuWindow units{0, 1};
const HuWindow wide{-2000, 2000};
double hu(float value) { return double(value) * 4000 - 2000; }

Volume<int16_t> filled(const Grid& grid) {
  Volume<int16_t> ct(grid);
  for (int64_t z = 0; z < grid.size[2]; z++)
    for (int64_t y = 0; y < grid.size[1]; y++)
      for (int64_t x = 0; x < grid.size[0]; x++)
        ct.at(x, y, z) = int16_t(std::lround(density(grid.to_world({double(x), double(y), double(z)}))));
  return ct;
}

std::vector<float> crop(const ScanView& image, const Vec3& place, const CropOptions& options,
                        const CropPose& pose = {}) {
  std::vector<float> values(size_t(options.values()), -7);
  copy_crop(image, place, options, pose, values.data());
  return values;
}

// Noise, so that a voxel in the wrong place shows.
Volume<int16_t> noise(const Grid& grid, uint64_t seed) {
  Volume<int16_t> ct(grid);
  for (size_t i = 0; i < ct.voxels.size(); i++) ct.voxels[i] = int16_t(random_uniform(seed, i) * 1400 - 1000);
  return ct;
}

const Grid grid{{20, 18, 12}, {1, 1, 2}, {-10, -9, 30}};

// The same voxels where they are, stored from the other end of an axis.
Volume<int16_t> reversed(const Volume<int16_t>& ct, const std::array<bool, 3>& axes) {
  Volume<int16_t> out(ct.grid);
  Vec3 corner{};
  for (size_t k = 0; k < 3; k++)
    if (axes[k]) {
      corner[k] = double(ct.grid.size[k] - 1);
      for (double& d : out.grid.direction[k]) d = -d;
    }
  out.grid.origin = ct.grid.to_world(corner);
  const Index3 n = ct.grid.size;
  for (int64_t z = 0; z < n[2]; z++)
    for (int64_t y = 0; y < n[1]; y++)
      for (int64_t x = 0; x < n[0]; x++)
        out.at(axes[0] ? n[0] - 1 - x : x, axes[1] ? n[1] - 1 - y : y, axes[2] ? n[2] - 1 - z : z) = ct.at(x, y, z);
  return out;
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (size_t i = 0; i < a.size(); i++) most = std::max(most, double(std::abs(a[i] - b[i])));
  return most;
}

}  // namespace

TEST_CASE("crops: pixels lie where the header says, in mm of the patient") {
  const Volume<int16_t> ct = filled(grid);
  const CropOptions options{4, 1.5, 3, 2.5, wide};
  const Vec3 place{-1.3, 0.4, 41};
  const std::vector<float> values = crop(ct, place, options);
  for (int64_t r = 0; r < 4; r++)
    for (int64_t c = 0; c < 4; c++)
      for (int64_t p = 0; p < 3; p++) {
        INFO(r << ' ' << c << ' ' << p);
        const Vec3 at{place[0] + (double(c) - 1.5) * 1.5, place[1] + (double(r) - 1.5) * 1.5,
                      place[2] + (double(p) - 1) * 2.5};
        CHECK(hu(values[size_t((r * 4 + c) * 3 + p)]) == Approx(density(at)).margin(0.01));
      }
  // By hand: the middle of a crop of one pixel on voxel (12, 5, 3), at (2, -4, 36) mm, is that voxel; half a voxel on
  // along z the mean of two.
  const CropOptions one{1, 1, 1, 1, wide};
  const Volume<int16_t> random = noise(grid, 3);
  CHECK(hu(crop(random, {2, -4, 36}, one)[0]) == Approx(random.at(12, 5, 3)).margin(0.01));
  CHECK(hu(crop(random, {2, -4, 37}, one)[0]) == Approx((random.at(12, 5, 3) + random.at(12, 5, 4)) / 2.).margin(0.01));
  // The window: 0 and below is 0, 1 and above is 1.
  CHECK(crop(ct, place, {1, 1, 1, 1, {density(place) - 1, density(place) + 3}})[0] == Approx(0.25).margin(1e-3));
  CHECK(crop(ct, place, {1, 1, 1, 1, units})[0] == 1);
}

TEST_CASE("crops: a scan stored another way gives the same crop") {
  const Volume<int16_t> ct = noise(grid, 4);
  const CropOptions options{9, 1.1, 5, 1.7, {-1000, 400}};
  const Vec3 inside{-2.2, 1.1, 40.7}, at_edge{-9.8, 7.6, 31};
  for (const Vec3& place : {inside, at_edge}) {
    const std::vector<float> values = crop(ct, place, options);
    CHECK(std::set<float>(values.begin(), values.end()).size() > 40);
    for (const auto& axes : {std::array<bool, 3>{true, false, false}, {true, true, false}, {false, false, true}})
      CHECK(difference(values, crop(reversed(ct, axes), place, options)) < 1e-5);
  }
  // Oblique: a linear density stays what it is, where no voxel is rounded (so in steps of the noise of rounding).
  Grid oblique{{40, 40, 40}, {1, 1, 1}, {0, 0, 0}, {{{0.8, 0.6, 0}, {-0.6, 0.8, 0}, {0, 0, 1}}}};
  const Vec3 middle = oblique.to_world({19.5, 19.5, 19.5});
  for (size_t k = 0; k < 3; k++) oblique.origin[k] = Vec3{-2.2, 1.1, 40.7}[k] - middle[k];
  const std::vector<float> straight = crop(filled(grid), inside, {5, 1, 3, 2, wide}),
                           turned = crop(filled(oblique), inside, {5, 1, 3, 2, wide});
  CHECK(difference(straight, turned) * 4000 < 1.01);
}

TEST_CASE("crops: outside is air") {
  Volume<int16_t> ct(grid, 500);
  const CropOptions options{3, 4, 1, 1, {-1000, 400}};
  const std::vector<float> corner = crop(ct, {-10, -9, 30}, options);
  CHECK(corner == std::vector<float>{0, 0, 0, 0, 1, 1, 0, 1, 1});
  const CropOptions one{1, 1, 1, 1, {-1000, 400}};
  CHECK(crop(ct, {-10.49, 0, 40}, one)[0] == 1);  // in the outer half of the first voxel
  CHECK(crop(ct, {-10.51, 0, 40}, one)[0] == 0);
  CHECK(crop(ct, {0, 0, 30 - 0.99}, one)[0] == 1);
  CHECK(crop(ct, {0, 0, 30 - 1.01}, one)[0] == 0);
  for (const Vec3& place : {Vec3{1e300, 0, 40}, {NAN, 0, 40}, {0, -INFINITY, 40}}) CHECK(crop(ct, place, one)[0] == 0);
  CHECK_THAT(error_of([&] { crop(ct, {}, {0, 1, 1, 1, {}}); }), Catch::Contains("crops: 0 pixels"));
  CHECK_THAT(error_of([&] { crop(ct, {}, {1, 0, 1, 1, {}}); }), Catch::Contains("pixels of 0 mm"));
  CHECK_THAT(error_of([&] { crop(ct, {}, {1, 1, 1, 1, {5, 5}}); }), Catch::Contains("a window from 5 to 5"));
  ScanView colours = ct;
  colours.channels = 3;
  CHECK_THAT(error_of([&] { crop(colours, {}, one); }), Catch::Contains("one channel"));
}

TEST_CASE("crops: moved, mirrored, turned and made larger") {
  const Volume<int16_t> ct = noise(grid, 5);
  const CropOptions options{5, 1, 3, 2, {-1000, 400}};
  const Vec3 place{0, 0, 42};
  const std::vector<float> plain = crop(ct, place, options);
  const auto at = [&](const std::vector<float>& values, int64_t r, int64_t c, int64_t p) {
    return values[size_t((r * 5 + c) * 3 + p)];
  };
  const auto same = [&](const CropPose& pose, auto from) {
    const std::vector<float> changed = crop(ct, place, options, pose);
    double most = 0;
    for (int64_t r = 0; r < 5; r++)
      for (int64_t c = 0; c < 5; c++)
        for (int64_t p = 0; p < 3; p++) {
          const std::array<int64_t, 3> old = from(r, c, p);
          most = std::max(most, double(std::abs(at(changed, r, c, p) - at(plain, old[0], old[1], old[2]))));
        }
    return most < 1e-5;
  };
  using Old = std::array<int64_t, 3>;
  CHECK(same({.mirror = {true, false, false}}, [](auto r, auto c, auto p) { return Old{r, 4 - c, p}; }));
  CHECK(same({.mirror = {false, true, false}}, [](auto r, auto c, auto p) { return Old{4 - r, c, p}; }));
  CHECK(same({.mirror = {false, false, true}}, [](auto r, auto c, auto p) { return Old{r, c, 2 - p}; }));
  // From x towards y: what is to the right comes to lie below.
  CHECK(same({.degrees = 90}, [](auto r, auto c, auto p) { return Old{4 - c, r, p}; }));
  CHECK(difference(crop(ct, place, options, {.shift = {1, -2, 2}}), crop(ct, {1, -2, 44}, options)) < 1e-6);
  // Twice as large: the pixel two steps from the middle shows what one step from it was.
  const std::vector<float> larger = crop(ct, place, options, {.zoom = 2});
  CHECK(at(larger, 2, 4, 1) == Approx(at(plain, 2, 3, 1)).margin(1e-5));
  CHECK(at(larger, 0, 2, 0) == Approx(at(plain, 1, 2, 0)).margin(1e-5));

  AugmentOptions augment = no_augmentation();
  Random random(1);
  const CropPose still = random_pose(augment, 0, random);
  CHECK((still.shift == Vec3{} && still.degrees == 0 && still.zoom == 1 && still.mirror == CropPose{}.mirror));
  augment.mirror = 0.5, augment.rotate.probability = 1, augment.zoom.probability = 1;
  std::array<int, 3> mirrored{};
  Vec3 least{9, 9, 9}, most{-9, -9, -9};
  for (int i = 0; i < 1000; i++) {
    const CropPose pose = random_pose(augment, 2, random);
    for (size_t k = 0; k < 3; k++) {
      mirrored[k] += pose.mirror[k];
      least[k] = std::min(least[k], pose.shift[k]), most[k] = std::max(most[k], pose.shift[k]);
    }
    CHECK((pose.zoom >= augment.zoom.low && pose.zoom <= augment.zoom.high));
  }
  for (size_t k = 0; k < 3; k++) {
    CHECK((mirrored[k] > 430 && mirrored[k] < 570));
    CHECK((least[k] >= -2 && least[k] < -1.9 && most[k] <= 2 && most[k] > 1.9));
  }
}

// ---- candidates ---------------------------------------------------------------------------------------------------

TEST_CASE("classify: who is a nodule") {
  const Annotation ten{"a", {1, 2, 3}, 10}, unknown{"a", {50, 0, 0}, -1};
  CHECK(hits({1, 2, 3}, ten));
  CHECK(hits({1, 2, 7.999}, ten));
  CHECK_FALSE(hits({1, 2, 8}, ten));  // exactly d/2 away is no hit
  CHECK_FALSE(hits({4, 6, 3}, ten));  // nor is it aslant
  CHECK(hits({3.9, 5.9, 3}, ten));
  CHECK(hits({54.9, 0, 0}, unknown));
  CHECK_FALSE(hits({55, 0, 0}, unknown));
  CHECK_FALSE(hits({NAN, 2, 3}, ten));

  Scan scan;
  scan.id = "a";
  scan.nodules = {ten};
  const std::vector<Annotation> excluded{unknown, {"b", {90, 0, 0}, 10}, {"a", {1, 2, 9}, 10}};
  CHECK(judge({1, 2, 3}, scan, excluded) == Verdict::nodule);
  CHECK(judge({1, 2, 6}, scan, excluded) == Verdict::nodule);  // hits both
  CHECK(judge({1, 2, 9}, scan, excluded) == Verdict::ignored);
  CHECK(judge({50, 0, 1}, scan, excluded) == Verdict::ignored);
  CHECK(judge({90, 0, 0}, scan, excluded) == Verdict::other);  // the finding is another scan's
}

TEST_CASE("classify: the area under the curve") {
  CHECK(area_under_roc({0.9, 0.8}, {0.1, 0.7}) == 1);
  CHECK(area_under_roc({0.1}, {0.9, 0.8}) == 0);
  CHECK(area_under_roc({0.5, 0.5}, {0.5}) == 0.5);
  CHECK(area_under_roc({3, 1}, {2, 1, 0}) == Approx((3 + 1.5) / 6));
  CHECK(std::isnan(area_under_roc({}, {1})));
  CHECK(std::isnan(area_under_roc({1}, {})));
}

namespace {

// One nodule and one vessel, which no label tells of; scans differ in noise.
Scan scan_of(const std::string& id, uint64_t seed, bool with_labels = true) {
  const Grid big{{40, 40, 20}, {1, 1, 2}, {0, 0, 0}};
  Volume<int16_t> ct(big);
  Volume<uint8_t> labels(big);
  for (int64_t z = 0; z < 20; z++)
    for (int64_t y = 0; y < 40; y++)
      for (int64_t x = 0; x < 40; x++) {
        const double ball = std::hypot(double(x) - 10, double(y) - 10, 2 * double(z) - 20);
        const bool vessel = std::hypot(double(x) - 30, double(y) - 30) < 3, nodule = ball < 4;
        ct.at(x, y, z) =
            int16_t((nodule || vessel ? 0 : -850) + 50 * random_uniform(seed, uint64_t(big.offset(x, y, z))));
        if (with_labels) labels.at(x, y, z) = uint8_t(kLungs | (nodule ? 1 : 0));
      }
  return make_scan(id, std::move(ct), std::move(labels), {{id, {10, 10, 20}, 8}});
}

Dataset two_scans() {
  Dataset data;
  data.scans = {scan_of("a", 1), scan_of("b", 2)};
  return data;
}

const std::vector<Candidate> some_candidates{
    {"a", {11, 10, 20}, 8, 0.9}, {"b", {30, 30, 12}, 5, 0.8}, {"a", {30, 30, 30}, 5, 0.7}, {"c", {10, 10, 20}, 5, 0.7}};

CropSamplingOptions small_crops() {
  CropSamplingOptions options;
  options.crop = {7, 1, 3, 2, {-1000, 400}};
  options.augment = no_augmentation();
  return options;
}

float middle(const Tensor& x, int64_t i) { return x.data<float>()[i * 147 + (3 * 7 + 3) * 3 + 1]; }

}  // namespace

TEST_CASE("classify: half of the crops show nodules, the others what is none") {
  const Dataset data = two_scans();
  CropSamplingOptions options = small_crops();
  options.shift_mm = 0;
  const CropSampler sampler(data, {0, 1}, some_candidates, {}, options, 5);
  CHECK(sampler.nodules() == 2);
  CHECK(sampler.hits() == 1);
  CHECK(sampler.others() == 2);  // that of a scan that is not there counts nowhere
  CHECK(sampler.hard() > 50);
  Tensor x, t;
  sampler.draw(100, 200, x, t);
  CHECK(text(x.shape()) == text(Shape{200, 7, 7, 3}));
  std::set<float> seen[2];
  for (int64_t i = 0; i < 200; i++) {
    INFO(i);
    CHECK(t.data<float>()[i] == float(i % 2 == 0));
    CHECK(middle(x, i) > 0.6f);  // all of them are dense in the middle
    seen[i % 2].insert(middle(x, i));
  }
  CHECK(seen[0].size() == 3);  // two annotated centres, one candidate
  CHECK(seen[1].size() > 10);  // two candidates, and dense places of the vessel

  // Of scans that are held out, nothing; nor of what hits an excluded finding.
  CHECK(CropSampler(data, {1}, some_candidates, {}, options, 5).others() == 1);
  CHECK(CropSampler(data, {1}, some_candidates, {}, options, 5).hits() == 0);
  const std::vector<Annotation> whole_vessel{{"a", {30, 30, 19}, 60}, {"b", {30, 30, 19}, 60}};
  CHECK_THAT(error_of([&] {
               CropSampler(data, {0, 1}, some_candidates, whole_vessel, options, 5);
             }),
             Catch::Contains("nothing to tell nodules from"));
  Dataset none = two_scans();
  for (Scan& scan : none.scans) scan.nodules.clear();
  CHECK_THAT(error_of([&] {
               CropSampler(none, {0, 1}, some_candidates, {}, options, 5);
             }),
             Catch::Contains("none of the 2 training patients has a nodule"));
}

TEST_CASE("classify: dense places keep away from nodules") {
  // Without labels of the nodule (its class), distance alone keeps them away.
  Dataset data = two_scans();
  Volume<uint8_t> lungs(data.scans[0].image.grid, kLungs);
  Volume<int16_t> dense(data.scans[0].image.grid, 0);
  data.scans = {make_scan("a", dense, lungs, {{"a", {20, 20, 20}, 20}})};
  for (int64_t z = 0; z < 20; z++)
    for (int64_t y = 0; y < 40; y++)
      for (int64_t x = 0; x < 40; x++)  // bright where a place may be
        dense.at(x, y, z) = int16_t(std::hypot(double(x) - 20, double(y) - 20, 2 * double(z) - 20) < 15 ? -300 : 300);
  data.scans = {make_scan("a", dense, lungs, {{"a", {20, 20, 20}, 20}})};
  CropSamplingOptions options = small_crops();
  options.shift_mm = 0, options.crop.size = 1, options.crop.planes = 1;
  const CropSampler sampler(data, {0}, {}, {}, options, 3);
  CHECK(sampler.hard() > 10);
  Tensor x, t;
  sampler.draw(0, 100, x, t);
  for (int64_t i = 1; i < 100; i += 2) CHECK(x.data<float>()[i] > 0.9f);
}

TEST_CASE("classify: a crop is a function of the seed and its number, and of the image alone") {
  const Dataset data = two_scans();
  CropSamplingOptions options = small_crops();
  options.augment = light_augmentation();
  options.augment.rotate.probability = 0.5;
  const CropSampler sampler(data, {0, 1}, some_candidates, {}, options, 5);
  Tensor all, part, t;
  {
    const Threads one(1);
    sampler.draw(0, 24, all, t);
  }
  {
    const Threads three(3);
    sampler.draw(7, 5, part, t);
  }
  for (int64_t i = 0; i < 5 * 147; i++) REQUIRE(part.data<float>()[i] == all.data<float>()[7 * 147 + i]);
  CropSampler(data, {0, 1}, some_candidates, {}, options, 6).draw(0, 24, part, t);
  CHECK_FALSE(same_bits(part, all));

  // No leak: a scan whose labels are others, or all gone, gives the same crops of the same candidates.
  Dataset blank;
  blank.scans = {scan_of("a", 1, false), scan_of("b", 2, false)};
  CHECK(CropSampler(blank, {0, 1}, some_candidates, {}, options, 5).hard() == 0);
  options.hard = 0;
  Tensor with, without;
  CropSampler(data, {0, 1}, some_candidates, {}, options, 5).draw(0, 24, with, t);
  CropSampler(blank, {0, 1}, some_candidates, {}, options, 5).draw(0, 24, without, t);
  CHECK(same_bits(with, without));
}

TEST_CASE("classify: candidates get the network's probabilities, and are sorted") {
  const Scan scan = scan_of("a", 1);
  LoadedClassifier classifier;
  classifier.crop = {8, 1, 3, 2, {-1000, 400}};
  classifier.net = std::make_unique<ResNet>(
      ResNetOptions{.in = 3, .width = 4, .stages = 2, .blocks = 1, .norm = NormKind::batch}, 3);
  classifier.net->eval();
  std::vector<Candidate> found;
  for (int i = 0; i < 37; i++) found.push_back({"a", {double(i), double(40 - i), 20}, double(i), 0.5});
  const std::vector<Candidate> before = found;
  classify(classifier, scan.image, found);
  REQUIRE(found.size() == 37);
  std::set<double> diameters;
  for (size_t i = 0; i < found.size(); i++) {
    if (i > 0) CHECK(found[i - 1].probability >= found[i].probability);
    diameters.insert(found[i].diameter_mm);
    CHECK(before[size_t(found[i].diameter_mm)].centre ==
          found[i].centre);  // nothing else changed, nothing got mixed up
    // The mean over four views, each on its own.
    double sum = 0;
    for (const CropPose& pose : {CropPose{}, CropPose{.mirror = {true, false, false}},
                                 CropPose{.mirror = {false, true, false}}, CropPose{.mirror = {false, false, true}}}) {
      Tensor x({1, 8, 8, 3});
      copy_crop(scan.image, found[i].centre, classifier.crop, pose, x.data<float>());
      const NoGrad no_grad;
      sum += sigmoid((*classifier.net)(x)).item() / 4;
    }
    CHECK(found[i].probability == Approx(sum).margin(1e-6));
  }
  CHECK(diameters.size() == 37);
  std::vector<Candidate> nothing;
  classify(classifier, scan.image, nothing);
  CHECK(nothing.empty());
  {
    const Threads three(3);
    std::vector<Candidate> again = before;
    classify(classifier, scan.image, again);
    for (size_t i = 0; i < found.size(); i++) CHECK(again[i].probability == found[i].probability);
  }
}
