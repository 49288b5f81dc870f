// What is wrong with data: files, values, geometry, names.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "apps/checks/findings.h"
#include "apps/checks/misreadings.h"
#include "data/dataset/statistics.h"
#include "tensor/check.h"
#include "tensor/parallel.h"
#include "tensor/text.h"

namespace acinus {

namespace {

// A seriesuid has 64 characters; its end tells it from others, and --held_out takes ends.
std::string short_id(const std::string& id) { return id.size() > 28 ? "..." + id.substr(id.size() - 12) : id; }

// "a", "a and b", "a, b and 17 more"
std::string some(const std::vector<std::string>& names) {
  if (names.size() <= 1) return names.empty() ? "" : names[0];
  if (names.size() == 2) return names[0] + " and " + names[1];
  return text(names[0], ", ", names[1], " and ", names.size() - 2, " more");
}

// ---- a few slices of each scan --------------------------------------------------------------------------------------

struct Sample {
  double low = INFINITY, high = -INFINITY;  // of some voxels, padding left out
  double airy = 0;  // share of them between -1500 and -500 HU: air and lung. Padding lies below.
  bool constant = false;
  uint64_t hash = 0;  // of the middle slice
};

int64_t bytes_of(const ScanView& image, int64_t voxels) { return voxels * image.channels * (image.words ? 2 : 1); }
const char* data_of(const ScanView& image) {
  return image.words ? reinterpret_cast<const char*>(image.words) : reinterpret_cast<const char*>(image.bytes);
}

uint64_t hash_of(const char* bytes, int64_t n) {
  uint64_t hash = uint64_t(n);
  for (int64_t i = 0; i < n; i += 8) {
    uint64_t eight = 0;
    std::memcpy(&eight, bytes + i, size_t(std::min<int64_t>(8, n - i)));
    hash = (hash ^ eight) * 0x9E3779B97F4A7C15ull;
    hash ^= hash >> 29;
  }
  return hash;
}

bool is_constant(const ScanView& image) {
  const int64_t size = image.words ? 2 : 1, n = bytes_of(image, image.grid.voxels());
  const char* data = data_of(image);
  return n == size || std::memcmp(data, data + size, size_t(n - size)) == 0;  // each value equals the next one
}

Sample sample(const Scan& scan) {
  Sample s;
  const ScanView& image = scan.image;
  const Index3 size = image.grid.size;
  int64_t looked = 0, airy = 0;
  const int64_t step = std::max<int64_t>(1, size[1] / 64);
  for (int64_t quarter : {1, 2, 3}) {
    const int64_t z = std::min(size[2] - 1, size[2] * quarter / 4);
    for (int64_t y = 0; y < size[1]; y += step)
      for (int64_t x = y % 2; x < size[0]; x += 2) {
        const double value = image.at(x, y, z);
        if (value > -1500) s.low = std::min(s.low, value), s.high = std::max(s.high, value);
        airy += value >= -1500 && value < -500;
        looked++;
      }
  }
  s.airy = double(airy) / double(std::max<int64_t>(looked, 1));
  s.constant = is_constant(image);
  const int64_t pixels = size[0] * size[1];
  s.hash = hash_of(data_of(image) + bytes_of(image, size[2] / 2 * pixels), bytes_of(image, pixels));
  return s;
}

bool same_voxels(const ScanView& a, const ScanView& b) {
  return a.grid.size == b.grid.size && a.channels == b.channels && !a.words == !b.words && a.scale == b.scale &&
         a.shift == b.shift && std::memcmp(data_of(a), data_of(b), size_t(bytes_of(a, a.grid.voxels()))) == 0;
}

// Pairs (later, earlier) of scans with the same voxels.
std::vector<std::pair<size_t, size_t>> doubles(const Dataset& data, const std::vector<Sample>& samples) {
  std::vector<std::pair<size_t, size_t>> found;
  std::map<uint64_t, std::vector<size_t>> by_hash;
  for (size_t i = 0; i < data.scans.size(); i++) {
    if (samples[i].constant) continue;
    std::vector<size_t>& earlier = by_hash[samples[i].hash];
    const auto twin = std::find_if(earlier.begin(), earlier.end(),
                                   [&](size_t j) { return same_voxels(data.scans[i].image, data.scans[j].image); });
    if (twin != earlier.end())
      found.emplace_back(i, *twin);
    else
      earlier.push_back(i);
  }
  return found;
}

std::vector<Sample> samples_of(const Dataset& data) {
  std::vector<Sample> samples(data.scans.size());
  parallel(int64_t(samples.size()), /*pays=*/true,
           [&](int64_t i) { samples[size_t(i)] = sample(data.scans[size_t(i)]); });
  return samples;
}

// ---- values ---------------------------------------------------------------------------------------------------------

// Is this a CT in Hounsfield units? Every chest holds air; where nothing lies between -1500 and -500, it does not look
// so.
bool is_hu(const Sample& s) { return s.airy > 0.005; }

// Not metres?
bool has_mm(const Scan& scan) {
  const Vec3& s = scan.image.grid.spacing;
  return *std::min_element(s.begin(), s.end()) >= 0.01;
}

void look_at_values(const Dataset& data, const std::vector<Sample>& samples, Findings& out) {
  std::vector<std::string> constant, greys, shifted, other;
  double low = INFINITY, high = -INFINITY;
  for (size_t i = 0; i < samples.size(); i++) {
    const Sample& s = samples[i];
    if (s.constant) {
      constant.push_back(text(short_id(data.scans[i].id), " (", number(data.scans[i].image.at(0, 0, 0), 3), ")"));
      continue;
    }
    if (data.pairs || is_hu(s)) continue;
    low = std::min(low, s.low), high = std::max(high, s.high);
    // Greys of 8 bits never pass 255; without the offset of 1024, bone still does, and air is about 0.
    (s.low >= 0 && s.high <= 255    ? greys
     : s.high > 255 && s.low > -500 ? shifted
                                    : other)
        .push_back(short_id(data.scans[i].id));
  }
  if (!constant.empty())
    out.push_back(
        {Finding::error,
         text(counted(constant.size(), data.pairs ? "picture" : "scan"), " of one value only: ", some(constant)),
         "look at the file; a picture saved from numbers of 0 to 1 as 8 bits is black: multiply by 255 first"});
  if (!greys.empty())
    out.push_back(
        {Finding::error,
         text(counted(greys.size(), "scan"), " with greys of 0 to 255 instead of Hounsfield units: ", some(greys)),
         "convert from the original DICOM series; greys have lost the density. Pictures go into images/ and masks/"});
  if (!shifted.empty())
    out.push_back(
        {Finding::error,
         text(counted(shifted.size(), "scan"), " without air (values ", number(low, 3), " to ", number(high, 3),
              "), so not in Hounsfield units: ", some(shifted)),
         "the rescale intercept was left out: HU = stored value * RescaleSlope + RescaleIntercept, mostly -1024"});
  if (!other.empty())
    out.push_back({Finding::error,
                   text(counted(other.size(), "scan"), " without air or lung (nothing from -1500 to -500; values ",
                        number(low, 3), " to ", number(high, 3), "): ", some(other)),
                   "scans must be chest CTs in Hounsfield units: air -1000, water 0"});
}

void look_at_labels(const Dataset& data, const std::vector<Sample>& samples, Findings& out) {
  std::vector<std::string> empty, full, no_lungs;
  int64_t foreground = 0, voxels = 0;
  for (size_t i = 0; i < data.scans.size(); i++) {
    const Scan& scan = data.scans[i];
    foreground += scan.foreground, voxels += scan.image.grid.voxels();
    if (scan.foreground == 0) empty.push_back(short_id(scan.id));
    if (scan.foreground == scan.image.grid.voxels()) full.push_back(short_id(scan.id));
    if (is_hu(samples[i]) && has_mm(scan) &&  // else no lungs are to be expected
        std::all_of(scan.slices.begin(), scan.slices.end(), [](auto& s) { return s.lungs == 0; }))
      no_lungs.push_back(short_id(scan.id));
  }
  if (!data.pairs && !no_lungs.empty())
    out.push_back({Finding::warning,
                   text("no lungs were found in ", counted(no_lungs.size(), "scan"), ": ", some(no_lungs)),
                   "is it a chest? If it is cropped to a part of the lungs: --input.lungs false"});
  if (!data.pairs && has_errors(out)) return;  // of which what follows is a consequence
  if (foreground == 0) {
    out.push_back(
        {Finding::error,
         text("no mask holds any foreground, in ", counted(data.scans.size(), data.pairs ? "picture" : "scan")),
         data.pairs ? "look at what the masks hold; say which values are which class: --classes 0,255"
                    : "do the annotations lie inside their scans? See what else is said here"});
    return;
  }
  if (data.pairs && !empty.empty())
    out.push_back({2 * empty.size() > data.scans.size() ? Finding::warning : Finding::note,
                   text(empty.size(), " of ", data.scans.size(), " masks are empty: ", some(empty)),
                   "right, where there is nothing to find; else look at the values they were saved with"});
  if (!full.empty())
    out.push_back({Finding::warning, text(counted(full.size(), "mask"), " without background: ", some(full)),
                   "look at the values the mask was saved with"});
  else if (const double share = double(foreground) / double(voxels); data.classes == 1 && share > 0.5)
    out.push_back(
        {Finding::warning, text(percent(share), " of all ", data.pairs ? "pixels" : "voxels", " are foreground"),
         data.pairs ? "if the masks are inverted, turn them: --classes 255,0 (or 1,0)" : "are the diameters in mm?"});
}

// ---- grids ----------------------------------------------------------------------------------------------------------

void look_at_grids(const Dataset& data, Findings& out) {
  std::vector<std::string> metres, ones, coarse;
  std::vector<double> in_plane, between, side;
  for (const Scan& scan : data.scans) {
    const Grid& grid = scan.image.grid;
    const Vec3& s = grid.spacing;
    side.push_back(double(std::max(grid.size[0], grid.size[1])));
    if (data.pairs && volume_ending(scan.path).empty()) continue;  // pictures have no millimetres
    in_plane.push_back(s[0]), between.push_back(s[2]);
    const std::string name =
        text(short_id(scan.id), " (", number(s[0], 3), " x ", number(s[1], 3), " x ", number(s[2], 3), ")");
    if (!has_mm(scan)) metres.push_back(name);
    if (*std::max_element(s.begin(), s.end()) > 20) coarse.push_back(name);
    if (s == Vec3{1, 1, 1} && grid.size[2] > 1) ones.push_back(short_id(scan.id));
  }
  if (!metres.empty())
    out.push_back({Finding::error,
                   text(counted(metres.size(), "scan"), " with voxels of less than 0.01 mm: ", metres[0]),
                   "the spacing is in metres or centimetres; write it in mm, and the origin, too"});
  if (!coarse.empty())
    out.push_back({Finding::warning,
                   text(counted(coarse.size(), "scan"), " with voxels of more than 20 mm: ", coarse[0]),
                   "is the spacing in mm? Of micrometres, divide by 1000"});
  if (!ones.empty())
    out.push_back(
        {Finding::note, text("the spacing is exactly 1 x 1 x 1 mm in ", counted(ones.size(), "scan"), ": ", some(ones)),
         "right for scans that were resampled; else the header has lost it, and diameters in mm will not fit"});
  const Spread xy = spread_of(in_plane), z = spread_of(between), sides = spread_of(side);
  const auto mixed = [](const Spread& s, double most) { return s.least > 0 && s.most > most * s.least; };
  if (metres.empty() && coarse.empty() && (mixed(xy, 2) || mixed(z, 3)))
    out.push_back(
        {Finding::note,
         text("spacings from ", number(xy.least, 3), " to ", number(xy.most, 3), " mm in plane, ", number(z.least, 3),
              " to ", number(z.most, 3), " mm between slices"),
         "pieces are cut in voxels, so the same nodule is of different size in them; bring the scans to one spacing"
         " (data/volume/resample.h) or raise --augment.zoom"});
  if (data.pairs && mixed(sides, 2))
    out.push_back({Finding::note, text("pictures from ", sides.least, " to ", sides.most, " pixels"),
                   "if the larger ones show the same thing larger, bring them to one scale, or raise --augment.zoom"});
}

// ---- where nodules are ----------------------------------------------------------------------------------------------

struct Place {
  const Scan* scan;
  const Annotation* nodule;
};

double median(std::vector<double>& values) {
  const auto middle = values.begin() + int64_t(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Is a ball around this voxel denser, by 50 HU at least, than the shell of 1.5 to 2.5 radii around it? (Of the
// medians.)
bool is_denser(const ScanView& image, const Vec3& voxel, double radius) {
  const Grid& grid = image.grid;
  if (!grid.contains(voxel)) return false;
  const Vec3& mm = grid.spacing;
  // Of a nodule smaller than a voxel, the voxel, and what lies around that.
  const double shell = std::max(radius, 0.7 * *std::max_element(mm.begin(), mm.end()));
  Index3 low, high, nearest;
  for (size_t i = 0; i < 3; i++) {
    low[i] = std::max<int64_t>(0, int64_t(std::ceil(voxel[i] - 2.5 * shell / mm[i])));
    high[i] = std::min<int64_t>(grid.size[i] - 1, int64_t(std::floor(voxel[i] + 2.5 * shell / mm[i])));
    nearest[i] = std::clamp<int64_t>(std::llround(voxel[i]), 0, grid.size[i] - 1);
  }
  std::vector<double> inside, around;
  const auto square = [](double d) { return d * d; };
  for (int64_t z = low[2]; z <= high[2]; z++)
    for (int64_t y = low[1]; y <= high[1]; y++)
      for (int64_t x = low[0]; x <= high[0]; x++) {
        const double d = square((double(x) - voxel[0]) * mm[0]) + square((double(y) - voxel[1]) * mm[1]) +
                         square((double(z) - voxel[2]) * mm[2]);
        if (d <= square(radius) || Index3{x, y, z} == nearest)
          inside.push_back(image.at(x, y, z));
        else if (d >= square(1.5 * shell) && d <= square(2.5 * shell))
          around.push_back(image.at(x, y, z));
      }
  return !inside.empty() && !around.empty() && median(inside) > median(around) + 50;
}

constexpr double kLargest = 100;  // mm; what is larger is no nodule, and slow to look at

bool fits(const Place& place, const Vec3& voxel) {
  return is_denser(place.scan->image, voxel, std::min(place.nodule->diameter_mm, kLargest) / 2);
}

bool in_lungs(const Place& place) {
  const Grid& grid = place.scan->image.grid;
  const Vec3 at = grid.to_voxel(place.nodule->centre);
  if (!grid.contains(at)) return false;
  Index3 v;
  for (size_t i = 0; i < 3; i++) v[i] = std::clamp<int64_t>(std::llround(at[i]), 0, grid.size[i] - 1);
  return (place.scan->labels[grid.offset(v[0], v[1], v[2])] & kLungs) != 0;
}

// Says what is wrong with these places, if less than half of them look like nodules. `always`: they are known to be
// wrong.
bool look_at_places(const std::vector<Place>& places, const std::string& where, bool always, Findings& out) {
  std::vector<char> denser(places.size());
  parallel(int64_t(places.size()), /*pays=*/true, [&](int64_t i) {
    const Place& p = places[size_t(i)];
    denser[size_t(i)] = fits(p, p.scan->image.grid.to_voxel(p.nodule->centre));
  });
  const auto n = size_t(std::count(denser.begin(), denser.end(), 1));
  const double share = double(n) / double(places.size());
  if (places.size() < 3 || (share >= 0.5 && !always)) return false;
  const std::string what = text(places.size() - n, " of ", places.size(), " annotated centres", where,
                                " lie outside their scan or are no denser than what is around them");
  size_t fitting = 0;
  const Misreading* misreading = best_misreading(places, share, fitting, [](const Place& p, auto voxel) {
    return fits(p, voxel(p.scan->image.grid, p.nodule->centre));
  });
  if (misreading)
    out.push_back({Finding::error, text(what, "; ", misreading->what, ", ", fitting, " are denser"), misreading->cure});
  else if (!always)
    out.push_back(
        {share < 0.25 ? Finding::error : Finding::warning, what,
         "coordinates must be mm in LPS, x,y,z, of these very scans; look at some (./phantom's preview shows how"
         " it should look)"});
  return misreading || !always;
}

// All together; else those in scans stored in one orientation, since a direction that was ignored shows only where
// there is one; else those in scans which some lie outside of.
bool look_at_places(const std::vector<Place>& places, Findings& out) {
  if (look_at_places(places, "", false, out)) return true;
  std::map<std::string, std::vector<Place>> by_orientation;
  std::vector<Place> suspicious;
  for (const Place& p : places) {
    by_orientation[orientation(p.scan->image.grid)].push_back(p);
    if (!p.scan->outside.empty()) suspicious.push_back(p);
  }
  bool wrong = false;
  for (const auto& [code, group] : by_orientation)
    wrong = look_at_places(group, text(" in scans stored as ", code), false, out) || wrong;
  return wrong || look_at_places(suspicious, ", of scans that do not hold all of theirs,", true, out);
}

void look_at_nodules(const Dataset& data, const std::vector<Sample>& samples, Findings& out) {
  std::vector<Place> placed;  // in scans whose voxels can tell
  std::vector<std::string> outside, not_in_lungs, no_diameter, huge;
  std::vector<double> diameters;
  for (size_t i = 0; i < data.scans.size(); i++) {
    const Scan& scan = data.scans[i];
    const Vec3& mm = scan.image.grid.spacing;
    double lungs_ml = 0;
    for (const SliceCount& slice : scan.slices) lungs_ml += double(slice.lungs) * mm[0] * mm[1] * mm[2] / 1000;
    for (const auto* list : {&scan.nodules, &scan.outside})
      for (const Annotation& nodule : *list) {
        const double d = nodule.diameter_mm, ml = 3.14159265 / 6 * d * d * d / 1000;
        diameters.push_back(d);
        if (d <= 0) no_diameter.push_back(short_id(scan.id));
        const bool is_huge = d > kLargest || (is_hu(samples[i]) && has_mm(scan) && lungs_ml > 0 && ml > lungs_ml);
        if (is_huge) huge.push_back(text(short_id(scan.id), " (", number(d, 3), " mm)"));
        if (is_huge || !is_hu(samples[i]) || !has_mm(scan)) continue;
        const Vec3& c = nodule.centre;
        const std::string name =
            text(short_id(scan.id), " (", number(c[0], 3), ", ", number(c[1], 3), ", ", number(c[2], 3), ")");
        placed.push_back({&scan, &nodule});
        if (list == &scan.outside)
          outside.push_back(name);
        else if (!in_lungs(placed.back()))
          not_in_lungs.push_back(name);
      }
  }
  if (diameters.empty()) return;
  if (!no_diameter.empty())
    out.push_back({Finding::error,
                   text(counted(no_diameter.size(), "nodule"), " with a diameter of 0 or less: ", some(no_diameter)),
                   "annotations.csv holds nodules with their diameter in mm; those without one (-1) belong into"
                   " annotations_excluded.csv"});
  if (!huge.empty())
    out.push_back(
        {Finding::error,
         text(counted(huge.size(), "nodule"), " larger than ", kLargest, " mm or than the lungs: ", some(huge)),
         "diameter_mm is a diameter, in mm"});
  if (const double middle = spread_of(diameters).median; middle > 0 && middle < 1)
    out.push_back({Finding::error, text("half of the nodules have less than ", number(middle, 3), " mm"),
                   "the diameters are in cm or m; write them in mm"});
  const bool misplaced = look_at_places(placed, out);
  if (!outside.empty() && !misplaced)
    out.push_back(
        {Finding::warning,
         text("outside their scans: ", outside.size(), " of ", placed.size(), " annotated centres, ", some(outside)),
         "they are left out; the scan may be cropped, or of another series of this patient"});
  if (!not_in_lungs.empty() && !misplaced)
    out.push_back({not_in_lungs.size() * 5 > placed.size() ? Finding::warning : Finding::note,
                   text("outside the lungs found: ", not_in_lungs.size(), " of ", placed.size(), " annotated centres, ",
                        some(not_in_lungs)),
                   "nothing is predicted there, so these cannot be found; --input.lungs false looks everywhere"});
  if (diameters.size() < 20)
    out.push_back({Finding::note, text(counted(diameters.size(), "nodule"), " in all"),
                   "enough to see that it runs; a Dice of so few says little about how well nodules are found"});
}

// ---- names ----------------------------------------------------------------------------------------------------------

// "case03_017" -> "case03", "case03_z17" -> "case03"; "" if the name is not that of a numbered part of something
// numbered.
std::string series_of(const std::string& name) {
  const auto is_digit = [](char c) { return '0' <= c && c <= '9'; };
  const auto is_mark = [](char c) { return c == '_' || c == '-' || c == '.' || c == ' '; };
  size_t end = name.size();
  while (end > 0 && is_digit(name[end - 1])) end--;
  if (end == name.size()) return "";
  while (end > 0 && !is_digit(name[end - 1]) && !is_mark(name[end - 1])) end--;
  if (end == 0 || !is_mark(name[end - 1])) return "";
  const std::string stem = name.substr(0, end - 1);
  return std::any_of(stem.begin(), stem.end(), is_digit) ? stem : "";
}

void look_at_names(const Dataset& data, Findings& out) {
  if (!data.pairs) return;
  std::map<std::string, std::vector<std::string>> series;
  for (const Scan& scan : data.scans)
    if (scan.patient == scan.id) series[series_of(scan.id)].push_back(scan.id);
  series.erase("");
  size_t together = 0;
  const std::vector<std::string>* largest = nullptr;
  for (const auto& [stem, ids] : series) {
    if (ids.size() < 2) continue;
    together += ids.size();
    if (!largest || ids.size() > largest->size()) largest = &ids;
  }
  if (series.size() < 2 || 2 * together < data.scans.size()) return;
  const std::string stem = series_of(largest->front());
  out.push_back(
      {Finding::warning,
       text("names such as ", (*largest)[0], " and ", (*largest)[1],
            " look like slices of one patient, and each picture"
            " counts as a patient: slices of one would lie on both sides of the split, and the Dice would be too good"),
       text("a folder for each patient: images/", stem, "/, masks/", stem, "/")});
}

}  // namespace

// What the masks that were refused for their values hold, and what to say about these.
static Finding about_values(const std::vector<std::string>& masks) {
  std::set<double> values;
  for (const std::string& path : masks) {
    const Image image = read_picture(path);
    with_type(image.type, [&](auto zero) {
      const auto* from = reinterpret_cast<const decltype(zero)*>(image.data.data());
      for (int64_t i = 0; i < image.values() && values.size() < 1000; i++) values.insert(double(from[i]));
    });
  }
  const bool whole =
      std::all_of(values.begin(), values.end(), [](double v) { return v == std::floor(v) && v >= 0 && v <= 255; });
  std::string seen, classes;
  for (double v : values) {
    if (seen.size() < 60) seen += text(seen.empty() ? "" : " ", shortest(v));
    classes += text(classes.empty() ? "" : ",", shortest(v));
  }
  const bool few = values.size() <= 8;  // more are hardly anybody's classes
  return {Finding::error,
          text(counted(masks.size(), "mask"), " with values that are no classes (0 and 255, 0 and 1, or 0 to 31): ",
               masks[0], masks.size() > 1 ? ", ..." : "", "; together they hold ", counted(values.size(), "value"),
               ", ", seen, few ? "" : " ..."),
          few && whole ? text("say what they mean, class 0 first: --classes ", classes)
          : whole      ? "so many values come from JPEG, or from resizing with interpolation: make each pixel 0 or 255 "
                         "again (below 128 or"
                         " not), and resize masks by the nearest neighbour"
                       : "a mask holds whole numbers; is this a map of probabilities? Save (p > 0.5) as 0 and 1"};
}

Findings examine_failures(const std::vector<std::pair<Source, std::string>>& failed) {
  // Messages read "FILE: what; what to do". Those that differ in the file alone belong together.
  struct Group {
    std::string cure;
    std::vector<std::string> files;
  };
  std::map<std::string, Group> groups;
  std::vector<std::string> odd_masks;
  for (const auto& [source, message] : failed) {
    if (!source.mask.empty() && message.starts_with(source.mask + ": holds the values")) {
      odd_masks.push_back(source.mask);
      continue;
    }
    std::string file = source.path, what = message;
    for (const std::string& path : {source.mask, source.path})
      if (!path.empty() && message.starts_with(path + ": ")) file = path, what = message.substr(path.size() + 2);
    const size_t end = what.find("; ");
    Group& group = groups[what.substr(0, end)];
    if (end != what.npos) group.cure = what.substr(end + 2);
    group.files.push_back(file);
  }
  Findings out;
  if (!odd_masks.empty()) out.push_back(about_values(odd_masks));
  for (const auto& [what, group] : groups)
    out.push_back(
        {Finding::error,
         text(group.files[0], group.files.size() > 1 ? text(" and ", group.files.size() - 1, " more") : "", ": ", what),
         group.cure.empty() ? "the file is left out; repair or remove it" : group.cure});
  return out;
}

Findings examine_data(const Dataset& data) {
  Findings out;
  if (data.scans.empty()) return out;
  const std::vector<Sample> samples = samples_of(data);
  look_at_values(data, samples, out);
  look_at_grids(data, out);
  look_at_nodules(data, samples, out);
  look_at_labels(data, samples, out);
  if (const auto twins = doubles(data, samples); !twins.empty())
    out.push_back({Finding::warning,
                   text(counted(twins.size(), data.pairs ? "picture" : "scan"),
                        " with the same voxels as another one: ", short_id(data.scans[twins[0].first].id), " and ",
                        short_id(data.scans[twins[0].second].id), twins.size() > 1 ? ", ..." : ""),
                   "remove one of each two: one could be learnt from and the other judged on"});
  look_at_names(data, out);
  // What was said when the data were read; about single nodules, that is said above.
  for (const std::string& warning : data.warnings)
    if (warning.find(": the nodule at (") == warning.npos && warning.find(": no lung was found") == warning.npos)
      out.push_back({data.pairs ? Finding::warning : Finding::note, warning, ""});
  return out;
}

Findings examine_split(const Dataset& data, const Split& split) {
  Findings out;
  std::set<std::string> learnt, both;
  size_t with_nodules[2] = {0, 0};
  for (size_t i : split.train) learnt.insert(data.scans[i].patient), with_nodules[0] += data.scans[i].foreground > 0;
  for (size_t i : split.validation) {
    if (learnt.contains(data.scans[i].patient)) both.insert(data.scans[i].patient);
    with_nodules[1] += data.scans[i].foreground > 0;
  }
  if (!both.empty())
    out.push_back(
        {Finding::error,
         text(counted(both.size(), "patient"), " on both sides of the split: ", some({both.begin(), both.end()})),
         "split by patient (split_patients in data/dataset/dataset.h); the Dice of such a split is too good"});
  const std::set<size_t> train(split.train.begin(), split.train.end());
  for (const auto& [later, earlier] : doubles(data, samples_of(data)))
    if (train.contains(later) != train.contains(earlier))
      out.push_back({Finding::error,
                     text("the same voxels on both sides of the split: ", short_id(data.scans[later].id), " and ",
                          short_id(data.scans[earlier].id)),
                     "remove one of the two"});
  if (with_nodules[0] == 0)
    out.push_back({Finding::error, "none of the scans to learn from holds a nodule",
                   "more data, or another split: --seed, --held_out"});
  if (with_nodules[1] == 0)
    out.push_back({Finding::warning, "none of the scans held out holds a nodule, so the Dice says nothing",
                   "hold out others: --held_out, --seed, a larger --validation"});
  return out;
}

}  // namespace acinus
