// The doctor: a clean set of phantoms raises no warning, and each flaw that is planted is named.
#include <nlohmann/json.hpp>

#include "apps/checks/checks.h"
#include "data/chest/lungs.h"
#include "data/chest/phantom.h"
#include "data/dataset/statistics.h"
#include "data/formats/annotations.h"
#include "data/formats/png.h"
#include "data/formats/volume_io.h"
#include "data/volume/mask.h"
#include "tensor/io/file.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

constexpr int kScans = 6;

// Chests with nodules of 9 mm and more, two of them stored with x and y reversed.
const std::vector<Phantom>& chests() {
  static const std::vector<Phantom> all = [] {
    std::vector<Phantom> phantoms;
    for (int i = 0; i < kScans; i++) {
      PhantomOptions options;
      options.size = {110, 96, 40}, options.spacing = {3, 3, 4};
      options.min_nodules = 4, options.min_diameter_mm = 9, options.flip = i % 3 == 2;
      phantoms.push_back(make_phantom(options, uint64_t(100 + i)));
    }
    return phantoms;
  }();
  return all;
}

std::string name_of(int i) { return text("chest", i); }

const Volume<uint8_t>& lungs_of(int i) {
  static const std::vector<Volume<uint8_t>> all = [] {
    std::vector<Volume<uint8_t>> lungs;
    for (const Phantom& phantom : chests()) lungs.push_back(find_lungs(phantom.ct).mask);
    return lungs;
  }();
  return all[size_t(i)];
}

// What load_dataset makes of a scan and its rows of annotations.csv. Lungs are where they are in the phantom.
Scan scan_of(int i, const Volume<int16_t>& ct, const std::vector<Annotation>& annotations) {
  Volume<uint8_t> labels = sphere_mask(ct.grid, annotations);
  for (size_t v = 0; v < labels.voxels.size(); v++)
    if (lungs_of(i).voxels[v]) labels.voxels[v] |= kLungs;
  std::vector<Annotation> inside, outside;
  for (const Annotation& a : annotations)
    (ct.grid.contains(ct.grid.to_voxel(a.centre)) ? inside : outside).push_back(a);
  Scan scan = make_scan(name_of(i), ct, std::move(labels), inside);
  scan.outside = outside;
  return scan;
}

std::vector<Annotation> annotations_of(int i) {
  std::vector<Annotation> list;
  for (const PhantomNodule& nodule : chests()[size_t(i)].nodules)
    list.push_back({name_of(i), nodule.centre, nodule.diameter_mm});
  return list;
}

// The clean set, changed: change(i, ct, annotations).
template <class Change>
Dataset changed(Change change) {
  Dataset data;
  for (int i = 0; i < kScans; i++) {
    Volume<int16_t> ct = chests()[size_t(i)].ct;
    std::vector<Annotation> annotations = annotations_of(i);
    change(i, ct, annotations);
    data.scans.push_back(scan_of(i, ct, annotations));
  }
  return data;
}
Dataset clean() {
  return changed([](int, auto&, auto&) {});
}

std::string all_of(const Findings& findings, Level least = Level::note) {
  std::string all;
  for (const Finding& f : findings)
    if (f.level >= least) all += f.what + " -> " + f.cure + "\n";
  return all;
}
bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// One finding of that level, whose text and cure hold these; and nothing worse than a note besides.
void check_only(const Findings& findings, Level level, const std::string& what, const std::string& cure) {
  CAPTURE(all_of(findings), what, cure);
  int worse = 0;
  bool found = false;
  for (const Finding& f : findings) {
    worse += f.level > Level::note;
    found = found || (f.level == level && holds(f.what, what) && holds(f.cure, cure));
  }
  CHECK(found);
  CHECK(worse == (level > Level::note));
}

Outputs outputs(const Scan& scan, double predicted, double mean, double extreme, double low, double high, double dice) {
  Outputs o{.voxels = double(scan.image.grid.voxels()), .true_voxels = double(scan.foreground)};
  for (const SliceCount& slice : scan.slices) o.lung_voxels += double(slice.lungs);
  o.predicted_share = predicted, o.mean_probability = mean, o.extreme_share = extreme, o.dice = dice;
  o.lowest = low, o.highest = high;
  return o;
}

