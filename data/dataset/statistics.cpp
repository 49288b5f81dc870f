#include "data/dataset/statistics.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "tensor/check.h"
#include "tensor/parallel.h"
#include "tensor/text.h"

namespace acinus {

namespace {

constexpr int64_t kPixelsPerSlice = 4000;  // whose density is measured

struct SliceOf {
  const Scan* scan;
  int64_t z;
};

// Values of sampled pixels, and how many pixels each class has.
struct Densities {
  std::vector<double> everywhere, in_lungs, in_foreground;
  std::vector<int64_t> class_pixels;
};

// At most n of the slices, evenly spread.
std::vector<SliceOf> evenly_chosen(const std::vector<SliceOf>& all, int64_t n) {
  std::vector<SliceOf> chosen;
  const auto count = int64_t(all.size());
  n = std::min(n, count);
  for (int64_t i = 0; i < n; i++) chosen.push_back(all[(2 * i + 1) * count / (2 * n)]);
  return chosen;
}

void sample_everywhere(const SliceOf& slice, Densities& out) {
  const ScanView& image = slice.scan->image;
  const int64_t width = image.grid.size[0], pixels = width * image.grid.size[1];
  const uint8_t* labels = slice.scan->labels_of(slice.z);
  // An odd step does not keep to the same columns of an image whose width is a power of two.
  const int64_t step = std::max<int64_t>(1, pixels / kPixelsPerSlice) | 1;
  for (int64_t i = 0; i < pixels; i += step) {
    out.everywhere.push_back(image.at(i % width, i / width, slice.z));
    if (labels[i] & kLungs) out.in_lungs.push_back(out.everywhere.back());
  }
}

void sample_foreground(const SliceOf& slice, int64_t classes, Densities& out) {
  const ScanView& image = slice.scan->image;
  const int64_t width = image.grid.size[0], pixels = width * image.grid.size[1];
  const uint8_t* labels = slice.scan->labels_of(slice.z);
  const int64_t step = std::max<int64_t>(1, slice.scan->slices[slice.z].foreground / kPixelsPerSlice);
  int64_t seen = 0;
  out.class_pixels.assign(classes, 0);
  for (int64_t i = 0; i < pixels; i++) {
    const int64_t c = labels[i] & kClass;
    if (c == 0 || c > classes) continue;
    out.class_pixels[c - 1]++;
    if (seen++ % step == 0) out.in_foreground.push_back(image.at(i % width, i / width, slice.z));
  }
}

void append(std::vector<double>& to, const std::vector<double>& from) { to.insert(to.end(), from.begin(), from.end()); }

// Of some of all slices, and of as many with foreground.
Densities sample_densities(const std::vector<SliceOf>& slices, const std::vector<SliceOf>& with_foreground,
                           int64_t classes) {
  const std::vector<SliceOf> anywhere = evenly_chosen(slices, kSampledSlices),
                             foreground = evenly_chosen(with_foreground, kSampledSlices);
  const auto n = int64_t(anywhere.size());
  std::vector<Densities> parts(anywhere.size() + foreground.size());
  parallel(int64_t(parts.size()), /*pays=*/true, [&](int64_t i) {
    if (i < n)
      sample_everywhere(anywhere[i], parts[i]);
    else
      sample_foreground(foreground[i - n], classes, parts[i]);
  });
  Densities sum;
  sum.class_pixels.assign(classes, 0);
  for (const Densities& part : parts) {
    append(sum.everywhere, part.everywhere), append(sum.in_lungs, part.in_lungs);
    append(sum.in_foreground, part.in_foreground);
    for (size_t c = 0; c < part.class_pixels.size(); c++) sum.class_pixels[c] += part.class_pixels[c];
  }
  return sum;
}

std::string in_words(const Summary& s) {
  if (s.min == s.max) return number(s.median, 4);
  return text(number(s.min, 4), " to ", number(s.max, 4), " (median ", number(s.median, 4), ")");
}

std::string in_words(const std::array<Summary, 3>& axes, const char* unit) {
  return text("x ", in_words(axes[0]), ", y ", in_words(axes[1]), ", z ", in_words(axes[2]), " ", unit);
}

std::string in_words(const std::vector<double>& values, const double* ranks, const char* unit) {
  std::string out;
  for (size_t i = 0; i < values.size(); i++)
    out += text(i ? ", " : "", number(100 * ranks[i], 4), " % ", number(values[i], 4));
  return text(out, *unit ? " " : "", unit);
}

std::string bin_name(size_t i) {
  constexpr size_t n = std::size(kDiameterEdges);
  if (i == 0) return text("<", kDiameterEdges[0]);
  return i == n ? text(">", kDiameterEdges[n - 1]) : text(kDiameterEdges[i - 1], "-", kDiameterEdges[i]);
}

}  // namespace

Summary summary_of(std::vector<double> values) {
  if (values.empty()) return {};
  const std::vector<double> p = percentiles(std::move(values), {0, 0.5, 1});
  return {p[0], p[1], p[2]};
}

std::vector<double> percentiles(std::vector<double> values, const std::vector<double>& ranks) {
  std::vector<double> result;
  if (values.empty()) return result;
  for (double rank : ranks) {
    const auto nth = values.begin() + std::llround(rank * double(values.size() - 1));
    std::nth_element(values.begin(), nth, values.end());
    result.push_back(*nth);
  }
  return result;
}

DatasetStatistics dataset_statistics(const Dataset& dataset) {
  check(!dataset.scans.empty(), "dataset_statistics: the data set holds no scan");
  DatasetStatistics s;
  s.identity = identity(dataset);
  s.kind = dataset.kind;
  s.scans = int64_t(dataset.scans.size());
  s.channels = dataset.scans[0].image.channels;
  std::set<std::string> patients;
  std::array<std::vector<double>, 3> size, spacing;
  std::vector<double> lungs_ml, diameters, nodules;
  std::vector<SliceOf> slices, with_foreground;
  double foreground_ml = 0;
  for (const Scan& scan : dataset.scans) {
    const Grid& grid = scan.image.grid;
    const double voxel_ml = grid.spacing[0] * grid.spacing[1] * grid.spacing[2] / 1000;
    patients.insert(scan.patient);
    s.orientations[orientation(grid)]++;
    s.slices += grid.size[2];
    s.voxels += grid.voxels();
    for (int i = 0; i < 3; i++) size[i].push_back(double(grid.size[i])), spacing[i].push_back(grid.spacing[i]);
    int64_t lungs = 0;
    for (int64_t z = 0; z < grid.size[2]; z++) {
      lungs += scan.slices[z].lungs;
      slices.push_back({&scan, z});
      if (scan.slices[z].foreground > 0) with_foreground.push_back({&scan, z});
    }
    s.lungs_known = s.lungs_known || lungs != grid.voxels();  // otherwise every voxel counts as lung
    s.without_lungs += lungs == 0;
    if (lungs > 0) lungs_ml.push_back(double(lungs) * voxel_ml);
    s.foreground += scan.foreground;
    s.foreground_scans += scan.foreground > 0;
    foreground_ml += double(scan.foreground) * voxel_ml;
    s.nodules += int64_t(scan.nodules.size());
    nodules.push_back(double(scan.nodules.size()));
    for (const Annotation& nodule : scan.nodules)
      if (nodule.diameter_mm > 0) diameters.push_back(nodule.diameter_mm);
  }
  s.patients = int64_t(patients.size());
  for (int i = 0; i < 3; i++) s.size[i] = summary_of(size[i]), s.spacing[i] = summary_of(spacing[i]);
  if (s.lungs_known) s.lungs_ml = summary_of(lungs_ml);
  s.foreground_slices = int64_t(with_foreground.size());
  s.nodules_per_scan = summary_of(nodules);
  for (double d : diameters) s.histogram[std::ranges::upper_bound(kDiameterEdges, d) - kDiameterEdges]++;
  s.diameters = percentiles(diameters, {std::begin(kDiameterRanks), std::end(kDiameterRanks)});

  Densities densities = sample_densities(slices, with_foreground, dataset.classes);
  const std::vector<double> ranks(std::begin(kDensityRanks), std::end(kDensityRanks));
  s.everywhere = percentiles(std::move(densities.everywhere), ranks);
  if (s.lungs_known) s.in_lungs = percentiles(std::move(densities.in_lungs), ranks);
  s.in_foreground = percentiles(std::move(densities.in_foreground), ranks);
  double all = 0;
  for (int64_t pixels : densities.class_pixels) all += double(pixels);
  for (int64_t pixels : densities.class_pixels) {
    s.class_fractions.push_back(all > 0 ? double(pixels) / all : 0);
    s.class_ml.push_back(s.class_fractions.back() * foreground_ml);
  }
  return s;
}

std::vector<std::pair<std::string, std::string>> rows(const DatasetStatistics& s) {
  std::vector<std::pair<std::string, std::string>> out;
  const bool ct = s.kind == DataKind::ct;
  const char* const unit = ct ? "HU" : "";
  out.emplace_back("data", s.identity);
  out.emplace_back("patients", text(counted(s.patients, "patient"), ", ", counted(s.scans, noun_of(s.kind)), ", ",
                                    counted(s.slices, "slice")));
  out.emplace_back("size", in_words(s.size, "voxels"));
  out.emplace_back("spacing", in_words(s.spacing, "mm"));
  std::string codes;
  for (const auto& [code, n] : s.orientations) codes += text(codes.empty() ? "" : ", ", n, " ", code);
  out.emplace_back("orientation", codes);
  if (s.channels > 1) out.emplace_back("channels", text(s.channels));
  const char* const of = ct ? "density" : "values";
  out.emplace_back(of, in_words(s.everywhere, kDensityRanks, unit));
  if (!s.in_lungs.empty()) out.emplace_back(text(of, ", lungs"), in_words(s.in_lungs, kDensityRanks, unit));
  if (!s.in_foreground.empty())
    out.emplace_back(text(of, ", foreground"), in_words(s.in_foreground, kDensityRanks, unit));
  if (s.lungs_known)
    out.emplace_back("lungs", text(in_words(s.lungs_ml), " ml",
                                   s.without_lungs ? text("; none found in ", counted(s.without_lungs, "scan")) : ""));
  out.emplace_back("foreground", text(percent(double(s.foreground) / double(s.voxels), 4), " of the voxels; in ",
                                      counted(s.foreground_slices, "slice"), " (",
                                      percent(double(s.foreground_slices) / double(s.slices), 4), "), ",
                                      counted(s.foreground_scans, noun_of(s.kind))));
  for (size_t c = 0; s.class_fractions.size() > 1 && c < s.class_fractions.size(); c++)
    out.emplace_back(text("class ", c + 1), text(percent(s.class_fractions[c], 4), " of the foreground, ",
                                                 number(s.class_ml[c], 4), " ml in all"));
  if (ct) out.emplace_back("nodules", text(s.nodules, "; ", in_words(s.nodules_per_scan), " a scan"));
  if (!s.diameters.empty()) {
    out.emplace_back("diameters", in_words(s.diameters, kDiameterRanks, "mm"));
    std::string bins;
    for (size_t i = 0; i < s.histogram.size(); i++) bins += text(i ? ", " : "", bin_name(i), ": ", s.histogram[i]);
    out.emplace_back("nodules by mm", bins);
  }
  return out;
}

std::string to_text(const DatasetStatistics& statistics) {
  std::string out;
  for (const auto& [what, value] : rows(statistics))
    out += text("  ", what, std::string(std::max<size_t>(20, what.size() + 2) - what.size(), ' '), value, "\n");
  return out;
}

std::string to_json(const DatasetStatistics& s) {
  using json = nlohmann::ordered_json;
  const auto summary = [](const Summary& s) { return json{{"min", s.min}, {"median", s.median}, {"max", s.max}}; };
  const auto axes = [&](const std::array<Summary, 3>& a) {
    return json{{"x", summary(a[0])}, {"y", summary(a[1])}, {"z", summary(a[2])}};
  };
  const auto by_rank = [](const std::vector<double>& values, const double* ranks) {
    json out = json::object();
    for (size_t i = 0; i < values.size(); i++) out[number(100 * ranks[i], 4)] = values[i];
    return out;
  };
  const bool ct = s.kind == DataKind::ct;
  json histogram = json::object();
  for (size_t i = 0; i < s.histogram.size(); i++) histogram[bin_name(i)] = s.histogram[i];
  json out{{"identity", s.identity},
           {"pairs", !ct},
           {"patients", s.patients},
           {"scans", s.scans},
           {"slices", s.slices},
           {"voxels", s.voxels},
           {"channels", s.channels},
           {"size_voxels", axes(s.size)},
           {"spacing_mm", axes(s.spacing)},
           {"orientations", s.orientations},
           {ct ? "hu_percentiles" : "value_percentiles",
            {{"everywhere", by_rank(s.everywhere, kDensityRanks)},
             {"lungs", by_rank(s.in_lungs, kDensityRanks)},
             {"foreground", by_rank(s.in_foreground, kDensityRanks)}}},
           {"foreground_voxels", s.foreground},
           {"foreground_slices", s.foreground_slices},
           {"foreground_scans", s.foreground_scans},
           {"class_share_of_foreground", s.class_fractions},
           {"class_ml", s.class_ml}};
  if (s.lungs_known) out["lungs_ml"] = summary(s.lungs_ml), out["scans_without_lungs"] = s.without_lungs;
  if (ct) {
    out["nodules"] = s.nodules;
    out["nodules_a_scan"] = summary(s.nodules_per_scan);
    out["diameter_mm_percentiles"] = by_rank(s.diameters, kDiameterRanks);
    out["nodules_by_diameter_mm"] = histogram;
  }
  return out.dump(2) + "\n";
}

}  // namespace acinus
