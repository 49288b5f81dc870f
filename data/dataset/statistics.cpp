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

constexpr int64_t kPixelsASlice = 4000;  // that give their density

struct SliceOf {
  const Scan* scan;
  int64_t z;
};

// What one slice adds.
struct Looked {
  std::vector<double> everywhere, in_lungs, in_foreground;
  std::vector<int64_t> classes;  // pixels
};

// At most n of the slices, evenly spread over all.
std::vector<SliceOf> some_of(const std::vector<SliceOf>& all, int64_t n) {
  std::vector<SliceOf> chosen;
  const auto count = int64_t(all.size());
  for (int64_t i = 0; i < std::min(n, count); i++)
    chosen.push_back(all[size_t((2 * i + 1) * count / (2 * std::min(n, count)))]);
  return chosen;
}

// `everywhere`: densities of all voxels, and of those in the lungs; else of the foreground and how much is of which
// class.
Looked look(const SliceOf& slice, bool everywhere, int64_t classes) {
  Looked looked;
  looked.classes.assign(size_t(classes), 0);
  const ScanView& image = slice.scan->image;
  const int64_t width = image.grid.size[0], pixels = width * image.grid.size[1];
  const uint8_t* labels = slice.scan->labels_of(slice.z);
  const auto value = [&](int64_t i) { return image.at(i % width, i / width, slice.z); };
  if (everywhere) {
    // An odd step does not keep to the same columns of a picture whose width is a power of two.
    const int64_t step = std::max<int64_t>(1, pixels / kPixelsASlice) | 1;
    for (int64_t i = 0; i < pixels; i += step) {
      looked.everywhere.push_back(value(i));
      if (labels[i] & kLungs) looked.in_lungs.push_back(looked.everywhere.back());
    }
    return looked;
  }
  const int64_t step = std::max<int64_t>(1, slice.scan->slices[size_t(slice.z)].foreground / kPixelsASlice);
  int64_t seen = 0;
  for (int64_t i = 0; i < pixels; i++) {
    const int64_t c = labels[i] & kClass;
    if (c == 0 || c > classes) continue;
    looked.classes[size_t(c - 1)]++;
    if (seen++ % step == 0) looked.in_foreground.push_back(value(i));
  }
  return looked;
}

void append(std::vector<double>& to, const std::vector<double>& from) { to.insert(to.end(), from.begin(), from.end()); }

std::string in_words(const Spread& s) {
  if (s.least == s.most) return number(s.median, 4);
  return text(number(s.least, 4), " to ", number(s.most, 4), " (median ", number(s.median, 4), ")");
}

std::string in_words(const std::array<Spread, 3>& axes, const char* unit) {
  return text("x ", in_words(axes[0]), ", y ", in_words(axes[1]), ", z ", in_words(axes[2]), " ", unit);
}

std::string in_words(const std::vector<double>& values, const double* shares, const char* unit) {
  std::string out;
  for (size_t i = 0; i < values.size(); i++)
    out += text(i ? ", " : "", number(100 * shares[i], 4), " % ", number(values[i], 4));
  return text(out, *unit ? " " : "", unit);
}

std::string bin(size_t i) {
  constexpr size_t n = std::size(kDiameterEdges);
  if (i == 0) return text("<", kDiameterEdges[0]);
  return i == n ? text(">", kDiameterEdges[n - 1]) : text(kDiameterEdges[i - 1], "-", kDiameterEdges[i]);
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  const std::vector<double> p = percentiles(std::move(values), {0, 0.5, 1});
  return {p[0], p[1], p[2]};
}

std::vector<double> percentiles(std::vector<double> values, const std::vector<double>& shares) {
  std::vector<double> result;
  if (values.empty()) return result;
  for (double share : shares) {
    const auto at = values.begin() + std::llround(share * double(values.size() - 1));
    std::nth_element(values.begin(), at, values.end());
    result.push_back(*at);
  }
  return result;
}