std::vector<EpochRow> epochs(const std::vector<double>& loss, const std::vector<double>& dice, double wait = 0.01) {
  std::vector<EpochRow> rows;
  for (size_t i = 0; i < loss.size(); i++)
    rows.push_back({int64_t(i + 1), int64_t(100 * (i + 1)), loss[i], dice[i], 1e-3, 10, 160, wait, 90});
  return rows;
}

}  // namespace

TEST_CASE("doctor: clean phantoms raise no warning", "[slow]") {
  const Dataset data = clean();
  CHECK(all_of(check_data(data), Level::warning) == "");
  CHECK(all_of(check_split(data, split_patients(data, {})), Level::warning) == "");
}

TEST_CASE("doctor: coordinates meant in another way are named", "[slow]") {
  const auto check_error = [](const Dataset& data, const std::string& what, const std::string& cure) {
    check_only(check_data(data), Level::error, what, cure);
  };
  const auto moved = [](auto move) {
    return changed([&](int i, const Volume<int16_t>& ct, std::vector<Annotation>& list) {
      for (Annotation& a : list) a.centre = move(i, ct.grid, a.centre);
    });
  };
  check_error(moved([](int, const Grid&, Vec3 c) { return Vec3{-c[0], -c[1], c[2]}; }), "the signs of x and y", "RAS");
  check_error(moved([](int, const Grid&, Vec3 c) { return Vec3{c[2], c[1], c[0]}; }), "x and z are exchanged", "z,y,x");
  check_error(moved([](int, const Grid&, Vec3 c) { return Vec3{c[0], c[1], -c[2]}; }), "sign of z", "coordZ");
  check_error(moved([](int, const Grid& g, Vec3 c) { return g.to_voxel(c); }), "voxel indices", "spacing");
  check_error(moved([](int i, const Grid&, Vec3 c) {
                return Vec3{c[0] + 25 * (i % 2 ? 1 : -1), c[1] - 22, c[2] + 17};
              }),
              "no denser", "LPS");
  // Only the flipped scans suffer where a program ignores the direction.
  check_error(moved([](int, Grid g, Vec3 c) {
                const Vec3 voxel = g.to_voxel(c);
                g.direction = Grid().direction;
                return g.to_world(voxel);
              }),
              "scans stored as LPI", "ignores the direction");
  // The header has lost it: now all say RAI, and the places of two scans lie outside these.
  check_error(changed([](int, Volume<int16_t>& ct, auto&) { ct.grid.direction = Grid().direction; }),
              "run the other way", "TransformMatrix -1 0 0 0 -1");
  // The slices the wrong way round.
  check_error(changed([](int, Volume<int16_t>& ct, auto&) {
                const int64_t pixels = ct.grid.size[0] * ct.grid.size[1], last = ct.grid.size[2] - 1;
                for (int64_t z = 0; z < last - z; z++)
                  std::swap_ranges(ct.slice(z), ct.slice(z) + pixels, ct.slice(last - z));
              }),
              "opposite order", "slices");
}

TEST_CASE("doctor: diameters, and nodules outside") {
  const auto check_one = [](Level level, auto change, const std::string& what, const std::string& cure) {
    check_only(check_data(changed(change)), level, what, cure);
  };
  check_one(
      Level::error, [](int i, auto&, auto& list) { list[0].diameter_mm = i == 1 ? 0 : list[0].diameter_mm; },
      "1 nodule with a diameter of 0 or less: chest1", "excluded");
  check_one(
      Level::error, [](int i, auto&, auto& list) { list[0].diameter_mm = i == 1 ? 4000 : list[0].diameter_mm; },
      "larger than 100 mm or than the lungs: chest1", "mm");
  check_one(
      Level::warning, [](int i, auto&, auto& list) { list[0].centre[2] += i == 1 ? 900 : 0; },
      text("outside their scans: 1 of "), "cropped");
  check_one(
      Level::error,
      [](int, auto&, auto& list) {
        for (Annotation& a : list) a.diameter_mm /= 25;
      },
      "half of the nodules are smaller than", "cm");
}

