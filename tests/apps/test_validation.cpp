// From networks back to scans: whole scans segmented and judged, and pictures of slices.
#include "apps/training/validation.h"

#include <algorithm>
#include <map>

#include "data/dataset/overlay.h"
#include "data/volume/mask.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

const Mat3 flipped{{{-1, 0, 0}, {0, -1, 0}, {0, 0, 1}}};

using Colour = std::array<int, 3>;
Colour colour(const Picture& p, int x, int y) {
  const uint8_t* at = &p.pixels[size_t(y * p.width + x) * 3];
  return {at[0], at[1], at[2]};
}
const Colour grey{127, 127, 127}, green{0, 255, 0}, red{255, 0, 0}, yellow{255, 255, 0}, black{0, 0, 0};

}  // namespace

// ---- pictures ------------------------------------------------------------------------------------------------------

TEST_CASE("overlay: the scan in grey, truth green, prediction red, both yellow, insides free") {
  Volume<int16_t> ct(Grid{{6, 5, 2}}, -300);
  ct.at(5, 4, 1) = 2000, ct.at(0, 4, 1) = -2000;
  Volume<uint8_t> truth(ct.grid, 0), predicted(ct.grid, 0);
  for (int64_t y = 0; y < 3; y++)
    for (int64_t x = 0; x < 3; x++) truth.at(x, y, 1) = 1, predicted.at(x + 2, y, 1) = 1;
  const Picture p = overlay(ct, &truth, &predicted, 1, 1);
  CHECK((p.width == 6 && p.height == 5 && p.channels == 3));
  CHECK(colour(p, 0, 0) == green);
  CHECK(colour(p, 1, 1) == grey);  // inside of the truth
  CHECK(colour(p, 2, 1) == yellow);
  CHECK(colour(p, 3, 1) == grey);
  CHECK(colour(p, 4, 2) == red);
  CHECK(colour(p, 5, 0) == grey);
  CHECK((colour(p, 5, 4) == Colour{255, 255, 255} && colour(p, 0, 4) == black));
  CHECK(colour(overlay(ct, nullptr, nullptr, 1, 1), 0, 0) == grey);
  CHECK(colour(overlay(ct, &truth, nullptr, 1, 1), 2, 1) == green);
  CHECK(colour(overlay(ct, &truth, &predicted, 0, 1), 0, 0) == grey);  // another slice
  CHECK(colour(overlay(ct, 1, nullptr, nullptr, 1, {-300, 0}), 0, 0) == black);
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

  CHECK(densest_point(truth) == Index3{1, 1, 1});
  Volume<uint8_t> two(Grid{{60, 60, 2}}, 0);  // two nodules of one slice: a place in one of them, not between
  for (int64_t i = 0; i < 6; i++) two.at(4 + i, 7, 1) = two.at(48 + i, 50, 1) = two.at(48 + i, 51, 1) = 1;
  CHECK((densest_point(two)[0] >= 49 && densest_point(two)[0] <= 51 && densest_point(two)[1] == 50));
  CHECK(densest_point(Volume<uint8_t>(ct.grid, 0)) == Index3{3, 2, 1});
}