Fingerprint fingerprint(const Dataset& dataset) {
  check(!dataset.scans.empty(), "fingerprint: the data set holds no scan");
  Fingerprint f;
  f.identity = identity(dataset);
  f.pairs = dataset.pairs;
  f.scans = int64_t(dataset.scans.size());
  f.channels = dataset.scans[0].image.channels;
  std::set<std::string> patients;
  std::array<std::vector<double>, 3> size, spacing;
  std::vector<double> lungs_ml, diameters, a_scan;
  std::vector<SliceOf> slices, with_foreground;
  double foreground_ml = 0;
  for (const Scan& scan : dataset.scans) {
    const Grid& grid = scan.image.grid;
    const double voxel_ml = grid.spacing[0] * grid.spacing[1] * grid.spacing[2] / 1000;
    patients.insert(scan.patient);
    f.orientations[orientation(grid)]++;
    f.slices += grid.size[2];
    f.voxels += grid.voxels();
    for (size_t i = 0; i < 3; i++) size[i].push_back(double(grid.size[i])), spacing[i].push_back(grid.spacing[i]);
    int64_t lungs = 0;
    for (int64_t z = 0; z < grid.size[2]; z++) {
      lungs += scan.slices[size_t(z)].lungs;
      slices.push_back({&scan, z});
      if (scan.slices[size_t(z)].foreground > 0) with_foreground.push_back({&scan, z});
    }
    f.lungs_known = f.lungs_known || lungs != grid.voxels();  // else every voxel counts as lung
    f.without_lungs += lungs == 0;
    if (lungs > 0) lungs_ml.push_back(double(lungs) * voxel_ml);
    f.foreground += scan.foreground;
    f.foreground_scans += scan.foreground > 0;
    foreground_ml += double(scan.foreground) * voxel_ml;
    f.nodules += int64_t(scan.nodules.size());
    a_scan.push_back(double(scan.nodules.size()));
    for (const Annotation& nodule : scan.nodules)
      if (nodule.diameter_mm > 0) diameters.push_back(nodule.diameter_mm);
  }
  f.patients = int64_t(patients.size());
  for (size_t i = 0; i < 3; i++) f.size[i] = spread_of(size[i]), f.spacing[i] = spread_of(spacing[i]);
  if (f.lungs_known) f.lungs_ml = spread_of(lungs_ml);
  f.foreground_slices = int64_t(with_foreground.size());
  f.nodules_a_scan = spread_of(a_scan);
  for (double d : diameters)
    f.histogram[size_t(std::upper_bound(std::begin(kDiameterEdges), std::end(kDiameterEdges), d) - kDiameterEdges)]++;
  f.diameters = percentiles(diameters, {std::begin(kDiameterShares), std::end(kDiameterShares)});

  std::vector<SliceOf> chosen = some_of(slices, kSampledSlices);
  const auto anywhere = int64_t(chosen.size());
  for (const SliceOf& slice : some_of(with_foreground, kSampledSlices)) chosen.push_back(slice);
  std::vector<Looked> looked(chosen.size());
  parallel(int64_t(chosen.size()), /*pays=*/true,
           [&](int64_t i) { looked[size_t(i)] = look(chosen[size_t(i)], i < anywhere, dataset.classes); });
  std::vector<double> everywhere, in_lungs, in_foreground, of_class(size_t(dataset.classes), 0);
  for (const Looked& l : looked) {
    append(everywhere, l.everywhere), append(in_lungs, l.in_lungs), append(in_foreground, l.in_foreground);
    for (size_t c = 0; c < of_class.size(); c++) of_class[c] += double(l.classes[c]);
  }
  const std::vector<double> shares(std::begin(kDensityShares), std::end(kDensityShares));
  f.everywhere = percentiles(std::move(everywhere), shares);
  if (f.lungs_known) f.in_lungs = percentiles(std::move(in_lungs), shares);
  f.in_foreground = percentiles(std::move(in_foreground), shares);
  double all = 0;
  for (double pixels : of_class) all += pixels;
  for (double pixels : of_class) {
    f.class_share.push_back(all > 0 ? pixels / all : 0);
    f.class_ml.push_back(f.class_share.back() * foreground_ml);
  }
  return f;
}