TEST_CASE("doctor: values that are no Hounsfield units") {
  const auto with_values = [](auto value) {
    return check_data(changed([&](int, Volume<int16_t>& ct, auto&) {
      for (int16_t& v : ct.voxels) v = int16_t(value(v));
    }));
  };
  check_only(with_values([](int v) { return v + 1024; }), Level::error, "6 scans without air (values 0 to ",
             "RescaleIntercept");
  check_only(with_values([](int v) { return std::clamp((v + 1000) * 255 / 1400, 0, 255); }), Level::error,
             "greys of 0 to 255", "DICOM");
  // Padding around the circle that the scanner sees is usual, and no flaw.
  const Dataset padded = changed([](int, Volume<int16_t>& ct, auto&) {
    for (int64_t z = 0; z < ct.grid.size[2]; z++)
      for (int64_t x = 0; x < ct.grid.size[0]; x++)
        for (int64_t y : {0, 1, 2}) ct.at(x, y, z) = z % 2 ? -2048 : -3024;
  });
  CHECK(all_of(check_data(padded), Level::warning) == "");
  // Raw values with padding: no air in between.
  check_only(check_data(changed([](int, Volume<int16_t>& ct, auto&) {
               for (int16_t& v : ct.voxels) v = int16_t(v + 1024);
               std::fill_n(ct.slice(10), 2000, int16_t(-2000));
               std::fill_n(ct.slice(20), 2000, int16_t(-2000));
             })),
             Level::error, "6 scans without air (values 0 to ", "RescaleIntercept");
  check_only(check_data(changed([](int i, Volume<int16_t>& ct, auto&) {
               if (i == 4) std::fill(ct.voxels.begin(), ct.voxels.end(), int16_t(7));
             })),
             Level::error, "1 scan with a single value: chest4 (7)", "");
}

TEST_CASE("doctor: spacings, lungs, doubles") {
  Dataset data = clean();
  for (double& mm : data.scans[2].image.grid.spacing) mm /= 1000;
  check_only(check_data(data), Level::error, "smaller than 0.01 mm: chest2", "metres");

  data = clean();
  std::vector<uint8_t> without(data.scans[1].labels, data.scans[1].labels + data.scans[1].image.grid.voxels());
  for (uint8_t& label : without) label &= kClass;
  data.scans[1].labels = without.data();
  data.scans[1].count_labels();
  CHECK(holds(all_of(check_data(data), Level::warning), "1 scan in which no lungs were found: chest1"));

  data = clean();
  const Scan twin = data.scans[3];
  data.scans.push_back(twin);
  data.scans.back().id = data.scans.back().patient = "other";
  check_only(check_data(data), Level::warning, "other and chest3", "remove");
  const Findings split = check_split(data, {{0, 1, 2, 3}, {4, 5, 6}});
  check_only(split, Level::error, "same voxels on both sides of the split: other and chest3", "remove");

  data = clean();
  data.scans[4].patient = "chest0";
  check_only(check_split(data, {{0, 1, 2, 3}, {4, 5}}), Level::error, "1 patient on both sides of the split: chest0",
             "by patient");
  data.scans[4] = scan_of(4, chests()[4].ct, {});
  check_only(check_split(data, {{0, 1, 2, 3, 5}, {4}}), Level::warning, "none of the held-out scans", "--held_out");
  check_only(check_split(data, {{4}, {0, 1, 2, 3, 5}}), Level::error, "none of the training scans", "split");
}

namespace {

// A folder of images/ and masks/, 32 x 32 pixels: a bright square on a ramp; the mask is 255 there.
Picture square(int n, bool mask) {
  Picture p{32, 32, 1, std::vector<uint8_t>(32 * 32)};
  for (int y = 0; y < 32; y++)
    for (int x = 0; x < 32; x++) {
      const bool in = std::abs(x - 8 - n % 16) < 4 && std::abs(y - 12) < 4;
      p.pixels[size_t(y * 32 + x)] = uint8_t(mask ? (in ? 255 : 0) : in ? 200 : x + y + n);
    }
  return p;
}

template <class Name, class Change>
Findings of_pairs(Name name, Change change) {
  const Scratch folder;
  for (int n = 0; n < 12; n++) {
    Picture image = square(n, false), mask = square(n, true);
    change(n, image, mask);
    for (const char* kind : {"images/", "masks/"})
      make_folder(std::filesystem::path(folder / (kind + name(n))).parent_path().string());
    write_png(folder / ("images/" + name(n) + ".png"), image);
    write_png(folder / ("masks/" + name(n) + ".png"), mask);
  }
  std::vector<std::pair<Source, std::string>> failed;
  CacheOptions options;
  options.folder = folder / "cache";
  const Dataset data = load_dataset(folder.path.string(), options, 1 << 30, {}, &failed);
  Findings findings = check_failures(failed);
  findings.append(check_data(data));
  return findings;
}
std::string plain(int n) { return text("img_", n); }

}  // namespace

