// What can be wrong with data: files, values, geometry, names.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string_view>

#include "apps/checks/checks.h"
#include "apps/checks/misreadings.h"
#include "data/dataset/statistics.h"
#include "data/formats/picture.h"
#include "data/formats/volume_io.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/parallel.h"
#include "tensor/text.h"

namespace acinus {
namespace {

// A seriesuid has 64 characters; its end tells it from others, and --held_out takes ends.
std::string short_id(const std::string& id) { return id.size() > 28 ? "..." + id.substr(id.size() - 12) : id; }

using Names = std::vector<std::string>;

// "a", "a and b", "a, b and 17 more"
std::string listed(const Names& names) {
  if (names.size() <= 1) return names.empty() ? "" : names[0];
  if (names.size() == 2) return names[0] + " and " + names[1];
  return text(names[0], ", ", names[1], " and ", names.size() - 2, " more");
}

// Reports what several scans (masks, nodules) have in common, if there are any: "3 scans without air: a, b and 1 more".
void report(Findings& out, Level level, const Names& names, const char* noun, const std::string& what,
            const std::string& cure) {
  if (!names.empty()) out.add(level, text(counted(names.size(), noun), " ", what, ": ", listed(names)), cure);
}

// ---- statistics of a few slices of each scan ------------------------------------------------------------------------

struct ScanSample {
  double low = INFINITY, high = -INFINITY;  // of the sampled voxels, without padding
  double air = 0;                           // fraction between -1500 and -500 HU: air and lung; padding is below
  bool constant = false;
  size_t hash = 0;  // of the middle slice
};

// The values, as stored.
std::string_view bytes_of(const ScanView& image) {
  return {static_cast<const char*>(image.values), size_t(image.bytes(image.grid.voxels()))};
}

ScanSample sample(const Scan& scan) {
  ScanSample s;
  const ScanView& image = scan.image;
  const Index3 size = image.grid.size;
  double sampled = 0;
  const int64_t step = std::max<int64_t>(1, size[1] / 64);
  for (int64_t quarter : {1, 2, 3}) {
    const int64_t z = std::min(size[2] - 1, size[2] * quarter / 4);
    for (int64_t y = 0; y < size[1]; y += step)
      for (int64_t x = y % 2; x < size[0]; x += 2) {
        const double value = image.at(x, y, z);
        if (value > -1500) s.low = std::min(s.low, value), s.high = std::max(s.high, value);
        s.air += value >= -1500 && value < -500;
        sampled++;
      }
  }
  s.air /= std::max(sampled, 1.);
  const std::string_view bytes = bytes_of(image);
  const size_t value = size_of(image.type), slice = bytes.size() / size_t(size[2]);
  s.constant = bytes.substr(value) == bytes.substr(0, bytes.size() - value);  // each value equals the next one
  s.hash = std::hash<std::string_view>()(bytes.substr(slice * size_t(size[2] / 2), slice));
  return s;
}

std::vector<ScanSample> samples_of(const Dataset& data) {
  std::vector<ScanSample> samples(data.scans.size());
  parallel(int64_t(samples.size()), /*pays=*/true, [&](int64_t i) { samples[i] = sample(data.scans[i]); });
  return samples;
}

bool same_voxels(const ScanView& a, const ScanView& b) {
  return a.grid.size == b.grid.size && a.channels == b.channels && a.type == b.type && a.scale == b.scale &&
         a.shift == b.shift && bytes_of(a) == bytes_of(b);
}

// Pairs (later, earlier) of scans with the same voxels.
std::vector<std::pair<size_t, size_t>> duplicates(const Dataset& data, const std::vector<ScanSample>& samples) {
  std::vector<std::pair<size_t, size_t>> found;
  std::map<size_t, std::vector<size_t>> by_hash;
  for (size_t i = 0; i < data.scans.size(); i++) {
    if (samples[i].constant) continue;
    std::vector<size_t>& earlier = by_hash[samples[i].hash];
    const auto twin =
        std::ranges::find_if(earlier, [&](size_t j) { return same_voxels(data.scans[i].image, data.scans[j].image); });
    if (twin != earlier.end())
      found.emplace_back(i, *twin);
    else
      earlier.push_back(i);
  }
  return found;
}

// ---- values ---------------------------------------------------------------------------------------------------------

// Is it a CT in Hounsfield units? Every chest contains air, between -1500 and -500 HU.
bool is_hu(const ScanSample& s) { return s.air > 0.005; }

// Or metres?
bool has_mm(const Scan& scan) { return std::ranges::min(scan.image.grid.spacing) >= 0.01; }

void check_values(const Dataset& data, const std::vector<ScanSample>& samples, Findings& out) {
  Names constant, greys, shifted, other;
  double low = INFINITY, high = -INFINITY;
  for (size_t i = 0; i < samples.size(); i++) {
    const ScanSample& s = samples[i];
    const std::string id = short_id(data.scans[i].id);
    if (s.constant) {
      constant.push_back(text(id, " (", number(data.scans[i].image.at(0, 0, 0), 3), ")"));
      continue;
    }
    if (!data.is_ct() || is_hu(s)) continue;
    low = std::min(low, s.low), high = std::max(high, s.high);
    // Greys of 8 bits never exceed 255. Without the offset of 1024, bone still does, and air is about 0.
    Names& kind = s.low >= 0 && s.high <= 255 ? greys : s.high > 255 && s.low > -500 ? shifted : other;
    kind.push_back(id);
  }
  const std::string range = text("values ", number(low, 3), " to ", number(high, 3));
  report(out, Level::error, constant, noun_of(data.kind), "with a single value",
         "check the file; a picture saved from numbers of 0 to 1 as 8 bits is black: multiply by 255 first");
  report(out, Level::error, greys, "scan", "with greys of 0 to 255 instead of Hounsfield units",
         "convert from the original DICOM series; greys have lost the density. Pictures go into images/ and masks/");
  report(out, Level::error, shifted, "scan", text("without air (", range, "), so not in Hounsfield units"),
         "the rescale intercept was left out: HU = stored value * RescaleSlope + RescaleIntercept, usually -1024");
  report(out, Level::error, other, "scan", text("without air or lung (nothing from -1500 to -500; ", range, ")"),
         "scans must be chest CTs in Hounsfield units: air -1000, water 0");
}

void check_labels(const Dataset& data, const std::vector<ScanSample>& samples, Findings& out) {
  Names empty, full, no_lungs;
  int64_t foreground = 0, voxels = 0;
  for (size_t i = 0; i < data.scans.size(); i++) {
    const Scan& scan = data.scans[i];
    const std::string id = short_id(scan.id);
    foreground += scan.foreground, voxels += scan.image.grid.voxels();
    if (scan.foreground == 0) empty.push_back(id);
    if (scan.foreground == scan.image.grid.voxels()) full.push_back(id);
    if (is_hu(samples[i]) && has_mm(scan) &&  // else no lungs can be expected
        std::ranges::all_of(scan.slices, [](auto& slice) { return slice.lungs == 0; }))
      no_lungs.push_back(id);
  }
  if (data.is_ct())
    report(out, Level::warning, no_lungs, "scan", "in which no lungs were found",
           "is it a chest? If it is cropped to a part of the lungs: --input.lungs false");
  if (data.is_ct() && out.has_errors()) return;  // what follows would only be their consequence
  if (foreground == 0) {
    out.error(text("no mask holds any foreground, in ", counted(data.scans.size(), noun_of(data.kind))),
              data.is_ct() ? "do the annotations lie inside their scans? See the other findings"
                           : "check the values of the masks; say which value is which class: --classes 0,255");
    return;
  }
  if (!data.is_ct() && !empty.empty())
    out.add(2 * empty.size() > data.scans.size() ? Level::warning : Level::note,
            text(empty.size(), " of ", data.scans.size(), " masks are empty: ", listed(empty)),
            "right, if there is nothing to find; else check the values they were saved with");
  const double share = double(foreground) / double(voxels);
  report(out, Level::warning, full, "mask", "without background", "check the values the mask was saved with");
  if (full.empty() && data.classes == 1 && share > 0.5)
    out.warning(text(percent(share), " of all ", data.is_ct() ? "voxels" : "pixels", " are foreground"),
                data.is_ct() ? "are the diameters in mm?"
                             : "if the masks are inverted, swap the classes: --classes 255,0 (or 1,0)");
}

// ---- grids ----------------------------------------------------------------------------------------------------------

void check_grids(const Dataset& data, Findings& out) {
  Names metres, ones, coarse;
  std::vector<double> in_plane, between, side;
  for (const Scan& scan : data.scans) {
    const Grid& grid = scan.image.grid;
    const Vec3& s = grid.spacing;
    side.push_back(double(std::max(grid.size[0], grid.size[1])));
    if (!data.is_ct() && volume_ending(scan.path).empty()) continue;  // pictures have no millimetres
    in_plane.push_back(s[0]), between.push_back(s[2]);
    const std::string name =
        text(short_id(scan.id), " (", number(s[0], 3), " x ", number(s[1], 3), " x ", number(s[2], 3), ")");
    if (!has_mm(scan)) metres.push_back(name);
    if (std::ranges::max(s) > 20) coarse.push_back(name);
    if (s == Vec3{1, 1, 1} && grid.size[2] > 1) ones.push_back(short_id(scan.id));
  }
  report(out, Level::error, metres, "scan", "with voxels smaller than 0.01 mm",
         "the spacing is in metres or centimetres; write it and the origin in mm");
  report(out, Level::warning, coarse, "scan", "with voxels larger than 20 mm",
         "is the spacing in mm? If it is in micrometres, divide it by 1000");
  report(out, Level::note, ones, "scan", "with a spacing of exactly 1 x 1 x 1 mm",
         "right for resampled scans; else the header has lost it, and diameters in mm will not fit");
  const Summary xy = summary_of(in_plane), z = summary_of(between), sides = summary_of(side);
  const auto mixed = [](const Summary& s, double max_ratio) { return s.min > 0 && s.max > max_ratio * s.min; };
  if (metres.empty() && coarse.empty() && (mixed(xy, 2) || mixed(z, 3)))
    out.note(text("spacings from ", number(xy.min, 3), " to ", number(xy.max, 3), " mm in plane, ", number(z.min, 3),
                  " to ", number(z.max, 3), " mm between slices"),
             "patches are cut in voxels, so the same nodule has different sizes in them; resample the scans to one "
             "spacing (data/volume/resample.h) or raise --augment.zoom");
  if (!data.is_ct() && mixed(sides, 2))
    out.note(text("pictures from ", sides.min, " to ", sides.max, " pixels"),
             "if the larger ones show the same object larger, bring them to one scale, or raise --augment.zoom");
}

// ---- positions of nodules -------------------------------------------------------------------------------------------

struct Location {
  const Scan* scan;
  const Annotation* nodule;
};

// Is a sphere around this voxel denser, by at least 50 HU in the median, than the shell of 1.5 to 2.5 radii around it?
bool is_denser(const ScanView& image, const Vec3& voxel, double radius) {
  const Grid& grid = image.grid;
  if (!grid.contains(voxel)) return false;
  const double shell = std::max(radius, 0.7 * std::ranges::max(grid.spacing));  // if the nodule is below a voxel's size
  std::vector<double> inside, around;
  any_voxel_near(grid, voxel, 2.5 * shell, [&](int64_t x, int64_t y, int64_t z, double mm) {
    if (mm <= radius)
      inside.push_back(image.at(x, y, z));
    else if (mm >= 1.5 * shell)
      around.push_back(image.at(x, y, z));
    return false;
  });
  return !inside.empty() && !around.empty() && summary_of(inside).median > summary_of(around).median + 50;
}

constexpr double kMaxDiameter = 100;  // mm; anything larger is not a nodule, and slow to check

bool fits(const Location& l, const Vec3& voxel) {
  return is_denser(l.scan->image, voxel, std::min(l.nodule->diameter_mm, kMaxDiameter) / 2);
}

bool in_lungs(const Location& l) {
  const Grid& grid = l.scan->image.grid;
  const Vec3 centre = grid.to_voxel(l.nodule->centre);
  if (!grid.contains(centre)) return false;
  const auto [x, y, z] = nearest_voxel(grid, centre);
  return (l.scan->labels[grid.offset(x, y, z)] & kLungs) != 0;
}

// Reports what is wrong with these locations if fewer than half look like nodules, or if they are `known_wrong`. True if
// it has.
bool check_locations(const std::vector<Location>& locations, const std::string& where, bool known_wrong,
                     Findings& out) {
  std::vector<char> denser(locations.size());
  parallel(int64_t(locations.size()), /*pays=*/true, [&](int64_t i) {
    const Location& l = locations[i];
    denser[i] = fits(l, l.scan->image.grid.to_voxel(l.nodule->centre));
  });
  const auto n = size_t(std::ranges::count(denser, 1));
  const double share = double(n) / double(locations.size());
  if (locations.size() < 3 || (share >= 0.5 && !known_wrong)) return false;
  const std::string what = text(locations.size() - n, " of ", locations.size(), " annotated centres", where,
                                " lie outside their scan or are no denser than their surroundings");
  const auto [misreading, fitting] = best_misreading(locations.size(), share, [&](const Misreading& m) {
    return std::ranges::count_if(
        locations, [&](const Location& l) { return fits(l, m.voxel(l.scan->image.grid, l.nodule->centre)); });
  });
  if (misreading)
    out.error(text(what, "; ", misreading->what, ", ", fitting, " are denser"), misreading->cure);
  else if (!known_wrong)
    out.add(share < 0.25 ? Level::error : Level::warning, what,
            "coordinates must be in mm, LPS, x,y,z, of these very scans; look at a few (./phantom's preview shows how"
            " it should look)");
  return misreading || !known_wrong;
}

// All together; else by the orientation in which scans are stored, since a direction that was ignored shows only in
// some; else those in scans that do not contain all of theirs.
bool check_locations(const std::vector<Location>& locations, Findings& out) {
  if (check_locations(locations, "", false, out)) return true;
  std::map<std::string, std::vector<Location>> by_orientation;
  std::vector<Location> suspicious;
  for (const Location& l : locations) {
    by_orientation[orientation(l.scan->image.grid)].push_back(l);
    if (!l.scan->outside.empty()) suspicious.push_back(l);
  }
  bool wrong = false;
  for (const auto& [code, group] : by_orientation)
    wrong = check_locations(group, text(" in scans stored as ", code), false, out) || wrong;
  return wrong || check_locations(suspicious, ", of scans that do not contain all of theirs,", true, out);
}

void check_nodules(const Dataset& data, const std::vector<ScanSample>& samples, Findings& out) {
  std::vector<Location> locations;  // in scans whose voxels can tell
  Names outside, not_in_lungs, no_diameter, huge;
  std::vector<double> diameters;
  for (size_t i = 0; i < data.scans.size(); i++) {
    const Scan& scan = data.scans[i];
    const Vec3& mm = scan.image.grid.spacing;
    const bool usable = is_hu(samples[i]) && has_mm(scan);
    double lungs_ml = 0;
    for (const SliceCount& slice : scan.slices) lungs_ml += double(slice.lungs) * mm[0] * mm[1] * mm[2] / 1000;
    for (const auto* list : {&scan.nodules, &scan.outside})
      for (const Annotation& nodule : *list) {
        const double d = nodule.diameter_mm, ml = 3.14159265 / 6 * d * d * d / 1000;
        diameters.push_back(d);
        if (d <= 0) no_diameter.push_back(short_id(scan.id));
        const bool is_huge = d > kMaxDiameter || (usable && lungs_ml > 0 && ml > lungs_ml);
        if (is_huge) huge.push_back(text(short_id(scan.id), " (", number(d, 3), " mm)"));
        if (is_huge || !usable) continue;
        const Vec3& c = nodule.centre;
        const std::string name =
            text(short_id(scan.id), " (", number(c[0], 3), ", ", number(c[1], 3), ", ", number(c[2], 3), ")");
        locations.push_back({&scan, &nodule});
        if (list == &scan.outside)
          outside.push_back(name);
        else if (!in_lungs(locations.back()))
          not_in_lungs.push_back(name);
      }
  }
  if (diameters.empty()) return;
  report(out, Level::error, no_diameter, "nodule", "with a diameter of 0 or less",
         "annotations.csv holds nodules with their diameter in mm; those without one (-1) belong in"
         " annotations_excluded.csv");
  report(out, Level::error, huge, "nodule", text("larger than ", kMaxDiameter, " mm or than the lungs"),
         "diameter_mm is a diameter, in mm");
  if (const double middle = summary_of(diameters).median; middle > 0 && middle < 1)
    out.error(text("half of the nodules are smaller than ", number(middle, 3), " mm"),
              "the diameters are in cm or m; write them in mm");
  const bool misplaced = check_locations(locations, out);
  if (!outside.empty() && !misplaced)
    out.warning(text("outside their scans: ", outside.size(), " of ", locations.size(), " annotated centres, ",
                     listed(outside)),
                "they are left out; the scan may be cropped, or of another series of this patient");
  if (!not_in_lungs.empty() && !misplaced)
    out.add(not_in_lungs.size() * 5 > locations.size() ? Level::warning : Level::note,
            text("outside the detected lungs: ", not_in_lungs.size(), " of ", locations.size(), " annotated centres, ",
                 listed(not_in_lungs)),
            "nothing is predicted there, so these cannot be found; --input.lungs false predicts everywhere");
  if (diameters.size() < 20)
    out.note(text(counted(diameters.size(), "nodule"), " in total"),
             "enough for a test run; a Dice over so few says little about how well nodules are found");
}

// ---- names ----------------------------------------------------------------------------------------------------------

// "case03_017" -> "case03", "case03_z17" -> "case03"; "" if the name is not of a numbered part of something numbered.
std::string series_of(const std::string& name) {
  const std::string digits = "0123456789", separators = "-_. ";
  const size_t before = name.find_last_not_of(digits);  // the number; there may be letters between it and the separator
  if (before == name.npos || before + 1 == name.size()) return "";
  const size_t separator = name.find_last_of(separators + digits, before);
  if (separator == name.npos || digits.find(name[separator]) != name.npos) return "";
  const std::string stem = name.substr(0, separator);
  return stem.find_first_of(digits) != name.npos ? stem : "";
}

void check_names(const Dataset& data, Findings& out) {
  if (data.is_ct()) return;
  std::map<std::string, Names> series;
  for (const Scan& scan : data.scans)
    if (scan.patient == scan.id) series[series_of(scan.id)].push_back(scan.id);
  series.erase("");
  size_t together = 0;
  for (const auto& [stem, ids] : series)
    if (ids.size() > 1) together += ids.size();
  if (series.size() < 2 || 2 * together < data.scans.size()) return;
  const auto& [stem, ids] = *std::ranges::max_element(series, {}, [](const auto& one) { return one.second.size(); });
  out.warning(
      text("names such as ", ids[0], " and ", ids[1],
           " look like slices of one patient, but each picture counts as a patient: slices of one patient would "
           "be in both parts of the split, and the Dice would be too high"),
      text("make a folder for each patient: images/", stem, "/, masks/", stem, "/"));
}

// ---- files that could not be read -----------------------------------------------------------------------------------

// What values the masks hold that were refused for these.
void report_mask_values(const Names& masks, Findings& out) {
  std::set<double> values;
  for (const std::string& path : masks) {
    const Image image = read_picture(path);
    with_type(image.type, [&](auto zero) {
      const auto* from = reinterpret_cast<const decltype(zero)*>(image.data.data());
      for (int64_t i = 0; i < image.values() && values.size() < 1000; i++) values.insert(double(from[i]));
    });
  }
  const bool whole = std::ranges::all_of(values, [](double v) { return v == std::floor(v) && v >= 0 && v <= 255; });
  std::string seen, classes;
  for (double v : values) {
    if (seen.size() < 60) seen += text(seen.empty() ? "" : " ", shortest(v));
    classes += text(classes.empty() ? "" : ",", shortest(v));
  }
  const bool few = values.size() <= 8;  // more are unlikely to be classes
  out.error(text(counted(masks.size(), "mask"), " with values that are not classes (0 and 255, 0 and 1, or 0 to 31): ",
                 masks[0], masks.size() > 1 ? ", ..." : "", "; together they hold ", counted(values.size(), "value"),
                 ", ", seen, few ? "" : " ..."),
            few && whole ? text("say what they mean, class 0 first: --classes ", classes)
            : whole      ? "this many values come from JPEG or from interpolation: make each pixel 0 or 255 again "
                           "(threshold at 128), and resize masks by the nearest neighbour"
                         : "a mask holds whole numbers; is this a map of probabilities? Save (p > 0.5) as 0 and 1");
}

}  // namespace

Findings check_failures(const std::vector<std::pair<Source, std::string>>& failed) {
  // Messages read "FILE: what; what to do". Those that differ only in the file belong together.
  std::map<std::pair<std::string, std::string>, Names> files_of;
  Names odd_masks;
  for (const auto& [source, message] : failed) {
    if (!source.mask.empty() && message.starts_with(source.mask + ": holds the values")) {
      odd_masks.push_back(source.mask);
      continue;
    }
    std::string file = source.path, what = message;
    for (const std::string& path : {source.mask, source.path})
      if (!path.empty() && message.starts_with(path + ": ")) file = path, what = message.substr(path.size() + 2);
    const size_t end = what.find("; ");
    const std::string cure = end == what.npos ? "the file is left out; repair or remove it" : what.substr(end + 2);
    files_of[{what.substr(0, end), cure}].push_back(file);
  }
  Findings out;
  if (!odd_masks.empty()) report_mask_values(odd_masks, out);
  for (const auto& [message, files] : files_of)
    out.error(text(files[0], files.size() > 1 ? text(" and ", files.size() - 1, " more") : "", ": ", message.first),
              message.second);
  return out;
}

Findings check_data(const Dataset& data) {
  Findings out;
  if (data.scans.empty()) return out;
  const std::vector<ScanSample> samples = samples_of(data);
  check_values(data, samples, out);
  check_grids(data, out);
  check_nodules(data, samples, out);
  check_labels(data, samples, out);
  if (const auto twins = duplicates(data, samples); !twins.empty())
    out.warning(text(counted(twins.size(), noun_of(data.kind)),
                     " with the same voxels as another one: ", short_id(data.scans[twins[0].first].id), " and ",
                     short_id(data.scans[twins[0].second].id), twins.size() > 1 ? ", ..." : ""),
                "remove one of each pair: otherwise one may be trained on and the other validated on");
  check_names(data, out);
  // Warnings of reading the data, but not again those about single nodules and lungs.
  for (const std::string& warning : data.warnings)
    if (warning.find(": the nodule at (") == warning.npos && warning.find(": no lung was found") == warning.npos)
      out.add(data.is_ct() ? Level::note : Level::warning, warning, "");
  return out;
}

Findings check_split(const Dataset& data, const Split& split) {
  Findings out;
  const auto has_nodule = [&](size_t i) { return data.scans[i].foreground > 0; };
  std::set<std::string> trained_on, both;
  for (size_t i : split.train) trained_on.insert(data.scans[i].patient);
  for (size_t i : split.validation)
    if (trained_on.contains(data.scans[i].patient)) both.insert(data.scans[i].patient);
  if (!both.empty())
    out.error(
        text(counted(both.size(), "patient"), " on both sides of the split: ", listed({both.begin(), both.end()})),
        "split by patient (split_patients in data/dataset/dataset.h); the Dice of such a split is too high");
  const std::set<size_t> train(split.train.begin(), split.train.end());
  for (const auto& [later, earlier] : duplicates(data, samples_of(data)))
    if (train.contains(later) != train.contains(earlier))
      out.error(text("the same voxels on both sides of the split: ", short_id(data.scans[later].id), " and ",
                     short_id(data.scans[earlier].id)),
                "remove one of the two");
  if (std::ranges::none_of(split.train, has_nodule))
    out.error("none of the training scans contains a nodule", "more data, or another split: --seed, --held_out");
  if (std::ranges::none_of(split.validation, has_nodule))
    out.warning("none of the held-out scans contains a nodule, so the Dice is meaningless",
                "hold out others: --held_out, --seed, a larger --validation");
  return out;
}

}  // namespace acinus