TEST_CASE("overlay: a close-up is a part of the whole, black outside; pictures side by side") {
  Random random(3);
  Volume<int16_t> ct(Grid{{7, 5, 2}});
  Volume<uint8_t> truth(ct.grid), predicted(ct.grid);
  for (int16_t& hu : ct.voxels) hu = int16_t(random.uniform(-900, 400));
  for (uint8_t& v : truth.voxels) v = random.uniform() < 0.5;
  for (uint8_t& v : predicted.voxels) v = random.uniform() < 0.5;
  for (bool turned : {false, true})
    for (int zoom : {1, 3}) {
      if (turned) ct.grid.direction = flipped;
      const Picture whole = overlay(ct, 1, truth.slice(1), predicted.slice(1), zoom);
      for (const Rectangle& part : {Rectangle{0, 0, 7, 5}, {2, 1, 3, 2}, {-2, -1, 4, 4}, {5, 3, 4, 4}, {9, 9, 2, 2}}) {
        const Picture close = overlay(ct, 1, truth.slice(1), predicted.slice(1), zoom, {}, part);
        REQUIRE((close.width == part.cols * zoom && close.height == part.rows * zoom));
        for (int y = 0; y < close.height; y++)
          for (int x = 0; x < close.width; x++) {
            const int wx = x + int(part.left) * zoom, wy = y + int(part.top) * zoom;
            const bool inside = wx >= 0 && wx < whole.width && wy >= 0 && wy < whole.height;
            if (colour(close, x, y) != (inside ? colour(whole, wx, wy) : black)) FAIL_CHECK(x << ", " << y);
          }
      }
    }
  const Picture a{6, 5, 3, std::vector<uint8_t>(90, 1)}, b{4, 4, 3, std::vector<uint8_t>(48, 2)};
  const Picture both = montage({a, b, a}, 2);
  CHECK((both.width == 6 + 4 + 6 && both.height == 5 + 4 + 5));
  CHECK((colour(both, 0, 0) == Colour{1, 1, 1} && colour(both, 11, 1) == Colour{2, 2, 2}));
  CHECK((colour(both, 0, 9) == Colour{1, 1, 1} && colour(both, 7, 0) == black && colour(both, 15, 13) == black));
  CHECK_THAT(error_of([] { montage({}, 2); }), Catch::Contains("no pictures"));

  // Colours of a picture stay; of any other number of channels the first is drawn.
  const std::vector<uint8_t> bytes{10, 20, 30, 40, 50, 60};
  ScanView image;
  image.grid.size = {2, 1, 1}, image.channels = 3, image.point_to(bytes.data());
  CHECK(colour(overlay(image, 0, nullptr, nullptr, 1, {0, 255}), 1, 0) == Colour{40, 50, 60});
  image.grid.size = {3, 1, 1}, image.channels = 2;
  CHECK(colour(overlay(image, 0, nullptr, nullptr, 1, {0, 255}), 1, 0) == Colour{30, 30, 30});
}

// ---- whole scans ---------------------------------------------------------------------------------------------------

TEST_CASE("segment: Dice counts voxels, slice by slice and class by class") {
  using U8 = std::vector<uint8_t>;
  const auto dice = [](const U8& a, const U8& b, int64_t classes = 1) {
    DiceCount count(classes);
    count.add(a.data(), b.data(), int64_t(a.size() / 2));  // in two parts
    count.add(a.data() + a.size() / 2, b.data() + a.size() / 2, int64_t(a.size() - a.size() / 2));
    return count.dice();
  };
  const U8 none(8), a{1, 1, 1, 0, 0, 0, 0, 0}, b{0, 1, 1, 1, 1, 0, 0, 0};
  CHECK(dice(none, none) == 1);
  CHECK((dice(a, none) == 0 && dice(none, a) == 0 && dice(a, a) == 1));
  CHECK(dice(a, b) == Approx(2 * 2. / 7));
  CHECK(dice(b, a) == Approx(2 * 2. / 7));
  U8 in_lungs = b;
  for (uint8_t& label : in_lungs) label |= kLungs;
  CHECK(dice(in_lungs, a) == Approx(2 * 2. / 7));
  // The mean over classes that are there: 1 and 3; class 2 is in neither.
  CHECK(dice({1, 1, 3, 0}, {1, 0, 3, 3}, 3) == Approx((2. / 3 + 2. / 3) / 2));
  CHECK(dice({1, 2, 0, 0}, {2, 2, 0, 0}, 2) == Approx((0 + 2. / 3) / 2));
  CHECK(dice({5, 1}, {5, 1}, 2) == 1);  // no such class: passed over, not counted elsewhere

  const std::vector<float> p{0.4999f, 0.5f, 0.5001f};
  U8 mask(3, 9);
  classes_of(p.data(), 3, 1, 0.5, mask.data());
  CHECK(mask == U8{0, 0, 1});
  const std::vector<float> several{0.6f, 0.7f, 0.1f, 0.9f, 0.2f, 0.3f, 0.1f, 0.2f, 0.3f, NAN, NAN, NAN};
  mask.assign(4, 9);
  classes_of(several.data(), 4, 3, 0.5, mask.data());
  CHECK(mask == U8{2, 1, 0, 0});
}