TEST_CASE("doctor: pictures and masks") {
  const auto values = [](Picture& mask, auto to) {
    for (uint8_t& v : mask.pixels) v = uint8_t(to(v));
  };
  CHECK(all_of(of_pairs(plain, [](int, auto&, auto&) {})) == "");
  CHECK(all_of(of_pairs([](int n) { return text("case", n, "_0000"); }, [](int, auto&, auto&) {})) ==
        "");  // nnU-Net's names

  check_only(of_pairs(plain,
                      [&](int n, auto&, Picture& m) {
                        if (n > 7) values(m, [&](int v) { return v ? 70 + n % 2 : 0; });
                      }),
             Level::error, "4 masks with values that are not classes", "--classes 0,70,71");
  check_only(of_pairs(plain,
                      [](int n, auto&, Picture& m) {
                        if (n < 2)
                          for (size_t i = 0; i < 200; i++) m.pixels[i] = uint8_t(i);
                      }),
             Level::error, "2 masks with values", "JPEG");
  check_only(of_pairs(plain,
                      [](int n, auto&, Picture& m) {
                        if (n != 5) return;
                        Picture colours{32, 32, 3, std::vector<uint8_t>(32 * 32 * 3)};
                        for (size_t i = 0; i < 1024; i++) colours.pixels[3 * i] = m.pixels[i];
                        m = colours;
                      }),
             Level::error, "img_5.png: is coloured", "number");
  check_only(of_pairs(plain, [&](int, auto&, Picture& m) { values(m, [](int v) { return 255 - v; }); }), Level::warning,
             "are foreground", "--classes 255,0");
  check_only(of_pairs(plain, [&](int, auto&, Picture& m) { values(m, [](int) { return 0; }); }), Level::error,
             "no mask holds any foreground", "--classes");
  check_only(of_pairs(plain,
                      [&](int n, auto&, Picture& m) {
                        if (n < 8) values(m, [](int) { return 0; });
                      }),
             Level::warning, "8 of 12 masks are empty", "values");
  check_only(of_pairs(plain,
                      [&](int n, Picture& p, auto&) {
                        if (n == 3) values(p, [](int) { return 1; });
                      }),
             Level::error, "1 picture with a single value: img_3 (1)", "255");
  check_only(of_pairs(plain,
                      [](int n, Picture& p, Picture&) {
                        if (n == 3) p = square(2, false);
                      }),
             Level::warning, "1 picture with the same voxels as another one: img_3 and img_2", "remove");
  check_only(of_pairs([](int n) { return text("case0", n / 4, "_", 10 + n); }, [](int, auto&, auto&) {}),
             Level::warning, "case00_10 and case00_11 look like slices of one patient", "images/case00/");
  CHECK(all_of(of_pairs([](int n) { return text("case0", n / 4, "/", 10 + n); }, [](int, auto&, auto&) {})) == "");
}

TEST_CASE("doctor: batches") {
  Config c;
  const Tensor x = random_tensor({8, 16, 16, 3}, 1, DType::f32, 0, 1);
  Tensor t = Tensor::zeros({8, 16, 16, 1});
  t.data<float>()[100] = 1;
  CHECK(all_of(check_batch(x, t, c)) == "");
  const auto with = [&](const Tensor& of, auto change) {
    const Tensor copy = of.clone();
    for (int64_t i = 0; i < copy.elements(); i++) copy.data<float>()[i] = change(i, copy.data<float>()[i]);
    return copy;
  };
  check_only(check_batch(with(x, [](int64_t i, float v) { return i == 9 ? NAN : v; }), t, c), Level::error,
             "1 value not finite", "augment");
  check_only(check_batch(with(x, [](int64_t, float v) { return 2 * v; }), t, c), Level::error, "outside 0 to 1",
             "--input.hu_low -1000");
  check_only(check_batch(Tensor::zeros(x.shape()), t, c), Level::error,
             "8 of the first 8 patches have a single value, black", "--input.hu_high 400");
  check_only(check_batch(x, with(t, [](int64_t, float v) { return 255 * v; }), c), Level::error, "neither 0 nor 1", "");
  check_only(check_batch(x, Tensor::zeros(t.shape()), c), Level::error, "none of the first 8 patches", "--data");
  check_only(check_batch(x, Tensor::full(t.shape(), 1), c), Level::error, "all pixels", "--data");
  c.sampling.foreground = 0;
  CHECK(all_of(check_batch(x, Tensor::zeros(t.shape()), c)) == "");
}