std::vector<std::pair<std::string, std::string>> rows(const Fingerprint& f) {
  std::vector<std::pair<std::string, std::string>> out;
  const char* const unit = f.pairs ? "" : "HU";
  out.emplace_back("data", f.identity);
  out.emplace_back("patients", text(counted(f.patients, "patient"), ", ",
                                    counted(f.scans, f.pairs ? "picture" : "scan"), ", ", counted(f.slices, "slice")));
  out.emplace_back("size", in_words(f.size, "voxels"));
  out.emplace_back("spacing", in_words(f.spacing, "mm"));
  std::string codes;
  for (const auto& [code, n] : f.orientations) codes += text(codes.empty() ? "" : ", ", n, " ", code);
  out.emplace_back("orientation", codes);
  if (f.channels > 1) out.emplace_back("channels", text(f.channels));
  const char* const of = f.pairs ? "values" : "density";
  out.emplace_back(of, in_words(f.everywhere, kDensityShares, unit));
  if (!f.in_lungs.empty()) out.emplace_back(text(of, ", lungs"), in_words(f.in_lungs, kDensityShares, unit));
  if (!f.in_foreground.empty())
    out.emplace_back(text(of, ", foreground"), in_words(f.in_foreground, kDensityShares, unit));
  if (f.lungs_known)
    out.emplace_back("lungs", text(in_words(f.lungs_ml), " ml",
                                   f.without_lungs ? text("; none found in ", counted(f.without_lungs, "scan")) : ""));
  out.emplace_back("foreground", text(percent(double(f.foreground) / double(f.voxels), 4), " of the voxels; in ",
                                      counted(f.foreground_slices, "slice"), " (",
                                      percent(double(f.foreground_slices) / double(f.slices), 4), "), ",
                                      counted(f.foreground_scans, f.pairs ? "picture" : "scan")));
  for (size_t c = 0; f.class_share.size() > 1 && c < f.class_share.size(); c++)
    out.emplace_back(text("class ", c + 1), text(percent(f.class_share[c], 4), " of the foreground, ",
                                                 number(f.class_ml[c], 4), " ml in all"));
  if (!f.pairs) out.emplace_back("nodules", text(f.nodules, "; ", in_words(f.nodules_a_scan), " a scan"));
  if (!f.diameters.empty()) {
    out.emplace_back("diameters", in_words(f.diameters, kDiameterShares, "mm"));
    std::string bins;
    for (size_t i = 0; i < f.histogram.size(); i++) bins += text(i ? ", " : "", bin(i), ": ", f.histogram[i]);
    out.emplace_back("nodules by mm", bins);
  }
  return out;
}

std::string to_text(const Fingerprint& print) {
  std::string out;
  for (const auto& [what, value] : rows(print))
    out += text("  ", what, std::string(std::max<size_t>(20, what.size() + 2) - what.size(), ' '), value, "\n");
  return out;
}

std::string to_json(const Fingerprint& f) {
  using json = nlohmann::ordered_json;
  const auto spread = [](const Spread& s) { return json{{"min", s.least}, {"median", s.median}, {"max", s.most}}; };
  const auto axes = [&](const std::array<Spread, 3>& a) {
    return json{{"x", spread(a[0])}, {"y", spread(a[1])}, {"z", spread(a[2])}};
  };
  const auto by_share = [](const std::vector<double>& values, const double* shares) {
    json out = json::object();
    for (size_t i = 0; i < values.size(); i++) out[number(100 * shares[i], 4)] = values[i];
    return out;
  };
  json histogram = json::object();
  for (size_t i = 0; i < f.histogram.size(); i++) histogram[bin(i)] = f.histogram[i];
  json out{{"identity", f.identity},
           {"pairs", f.pairs},
           {"patients", f.patients},
           {"scans", f.scans},
           {"slices", f.slices},
           {"voxels", f.voxels},
           {"channels", f.channels},
           {"size_voxels", axes(f.size)},
           {"spacing_mm", axes(f.spacing)},
           {"orientations", f.orientations},
           {f.pairs ? "value_percentiles" : "hu_percentiles",
            {{"everywhere", by_share(f.everywhere, kDensityShares)},
             {"lungs", by_share(f.in_lungs, kDensityShares)},
             {"foreground", by_share(f.in_foreground, kDensityShares)}}},
           {"foreground_voxels", f.foreground},
           {"foreground_slices", f.foreground_slices},
           {"foreground_scans", f.foreground_scans},
           {"class_share_of_foreground", f.class_share},
           {"class_ml", f.class_ml}};
  if (f.lungs_known) out["lungs_ml"] = spread(f.lungs_ml), out["scans_without_lungs"] = f.without_lungs;
  if (!f.pairs) {
    out["nodules"] = f.nodules;
    out["nodules_a_scan"] = spread(f.nodules_a_scan);
    out["diameter_mm_percentiles"] = by_share(f.diameters, kDiameterShares);
    out["nodules_by_diameter_mm"] = histogram;
  }
  return out.dump(2) + "\n";
}

}  // namespace acinus