TEST_CASE("segment: a scan goes through the network slice by slice, on its own grid") {
  UNet net({.in = 3, .out = 2, .width = 2, .depth = 2, .norm = NormKind::batch, .norm_groups = 2}, 1);
  Volume<int16_t> ct(Grid{{13, 10, 4}, {0.7, 0.7, 2}, {1, 2, 3}, flipped});
  Random random(1);
  for (int16_t& hu : ct.voxels) hu = int16_t(random.uniform(-1000, 400));
  std::vector<uint8_t> labels(520);
  for (uint8_t& label : labels) label = random.uniform() < 0.5 ? kLungs | 1 : 1;
  InputFormat format;
  net.eval();
  for (bool lungs : {false, true}) {
    format.lungs = lungs;
    const memory::Stats before = memory::stats();
    int64_t calls = 0;
    segment_slices(net, ct, lungs ? labels.data() : nullptr, format, [&](int64_t z, const float* p) {
      CHECK(z == calls++);
      const NoGrad no_grad;
      Tensor x({1, 10, 13, 3});
      copy_planes(ct, z, 3, format.window, 0, 0, 13, 10, x.data<float>());
      const Tensor y = sigmoid(net(x));
      for (int64_t i = 0; i < 260; i++) {
        const bool outside = lungs && !(labels[size_t(z * 130 + i / 2)] & kLungs);
        if (p[i] != (outside ? 0 : y.data<float>()[i])) FAIL_CHECK(i);
      }
      return true;
    });
    CHECK(calls == 4);
    CHECK(memory::stats().in_use == before.in_use);
  }
  int64_t calls = 0;  // until it has seen enough
  CHECK_FALSE(segment_slices(net, ct, labels.data(), format, [&](int64_t, const float*) { return ++calls < 2; }));
  CHECK(calls == 2);
  CHECK_FALSE(net.training());
  const auto error = [&](const InputFormat& f, const uint8_t* l) {
    return error_of([&] { segment_slices(net, ct, l, f, [](int64_t, const float*) { return true; }); });
  };
  CHECK_THAT(error({.planes = 1}, labels.data()), Catch::Contains("3 channels") && Catch::Contains("1 planes"));
  CHECK_THAT(error({.lungs = true}, nullptr), Catch::Contains("the lungs are needed"));

  const InputFormat odd{5, 3, {-1200.5, 600}, 0.3, true};
  const InputFormat back = input_format(to_metadata(odd), "x");
  CHECK((back.planes == 5 && back.channels == 3 && back.window.low == -1200.5 && back.window.high == 600 &&
         back.threshold == 0.3 && back.lungs));
  for (const auto& [key, value] : {std::pair<const char*, const char*>{"input.planes", "2"},
                                   {"input.planes", "x"},
                                   {"input.channels", "0"},
                                   {"input.lungs", "yes"},
                                   {"input.hu_high", "-5000"},
                                   {"input.threshold", ""}}) {
    auto metadata = to_metadata(odd);
    metadata[key] = value;
    CHECK_THAT(error_of([&] { input_format(metadata, "x.safetensors"); }), Catch::Contains("x.safetensors"));
    metadata.erase(key);
    CHECK_THAT(error_of([&] { input_format(metadata, "x.safetensors"); }), Catch::Contains(key));
  }
}

// ---- judged --------------------------------------------------------------------------------------------------------