TEST_CASE("doctor: what a network puts out") {
  const Scan scan = clean().scans[0];
  double lungs = 0;
  for (const SliceCount& slice : scan.slices) lungs += double(slice.lungs);
  lungs /= double(scan.image.grid.voxels());
  Config c;
  // Outside the lungs all is 0, and that is no fault.
  CHECK(all_of(check_outputs(outputs(scan, 1e-3, 0.01, 1 - lungs, 1e-5, 0.99, 0.6), c)) == "");
  CHECK(all_of(check_outputs(outputs(scan, 1e-3, 0.01, 0.995, 1e-5, 0.99, 0.05), c)) == "");
  check_only(check_outputs(outputs(scan, 0, NAN, 0, 1, 0, 0), c), Level::error, "NaN", "--train.clip");
  check_only(check_outputs(outputs(scan, 0, 0.2 * lungs, 1 - lungs, 0.2, 0.2, 0), c), Level::error,
             "the same everywhere, 0.2", "window");
  check_only(check_outputs(outputs(scan, 0, 0.01, 1 - lungs, 1e-4, 0.3, 0), c), Level::warning, "background everywhere",
             "--train.foreground");
  check_only(check_outputs(outputs(scan, 0.9 * lungs, 0.1, 1 - lungs, 0.1, 0.9, 0.01), c), Level::warning,
             "of the lungs", "--train.lr");
  const Outputs saturated = outputs(scan, 1e-3, 0.001, 1, 0, 1, 0.01);
  check_only(check_outputs(saturated, c), Level::warning, "saturated", "now 0.01");
  c.train.loss = LossKind::dice;
  check_only(check_outputs(saturated, c), Level::warning, "saturated", "dice+bce");
}

TEST_CASE("doctor: the numbers of a run") {
  Config c;
  c.train.epochs = 6;
  CHECK(all_of(check_rows(epochs({1, .8, .6, .5, .4, .35}, {.1, .3, .5, .62, .60, .61}), c)) == "");
  CHECK(all_of(check_rows({}, c)) == "");
  check_only(check_rows(epochs({1, .8, NAN}, {.1, .2, .2}), c), Level::error, "the loss of epoch 3 is nan",
             "--train.lr");
  check_only(check_rows(epochs({1, 1.1, 1.2}, {.1, .2, .2}), c), Level::error,
             "has not fallen: 1 in the first epoch, 1.2", "lower");
  check_only(check_rows(epochs({1, .9, .8}, {0, 0, 0}), c), Level::error, "Dice is 0 after each of 3 epochs", "--data");
  check_only(check_rows(epochs({1, .9, .8}, {0, 0.0005, 0}), c), Level::error, "Dice is below 0.01 after each of 3",
             "--data");
  CHECK(all_of(check_rows(epochs({1, .9}, {0, 0}), c)) == "");  // it may still come, unless these were all epochs
  c.train.epochs = 2;
  check_only(check_rows(epochs({1, .9}, {0, 0}), c), Level::error, "Dice is 0 after each of 2 epochs", "--data");
  c.train.epochs = 6;
  c.train.loss = LossKind::dice;
  check_only(check_rows(epochs({1, .9, .8}, {0, 0, 0}), c), Level::error, "Dice is 0 after each of 3 epochs",
             "dice+bce");
  check_only(check_rows(epochs({1, .9, .8}, {.1, .2, .2}, 0.2), c), Level::warning, "waited for batches in 20 %",
             "--train.loaders 2");
  std::vector<EpochRow> still = epochs({1, .9, .8}, {.1, .2, .2});
  for (EpochRow& row : still) row.lr = 0;
  check_only(check_rows(still, c), Level::error, "learning rate was 0", "--train.lr");
  check_only(check_rows(epochs({1, .8, .6, .5, .4, .35}, {.1, .3, .4, .5, .55, .6}), c), Level::note, "the last one, 6",
             "--train.epochs 12");
  check_only(check_rows(epochs({1, .8, .6, .5, .4, .3, .2, .1}, {.1, .5, .4, .4, .3, .3, .3, .3}), c), Level::note,
             "overfitting: since epoch 2", "best.safetensors");
}

