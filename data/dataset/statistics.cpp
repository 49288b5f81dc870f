#include "data/dataset/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>
#include <numeric>
#include <set>

#include "tensor/check.h"
#include "tensor/io/json.h"
#include "tensor/text.h"

namespace acinus {

namespace {

constexpr int64_t kSampledSlices = 256, kPixelsPerSlice = 4000;  // whose density is measured
constexpr double kDiameterEdges[] = {4, 6, 8, 10, 15, 20, 30};   // mm, between the bins of the histogram

// The values at these ranks, 0 (the smallest) to 1 (the largest); empty if there are no values.
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

// ---- densities ------------------------------------------------------------------------------------------------------

struct SliceOf {
  const Scan* scan;
  int64_t z;
};

// Values of sampled pixels, and how many pixels each class has.
struct Densities {
  std::vector<double> everywhere, in_lungs, in_foreground;
  std::vector<int64_t> class_pixels;
};

// At most kSampledSlices of the slices, evenly spread.
std::vector<SliceOf> evenly_chosen(const std::vector<SliceOf>& all) {
  std::vector<SliceOf> chosen;
  const auto count = int64_t(all.size()), n = std::min(kSampledSlices, count);
  for (int64_t i = 0; i < n; i++) chosen.push_back(all[(2 * i + 1) * count / (2 * n)]);
  return chosen;
}

Densities sample_densities(const std::vector<SliceOf>& slices, const std::vector<SliceOf>& with_foreground,
                           int64_t classes) {
  Densities out;
  out.class_pixels.resize(classes);
  for (const auto& [scan, z] : evenly_chosen(slices)) {
    const int64_t first = scan->image.grid.offset(0, 0, z), end = scan->image.grid.offset(0, 0, z + 1);
    // An odd step does not keep to the same columns of an image whose width is a power of two.
    const int64_t step = std::max<int64_t>(1, (end - first) / kPixelsPerSlice) | 1;
    for (int64_t i = first; i < end; i += step) {
      out.everywhere.push_back(scan->image.value(i));
      if (scan->is_in_lungs(i)) out.in_lungs.push_back(out.everywhere.back());
    }
  }
  for (const auto& [scan, z] : evenly_chosen(with_foreground)) {
    const int64_t first = scan->image.grid.offset(0, 0, z), end = scan->image.grid.offset(0, 0, z + 1);
    const int64_t step = std::max<int64_t>(1, scan->slices[z].foreground / kPixelsPerSlice);
    int64_t seen = 0;
    for (int64_t i = first; i < end; i++) {
      const int64_t c = scan->labels[i] & kClass;
      if (c == 0 || c > classes) continue;
      out.class_pixels[c - 1]++;
      if (seen++ % step == 0) out.in_foreground.push_back(scan->image.value(i));
    }
  }
  return out;
}

// ---- for programs ---------------------------------------------------------------------------------------------------

Json summary(const std::vector<double>& values) {
  const Summary s = summary_of(values);
  return {{"min", s.min}, {"median", s.median}, {"max", s.max}};
}

Json axes(const std::array<std::vector<double>, 3>& values) {
  return {{"x", summary(values[0])}, {"y", summary(values[1])}, {"z", summary(values[2])}};
}

Json by_rank(std::vector<double> values, const std::vector<double>& ranks) {
  Json out = Json::Object();
  const std::vector<double> found = percentiles(std::move(values), ranks);
  for (size_t i = 0; i < found.size(); i++) out[number(100 * ranks[i], 4)] = found[i];
  return out;
}

Json histogram(const std::vector<double>& diameters) {
  constexpr size_t n = std::size(kDiameterEdges);
  int64_t counts[n + 1] = {};
  for (double d : diameters) counts[std::ranges::upper_bound(kDiameterEdges, d) - kDiameterEdges]++;
  Json out{{text("<", kDiameterEdges[0]), counts[0]}};
  for (size_t i = 1; i < n; i++) out[text(kDiameterEdges[i - 1], "-", kDiameterEdges[i])] = counts[i];
  out[text(">", kDiameterEdges[n - 1])] = counts[n];
  return out;
}

void add_grids(const Dataset& dataset, Json& out) {
  std::set<std::string> patients;
  std::map<std::string, int64_t> orientations;
  std::array<std::vector<double>, 3> size, spacing;
  int64_t slices = 0, voxels = 0;
  for (const Scan& scan : dataset.scans) {
    const Grid& grid = scan.image.grid;
    patients.insert(scan.patient);
    orientations[orientation(grid)]++;
    slices += grid.size[2];
    voxels += grid.voxels();
    for (int i = 0; i < 3; i++) size[i].push_back(double(grid.size[i])), spacing[i].push_back(grid.spacing[i]);
  }
  out["patients"] = patients.size();
  out["scans"] = dataset.scans.size();
  out["slices"] = slices;
  out["voxels"] = voxels;
  out["channels"] = dataset.scans[0].image.channels;
  out["size_voxels"] = axes(size);
  out["spacing_mm"] = axes(spacing);
  out["orientations"] = orientations;
}

void add_labels(const Dataset& dataset, Json& out) {
  std::vector<SliceOf> slices, with_foreground;
  std::vector<double> lungs_ml;
  int64_t foreground = 0, foreground_scans = 0, without_lungs = 0;
  double foreground_ml = 0;
  bool lungs_known = false;  // they were segmented
  for (const Scan& scan : dataset.scans) {
    const Grid& grid = scan.image.grid;
    const double voxel_ml = grid.spacing[0] * grid.spacing[1] * grid.spacing[2] / 1000;
    int64_t lungs = 0;
    for (int64_t z = 0; z < grid.size[2]; z++) {
      lungs += scan.slices[z].lungs;
      slices.push_back({&scan, z});
      if (scan.slices[z].foreground > 0) with_foreground.push_back({&scan, z});
    }
    lungs_known = lungs_known || lungs != grid.voxels();  // otherwise every voxel counts as lung
    without_lungs += lungs == 0;
    if (lungs > 0) lungs_ml.push_back(double(lungs) * voxel_ml);
    foreground += scan.foreground;
    foreground_scans += scan.foreground > 0;
    foreground_ml += double(scan.foreground) * voxel_ml;
  }

  Densities densities = sample_densities(slices, with_foreground, dataset.classes);
  if (!lungs_known) densities.in_lungs.clear();
  const std::vector<double> ranks{0.005, 0.05, 0.5, 0.95, 0.995};
  out[dataset.is_ct() ? "hu_percentiles" : "value_percentiles"] = {
      {"everywhere", by_rank(std::move(densities.everywhere), ranks)},
      {"lungs", by_rank(std::move(densities.in_lungs), ranks)},
      {"foreground", by_rank(std::move(densities.in_foreground), ranks)}};
  out["foreground_voxels"] = foreground;
  out["foreground_slices"] = with_foreground.size();
  out["foreground_scans"] = foreground_scans;
  const double all = std::accumulate(densities.class_pixels.begin(), densities.class_pixels.end(), 0.);
  std::vector<double> fractions, ml;  // of classes 1, 2, ...
  for (int64_t pixels : densities.class_pixels) {
    fractions.push_back(all > 0 ? double(pixels) / all : 0);
    ml.push_back(fractions.back() * foreground_ml);
  }
  out["class_share_of_foreground"] = fractions;
  out["class_ml"] = ml;
  if (lungs_known) out["lungs_ml"] = summary(lungs_ml), out["scans_without_lungs"] = without_lungs;
}

void add_nodules(const Dataset& dataset, Json& out) {
  std::vector<double> nodules, diameters;
  for (const Scan& scan : dataset.scans) {
    nodules.push_back(double(scan.nodules.size()));
    for (const Annotation& nodule : scan.nodules)
      if (nodule.diameter_mm > 0) diameters.push_back(nodule.diameter_mm);
  }
  out["nodules"] = int64_t(std::accumulate(nodules.begin(), nodules.end(), 0.));
  out["nodules_a_scan"] = summary(nodules);
  out["diameter_mm_percentiles"] = by_rank(diameters, {0.05, 0.5, 0.95});
  out["nodules_by_diameter_mm"] = histogram(diameters);
}

// ---- for people -----------------------------------------------------------------------------------------------------

std::string in_words(const Json& summary) {
  const auto value = [&](const char* which) { return number(summary.at(which).as<double>(), 4); };
  if (summary.at("min").as<double>() == summary.at("max").as<double>()) return value("median");
  return text(value("min"), " to ", value("max"), " (median ", value("median"), ")");
}

// "x 512, y 512, z 100 to 300 (median 133)", "5 % -950, 50 % -800"
std::string listed(const Json& numbers, const char* separator) {
  std::string out;
  for (const auto& [name, value] : *numbers.get<Json::Object>())
    out += text(out.empty() ? "" : ", ", name, separator,
                value.get<Json::Object>() ? in_words(value) : number(value.as<double>(), 4));
  return out;
}

std::vector<std::pair<std::string, std::string>> rows_of(const Json& s, DataKind kind) {
  std::vector<std::pair<std::string, std::string>> out;
  const bool ct = kind == DataKind::ct;
  const auto count = [&](const char* name) { return s.at(name).as<int64_t>(); };
  out.emplace_back("data", s.at("identity").as<std::string>());
  out.emplace_back("patients", text(counted(count("patients"), "patient"), ", ", counted(count("scans"), noun_of(kind)),
                                    ", ", counted(count("slices"), "slice")));
  out.emplace_back("size", listed(s.at("size_voxels"), " ") + " voxels");
  out.emplace_back("spacing", listed(s.at("spacing_mm"), " ") + " mm");
  std::string codes;
  for (const auto& [code, n] : s.at("orientations").as<std::map<std::string, int64_t>>())
    codes += text(codes.empty() ? "" : ", ", n, " ", code);
  out.emplace_back("orientation", codes);
  if (count("channels") > 1) out.emplace_back("channels", text(count("channels")));
  const Json& densities = s.at(ct ? "hu_percentiles" : "value_percentiles");
  for (const auto& [where, values] : *densities.get<Json::Object>())
    if (where == "everywhere" || !values.get<Json::Object>()->empty())
      out.emplace_back(text(ct ? "density" : "values", where == "everywhere" ? "" : ", " + where),
                       listed(values, " % ") + (ct ? " HU" : ""));
  if (s.find("lungs_ml")) {
    const int64_t without = count("scans_without_lungs");
    out.emplace_back("lungs", text(in_words(s.at("lungs_ml")), " ml",
                                   without ? text("; none found in ", counted(without, "scan")) : ""));
  }
  const auto share = [&](const char* part, const char* whole) {
    return percent(double(count(part)) / double(count(whole)), 4);
  };
  out.emplace_back(
      "foreground",
      text(share("foreground_voxels", "voxels"), " of the voxels; in ", counted(count("foreground_slices"), "slice"),
           " (", share("foreground_slices", "slices"), "), ", counted(count("foreground_scans"), noun_of(kind))));
  const auto fractions = s.at("class_share_of_foreground").as<std::vector<double>>();
  const auto ml = s.at("class_ml").as<std::vector<double>>();
  for (size_t c = 0; fractions.size() > 1 && c < fractions.size(); c++)
    out.emplace_back(text("class ", c + 1),
                     text(percent(fractions[c], 4), " of the foreground, ", number(ml[c], 4), " ml in all"));
  if (!ct) return out;
  out.emplace_back("nodules", text(count("nodules"), "; ", in_words(s.at("nodules_a_scan")), " a scan"));
  if (const Json& diameters = s.at("diameter_mm_percentiles"); !diameters.get<Json::Object>()->empty()) {
    out.emplace_back("diameters", listed(diameters, " % ") + " mm");
    out.emplace_back("nodules by mm", listed(s.at("nodules_by_diameter_mm"), ": "));
  }
  return out;
}

}  // namespace

Summary summary_of(std::vector<double> values) {
  if (values.empty()) return {};
  const std::vector<double> p = percentiles(std::move(values), {0, 0.5, 1});
  return {p[0], p[1], p[2]};
}

DatasetStatistics dataset_statistics(const Dataset& dataset) {
  check(!dataset.scans.empty(), "dataset_statistics: the data set holds no scan");
  Json numbers{{"identity", identity(dataset)}, {"pairs", !dataset.is_ct()}};
  add_grids(dataset, numbers);
  add_labels(dataset, numbers);
  if (dataset.is_ct()) add_nodules(dataset, numbers);
  return {rows_of(numbers, dataset.kind), to_text(numbers, 2) + "\n"};
}

std::string to_text(const DatasetStatistics& statistics) {
  std::string out;
  for (const auto& [what, value] : statistics.rows)
    out += text("  ", what, std::string(std::max<size_t>(20, what.size() + 2) - what.size(), ' '), value, "\n");
  return out;
}

}  // namespace acinus