namespace {

// Scans of noise with nodules of several sizes, the last scan without.
Dataset noisy(int64_t classes = 1) {
  Dataset data;
  data.classes = classes;
  Random random(5);
  const Grid grid{{14, 12, 6}};
  for (int i = 0; i < 6; i++) {
    Volume<int16_t> ct(grid);
    for (int16_t& hu : ct.voxels) hu = int16_t(random.uniform(-1000, 400));
    std::vector<Annotation> nodules;
    if (i < 5) nodules.push_back({"", {5, 6, 2. + i % 3}, 3. + i});
    Volume<uint8_t> mask = sphere_mask(grid, nodules);
    for (size_t k = 0; k < mask.voxels.size(); k++)
      mask.voxels[k] = uint8_t(mask.voxels[k] * (1 + k % size_t(classes)) | kLungs);
    data.scans.push_back(make_scan(text("1.", i), ct, mask, nodules));
  }
  return data;
}

UNetOptions small_net(int64_t classes) { return {.in = 3, .out = classes, .width = 4, .depth = 1}; }

// All slices' classes, by the network alone; the threshold becomes the median, so that half of the voxels are
// predicted.
struct ByHand {
  std::map<std::pair<const Scan*, int64_t>, std::vector<uint8_t>> predicted;
  double share = 0, mean = 0;
};
ByHand by_hand(UNet& net, const Dataset& data, InputFormat& format) {
  const int64_t classes = data.classes;
  std::map<std::pair<const Scan*, int64_t>, std::vector<float>> all;
  std::vector<float> values;
  ByHand result;
  for (const Scan& scan : data.scans)
    segment_slices(net, scan.image, scan.labels, format, [&](int64_t z, const float* p) {
      all[{&scan, z}].assign(p, p + 14 * 12 * classes);
      values.insert(values.end(), p, p + 14 * 12 * classes);
      return true;
    });
  for (float v : values) result.mean += double(v) / double(values.size());
  std::nth_element(values.begin(), values.begin() + int64_t(values.size()) / 2, values.end());
  format.threshold = double(values[values.size() / 2]);
  for (const auto& [key, p] : all) {
    std::vector<uint8_t>& mask = result.predicted[key];
    for (int64_t i = 0; i < 14 * 12; i++) {
      int64_t best = 0;
      for (int64_t k = 1; k < classes; k++)
        if (p[size_t(i * classes + k)] > p[size_t(i * classes + best)]) best = k;
      mask.push_back(double(p[size_t(i * classes + best)]) > format.threshold ? uint8_t(best + 1) : 0);
      result.share += double(mask.back() > 0) / double(14 * 12) / double(all.size());
    }
  }
  return result;
}

// Of one class: 2 |A and B| / (|A| + |B|), over some slices of a scan.
template <class Use>
double dice_by_hand(const ByHand& hand, const Scan& scan, int64_t classes, Use use) {
  double sum = 0;
  int present = 0;
  for (int c = 1; c <= classes; c++) {
    int64_t both = 0, either = 0;
    for (int64_t z = 0; z < 6; z++) {
      if (!use(z)) continue;
      const std::vector<uint8_t>& predicted = hand.predicted.at({&scan, z});
      for (int64_t i = 0; i < 14 * 12; i++) {
        const bool a = (scan.labels_of(z)[i] & kClass) == c, b = predicted[size_t(i)] == c;
        both += a && b, either += a + b;
      }
    }
    if (either > 0) sum += 2. * double(both) / double(either), present++;
  }
  return present ? sum / present : 1;
}

bool none(int64_t, int64_t) { return true; }

}  // namespace

TEST_CASE("validate: Dice over whole scans, and the slices to be looked at") {
  for (int64_t classes : {1, 3}) {
    const Dataset data = noisy(classes);
    UNet net(small_net(classes), 3);
    net.eval();
    ValidationOptions options;
    const ByHand hand = by_hand(net, data, options.format);
    const auto any = [](int64_t) { return true; };
    int64_t calls = 0;
    net.train();
    const Validation v = validate(net, data, {0, 1, 2, 3, 4, 5}, options, [&](int64_t done, int64_t of) {
      CHECK((done == ++calls && of == 36));
      return true;
    });
    CHECK((calls == 36 && net.training()));  // in the mode it was in
    CHECK_FALSE(v.stopped);
    CHECK(validate(net, data, {0, 1}, options, [&](int64_t done, int64_t) { return done < 9; }).stopped);
    REQUIRE(v.scans.size() == 6);
    double mean = 0;
    for (size_t i = 0; i < 6; i++) {
      CHECK(v.scans[i].first == &data.scans[i]);
      CHECK(v.scans[i].second == Approx(dice_by_hand(hand, data.scans[i], classes, any)));
      if (i < 5) mean += v.scans[i].second / 5;  // the last one has no nodule
    }
    CHECK(v.dice == Approx(mean));
    CHECK(v.predicted_share == Approx(hand.share));
    CHECK(v.mean_probability == Approx(hand.mean));
    CHECK((v.extreme_share >= 0 && v.extreme_share <= 1));

    // The slice at either end of each scan, by its Dice, and the four at either end of these.
    std::vector<double> of_all, of_nodules;
    for (const Scan& scan : data.scans) {
      double worst = 2, best = -1;
      for (int64_t z = 0; z < 6; z++) {
        const double dice = dice_by_hand(hand, scan, classes, [z](int64_t at) { return at == z; });
        worst = std::min(worst, dice);
        if (scan.slices[size_t(z)].foreground > 0) best = std::max(best, dice);
      }
      of_all.push_back(worst);
      if (best >= 0) of_nodules.push_back(best);
    }
    std::sort(of_all.begin(), of_all.end());
    std::sort(of_nodules.rbegin(), of_nodules.rend());
    REQUIRE((v.best.size() == 4 && v.worst.size() == 4 && v.random.size() == 4 && v.largest.size() == 4));
    for (size_t k = 0; k < 4; k++) {
      CHECK(v.worst[k].dice == Approx(of_all[k]));
      CHECK(v.best[k].dice == Approx(of_nodules[k]));
      CHECK(v.best[k].scan->slices[size_t(v.best[k].z)].foreground > 0);
      CHECK(v.largest[k].scan == &data.scans[k]);  // of the first four scans
      for (const SliceCount& slice : data.scans[k].slices)
        CHECK(slice.foreground <= data.scans[k].slices[size_t(v.largest[k].z)].foreground);
    }
    for (const auto* shown : {&v.best, &v.worst, &v.random, &v.largest})
      for (const ShownSlice& slice : *shown) {
        CHECK(slice.predicted == hand.predicted.at({slice.scan, slice.z}));
        CHECK(slice.dice ==
              Approx(dice_by_hand(hand, *slice.scan, classes, [&](int64_t at) { return at == slice.z; })));
      }
    // Random ones are the same each time, whatever the network says, and others with another seed.
    const auto places = [](const std::vector<ShownSlice>& slices) {
      std::vector<std::pair<std::string, int64_t>> all;
      for (const ShownSlice& slice : slices) all.emplace_back(slice.scan->id, slice.z);
      return all;
    };
    InputFormat lower = options.format;
    lower.threshold *= 0.999;
    CHECK(places(validate(net, data, {0, 1, 2, 3, 4, 5}, {lower, 1}, none).random) == places(v.random));
    CHECK(places(validate(net, data, {0, 1, 2, 3, 4, 5}, {lower, 2}, none).random) != places(v.random));

    const std::vector<PictureGroup> groups = picture_groups(v, {});
    REQUIRE(groups.size() == 3);
    for (const PictureGroup& group : groups) CHECK(group.pictures.size() == 4);
    CHECK(overlay_of(v, {}).width > 3 * 300);
  }
}