TEST_CASE("doctor: the folder of a run") {
  const Scratch folder;
  Config c;
  const std::string run = folder.path.string();
  check_only(read_config(run, c), Level::error, "holds no config.json", "runs/laptop");
  put(folder / "config.json", R"({"train": {"epochs": 3, "colour": 1}})");
  check_only(read_config(run, c), Level::error, "train.colour", "--help");
  put(folder / "config.json", R"({"train": {"epochs": 3}})");
  CHECK(all_of(read_config(run, c)) == "");
  CHECK(c.train.epochs == 3);
  check_only(check_run(run, c), Level::warning, "ended before it first saved", "killed");
  put(folder / "metrics.csv", to_csv(epochs({1, .8}, {.1, .3})));
  write_safetensors(folder / "last.safetensors", {{"head.bias", Tensor::from({2}, {0, 1})}});
  write_safetensors(folder / "best.safetensors", {{"head.bias", Tensor::from({2}, {0, 1})}});
  CHECK(all_of(check_run(run, c), Level::warning) == "");
  CHECK(holds(all_of(check_run(run, c)), "after epoch 2 of 3 -> to continue: ./train --resume " + run));
  write_safetensors(folder / "last.safetensors", {{"head.bias", Tensor::from({2}, {NAN, 1})}});
  check_only(check_run(run, c), Level::error, "last.safetensors: head.bias holds values that are not finite",
             "best.safetensors");
}

TEST_CASE("doctor: predictions") {
  const Scratch folder;
  const Phantom& phantom = chests()[2];  // stored with x and y reversed
  const std::string scan = folder / "chest2.mhd", mask = folder / "mask.mhd", list = folder / "annotations.csv";
  write_volume(scan, phantom.ct);
  write_annotations(list, annotations_of(2));
  const Volume<uint8_t> truth = sphere_mask(phantom.ct.grid, annotations_of(2));
  const auto examine = [&](const auto& volume, bool with_list = true) {
    write_volume(mask, volume);
    return check_prediction(mask, scan, with_list ? list : "");
  };
  const auto changed = [&](auto change) {
    Volume<uint8_t> volume = truth;
    change(volume);
    return examine(volume);
  };
  const size_t nodules = phantom.nodules.size();
  CHECK(all_of(examine(truth), Level::warning) == "");
  CHECK(holds(all_of(examine(truth)), text(nodules, " of ", nodules, " annotated nodules")));
  check_only(changed([](auto& v) { v.grid.direction = Grid().direction; }), Level::error,
             "direction RAI, the scan's LPI", "CopyInformation");
  check_only(changed([](auto& v) { v.grid.origin[0] *= -1, v.grid.origin[1] *= -1; }), Level::error, "origin (", "RAS");
  check_only(changed([](auto& v) { v.grid.spacing[2] = 1; }), Level::error, "spacing (3, 3, 1)", "header");
  check_only(examine(Volume<uint8_t>(Grid{{96, 110, 40}})), Level::error, "96x110x40 voxels, the scan 110x96x40",
             "resample");
  check_only(examine(Volume<uint8_t>(Grid{{40, 96, 110}})), Level::error, "40x96x110", "z,y,x");
  check_only(changed([](auto& v) {
               for (uint8_t& x : v.voxels) x *= 255;
             }),
             Level::warning, "0 and 255", "255");
  check_only(changed([](auto& v) { std::fill(v.voxels.begin(), v.voxels.end(), uint8_t(0)); }), Level::error, "empty",
             "--threshold");
  check_only(examine(Volume<uint8_t>(truth.grid), false), Level::warning, "empty", "--threshold");
  const std::string inverted = all_of(changed([](auto& v) {
    for (uint8_t& x : v.voxels) x = !x;
  }));
  CHECK((holds(inverted, "of the voxels are in the mask") && holds(inverted, "inverted") &&
         holds(inverted, "outside the lungs")));
  const std::string flipped = all_of(changed([](auto& v) { std::reverse(v.voxels.begin(), v.voxels.end()); }));
  CHECK(!holds(flipped, text(nodules, " of ", nodules)));
  const std::string turned = all_of(changed([](auto& v) {
    for (int64_t z = 0; z < v.grid.size[2]; z++) std::reverse(v.slice(z), v.slice(z) + v.grid.size[0] * v.grid.size[1]);
  }));
  CHECK(holds(turned, text("0 of ", nodules, " annotated nodules contain voxels of the mask; ")));
  CHECK(holds(turned, text(", ", nodules, " do")));
  check_only(check_prediction(scan, scan, list), Level::error, "are not those of a mask", "is this the scan");
  Volume<float> probability(truth.grid);
  for (size_t i = 0; i < truth.voxels.size(); i++) probability.voxels[i] = truth.voxels[i] ? 0.9f : 0.1f;
  check_only(examine(probability), Level::error, "map of probabilities (0.1 to 0.9)", "0.5");
  probability.voxels[5] = NAN;
  CHECK(holds(all_of(examine(probability)), "not finite (NaN): 1 of"));
}

TEST_CASE("statistics: what is counted is what is there") {
  Volume<int16_t> ct(Grid{{10, 8, 4}, {2, 2, 5}, {0, 0, 0}, Grid().direction}, -900);
  Volume<uint8_t> labels(ct.grid, kLungs);
  std::fill_n(labels.slice(0), 80, uint8_t(0));  // no lungs in the first slice
  std::fill_n(ct.slice(0), 80, int16_t(50));
  for (int64_t x = 2; x < 7; x++) labels.at(x, 3, 2) = kLungs | 1, ct.at(x, 3, 2) = int16_t(10 * x);
  Dataset data;
  data.scans.push_back(make_scan("a", ct, labels, {{"a", {0, 0, 0}, 5}, {"a", {2, 2, 5}, 12}}));
  Volume<int16_t> other = ct;
  other.grid.direction = {{{-1, 0, 0}, {0, -1, 0}, {0, 0, 1}}}, other.grid.spacing = {1, 1, 5};
  Volume<uint8_t> none(other.grid, 0);
  data.scans.push_back(make_scan("b", other, none, {{"b", {0, 0, 0}, 31}}));
  data.scans[1].patient = "a";
  const DatasetStatistics statistics = dataset_statistics(data);
  using json = nlohmann::ordered_json;
  const json f = json::parse(statistics.json), &densities = f["hu_percentiles"];
  CHECK((f["patients"] == 1 && f["scans"] == 2 && f["slices"] == 8 && f["voxels"] == 640));
  CHECK(f["orientations"] == json{{"LPI", 1}, {"RAI", 1}});
  CHECK((f["spacing_mm"]["x"]["min"] == 1 && f["spacing_mm"]["x"]["max"] == 2 && f["spacing_mm"]["z"]["median"] == 5 &&
         f["size_voxels"]["y"]["median"] == 8));
  CHECK((f.contains("lungs_ml") && f["scans_without_lungs"] == 1));
  CHECK(f["lungs_ml"]["median"].get<double>() == Approx(240 * 20 / 1000.));  // voxels of 20 mm3
  CHECK((f["foreground_voxels"] == 5 && f["foreground_slices"] == 1 && f["foreground_scans"] == 1));
  CHECK(f["class_ml"] == std::vector<double>{0.1});
  CHECK((densities["foreground"]["50"] == 40 && densities["foreground"]["0.5"] == 20 &&
         densities["foreground"]["99.5"] == 60));
  CHECK((densities["lungs"]["95"] == -900 && densities["everywhere"]["95"] == 50));
  CHECK((f["nodules"] == 3 && f["nodules_a_scan"]["min"] == 1 && f["nodules_a_scan"]["max"] == 2));
  CHECK(
      (f["diameter_mm_percentiles"]["50"] == 12 &&
       f["nodules_by_diameter_mm"] ==
           json{{"<4", 0}, {"4-6", 1}, {"6-8", 0}, {"8-10", 0}, {"10-15", 1}, {"15-20", 0}, {"20-30", 0}, {">30", 1}}));
  CHECK(f["identity"] == identity(data));
  const std::string table = to_text(statistics);
  CHECK((holds(table, "1 to 2 (median") && holds(table, " mm") && holds(table, " HU") && holds(table, " ml")));
  CHECK((holds(statistics.json, "\"spacing_mm\"") && holds(statistics.json, "\"hu_percentiles\"") &&
         holds(statistics.json, "\">30\": 1")));
  const Threads one(1);
  CHECK(dataset_statistics(data).json == statistics.json);
}