TEST_CASE("validate: some of the scans, and nothing at all") {
  const Dataset data = noisy();
  UNet net(small_net(1), 3);
  net.eval();
  ValidationOptions options;
  const ByHand hand = by_hand(net, data, options.format);
  const Validation v = validate(net, data, {2, 1}, options, none);
  REQUIRE(v.scans.size() == 2);
  for (const auto& [scan, dice] : v.scans)
    CHECK(dice == Approx(dice_by_hand(hand, *scan, 1, [](int64_t) { return true; })));
  CHECK(v.dice == Approx((v.scans[0].second + v.scans[1].second) / 2));
  REQUIRE(v.largest.size() == 2);
  CHECK((v.largest[0].scan == &data.scans[2] && v.largest[1].scan == &data.scans[1]));
  for (const auto* shown : {&v.best, &v.worst, &v.random})
    for (const ShownSlice& slice : *shown) CHECK((slice.scan == &data.scans[1] || slice.scan == &data.scans[2]));

  // Nothing predicted: Dice 0 where there is something, 1 where not; slices that hold nothing are not shown.
  options.format.threshold = 1;
  const Validation nothing = validate(net, data, {0, 5}, options, none);
  CHECK((nothing.scans[0].second == 0 && nothing.scans[1].second == 1 && nothing.dice == 0));
  CHECK(nothing.predicted_share == 0);
  const auto& slices = data.scans[0].slices;
  const auto full = size_t(std::count_if(slices.begin(), slices.end(), [](auto& s) { return s.foreground > 0; }));
  CHECK((full == 3 && nothing.worst.size() == 2 && nothing.random.size() == 2));  // of two scans two each, at most
  const Validation empty = validate(net, data, {5}, options, none);
  CHECK((empty.dice == 0 && empty.worst.empty() && empty.largest.empty()));
  CHECK(overlay_of(empty, {}).pixels.size() == 3);
  CHECK(error_of([&] { validate(net, data, {0}, options, [](int64_t, int64_t) -> bool { fail("stop"); }); }) == "stop");
  CHECK_FALSE(net.training());
}

TEST_CASE("validate: close-ups of large pictures stay small") {
  const Grid wide{{3000, 40, 1}};
  Volume<uint8_t> mask(wide);
  for (int64_t x = 1500; x < 1520; x++) mask.at(x, 20, 0) = 1;
  Dataset data;
  data.scans.push_back(make_scan("1", Volume<int16_t>(wide), mask, {}));
  Validation v;
  v.largest.push_back({&data.scans[0], 0, 0.5, std::vector<uint8_t>(size_t(wide.voxels()))});
  const Picture picture = overlay_of(v, {});
  CHECK((picture.width == 3 * 3000 + 2 * 4 && picture.height <= 3000));
}
