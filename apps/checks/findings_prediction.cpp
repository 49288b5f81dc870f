// What is wrong with a mask that somebody predicted, or drew, for a scan.
#include <algorithm>
#include <cmath>
#include <set>

#include "apps/checks/findings.h"
#include "apps/checks/misreadings.h"
#include "data/chest/lungs.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {

namespace {

std::string in_words(const Vec3& v) {
  return text("(", number(v[0], 4), ", ", number(v[1], 4), ", ", number(v[2], 4), ")");
}
std::string in_words(const Index3& n) { return text(n[0], "x", n[1], "x", n[2]); }

bool near(const Vec3& a, const Vec3& b, double tolerance) {
  for (size_t i = 0; i < 3; i++)
    if (!(std::abs(a[i] - b[i]) <= tolerance)) return false;
  return true;
}

// Two grids of the same size: what differs? Files that hold floats round, so not to the last bit.
void compare_grids(const Grid& mask, const Grid& scan, Findings& out) {
  std::string differs;
  const auto add = [&](const char* what, const std::string& here, const std::string& there) {
    differs += text(differs.empty() ? "" : "; ", what, " ", here, ", the scan's ", there);
  };
  const double voxel = *std::min_element(scan.spacing.begin(), scan.spacing.end());
  bool turned = false;
  if (!near(mask.origin, scan.origin, 0.05 * voxel)) add("origin", in_words(mask.origin), in_words(scan.origin));
  if (!near(mask.spacing, scan.spacing, 1e-3 * voxel)) add("spacing", in_words(mask.spacing), in_words(scan.spacing));
  for (size_t i = 0; i < 3; i++) turned = turned || !near(mask.direction[i], scan.direction[i], 1e-3);
  if (turned) add("direction", orientation(mask), orientation(scan));
  if (differs.empty()) return;
  const bool ras = near({-mask.origin[0], -mask.origin[1], mask.origin[2]}, scan.origin, 0.05 * voxel);
  out.push_back(
      {Finding::error, "the mask is not on the scan's grid: " + differs,
       ras ? "x and y have the other sign: it was written in RAS (NIfTI's frame) into a file in LPS (MetaImage's)"
           : "copy origin, spacing and direction from the scan's header (SimpleITK: mask.CopyInformation(scan));"
             " where the voxels differ, too, resample to the scan's grid by the nearest neighbour"});
}

// Which voxels are in the mask, whatever numbers say so; none at all, not even 0, if these are no mask.
Volume<uint8_t> look_at_values(const Image& image, const Grid& grid, bool is_picture, Findings& out) {
  Volume<uint8_t> mask(grid);
  std::set<double> values;  // the first thousand
  int64_t not_finite = 0;
  double low = INFINITY, high = -INFINITY;
  bool whole = true;
  with_type(image.type, [&](auto zero) {
    const auto* from = reinterpret_cast<const decltype(zero)*>(image.data.data());
    for (size_t i = 0; i < mask.voxels.size(); i++) {
      const double value = double(from[i]);
      if (!std::isfinite(value)) {
        not_finite++;
        continue;
      }
      low = std::min(low, value), high = std::max(high, value);
      whole = whole && value == std::floor(value);
      if (values.size() < 1000) values.insert(value);
      mask.voxels[i] = value > 0.5;
    }
  });
  if (not_finite > 0)
    out.push_back({Finding::error, text("not finite (NaN): ", not_finite, " of the mask's voxels"),
                   "the network put them out: ./doctor --run names the layer"});
  if (values.empty()) return mask;
  if (!whole && low >= 0 && high <= 1)
    out.push_back({Finding::error,
                   text("this is a map of probabilities (", number(low, 4), " to ", number(high, 4), "), not a mask"),
                   "a mask is where they exceed a threshold: (p > 0.5), as 0 and 1; below it is looked at so"});
  else if (!whole || low < 0 || (values.size() > 2 && high >= double(kMostClasses))) {
    out.push_back({Finding::error,
                   text("the values ", number(low, 4), " to ", number(high, 4), " are not those of a mask"),
                   "0 is background, 1 nodule; is this the scan, or a picture with grey edges (JPEG, resized with"
                   " interpolation)?"});
    mask.voxels.clear();
  } else if (high == 255)
    out.push_back({is_picture ? Finding::note : Finding::warning, "the mask is of 0 and 255",
                   "programs that expect 0 and 1 count 255-fold, or see nothing: divide by 255"});
  else if (high > 1)
    out.push_back({Finding::note, text("the mask holds values up to ", number(high, 4), ": several classes"),
                   "all but 0 are looked at as one here"});
  return mask;
}

// Does a voxel of the mask lie in the nodule, if its centre is at `at`?
bool is_hit(const Volume<uint8_t>& mask, const Annotation& nodule, const Vec3& at) {
  const Grid& grid = mask.grid;
  if (!grid.contains(at)) return false;
  const double radius = std::clamp(nodule.diameter_mm, 0., 200.) / 2;
  Index3 low, high, nearest;
  for (size_t i = 0; i < 3; i++) {
    low[i] = std::max<int64_t>(0, int64_t(std::floor(at[i] - radius / grid.spacing[i])));
    high[i] = std::min<int64_t>(grid.size[i] - 1, int64_t(std::ceil(at[i] + radius / grid.spacing[i])));
    nearest[i] = std::clamp<int64_t>(std::llround(at[i]), 0, grid.size[i] - 1);
  }
  for (int64_t z = low[2]; z <= high[2]; z++)
    for (int64_t y = low[1]; y <= high[1]; y++)
      for (int64_t x = low[0]; x <= high[0]; x++) {
        if (!mask.at(x, y, z)) continue;
        const Vec3 d{(double(x) - at[0]) * grid.spacing[0], (double(y) - at[1]) * grid.spacing[1],
                     (double(z) - at[2]) * grid.spacing[2]};
        if (d[0] * d[0] + d[1] * d[1] + d[2] * d[2] <= radius * radius || Index3{x, y, z} == nearest) return true;
      }
  return false;
}

void look_at_places(const Volume<uint8_t>& mask, const std::string& uid, const std::string& annotations, bool empty,
                    Findings& out) {
  std::vector<Annotation> nodules;
  for (const Annotation& a : read_annotations(annotations))
    if (a.seriesuid == uid) nodules.push_back(a);
  if (nodules.empty()) {
    out.push_back({Finding::note, text(annotations, " names no nodule of ", uid),
                   "the name of the scan's file must be its seriesuid"});
    return;
  }
  if (empty) {
    out.push_back({Finding::error,
                   text("the mask is empty, in a scan with ", counted(nodules.size(), "annotated nodule")),
                   "a lower --threshold; is the window of ./predict's network that of its training? ./doctor --run"});
    return;
  }
  size_t hits = 0, fitting = 0;
  for (const Annotation& a : nodules) hits += is_hit(mask, a, mask.grid.to_voxel(a.centre));
  const std::string what = text(hits, " of ", counted(nodules.size(), "annotated nodule"),
                                nodules.size() == 1 ? " holds" : " hold", " voxels of the mask");
  const Misreading* misreading =
      hits > 0 ? nullptr : best_misreading(nodules, 0, fitting, [&](const Annotation& a, auto voxel) {
        return is_hit(mask, a, voxel(mask.grid, a.centre));
      });
  if (misreading)
    out.push_back({Finding::error, text(what, "; ", misreading->what, ", ", fitting, " do"),
                   text("either ", misreading->cure, "; or the mask is flipped")});
  else if (hits == 0)
    out.push_back({Finding::warning, what, "they were not found, or mask and list are not of the same scan"});
  else
    out.push_back({Finding::note, what, ""});
}

}  // namespace

Findings examine_prediction(const std::string& mask_path, const std::string& scan_path,
                            const std::string& annotations) {
  Findings out;
  const Volume<int16_t> scan = read_volume<int16_t>(scan_path);
  const Image image = read_picture(mask_path);
  if (image.channels != 1) {
    out.push_back({Finding::error, text(mask_path, ": has ", image.channels, " channels; a mask has one"),
                   "save the classes as numbers, not as colours"});
    return out;
  }
  const Grid grid = grid_of(image, mask_path);
  if (grid.size != scan.grid.size) {
    out.push_back({Finding::error,
                   text("the mask is not on the scan's grid: ", in_words(grid.size), " voxels, the scan ",
                        in_words(scan.grid.size)),
                   grid.size == Index3{scan.grid.size[2], scan.grid.size[1], scan.grid.size[0]}
                       ? "x and z are exchanged: numpy's axes are z,y,x"
                       : "resample it to the scan's grid by the nearest neighbour (data/volume/resample.h)"});
    return out;
  }
  const bool is_picture = volume_ending(mask_path).empty();  // whose file knows no millimetres
  if (!is_picture) compare_grids(grid, scan.grid, out);
  const Volume<uint8_t> mask = look_at_values(image, scan.grid, is_picture, out);
  if (mask.voxels.empty()) return out;

  const auto voxels = double(std::count(mask.voxels.begin(), mask.voxels.end(), 1));
  const double share = voxels / double(mask.voxels.size());
  if (voxels == 0 && annotations.empty())
    out.push_back(
        {Finding::warning, "the mask is empty", "right, if the scan holds no nodule; else a lower --threshold"});
  if (share > 0.05)
    out.push_back({share > 0.5 ? Finding::error : Finding::warning,
                   text(percent(share, 4), " of the voxels are in the mask"),
                   share > 0.5 ? "it is inverted, perhaps: background must be 0"
                               : "nodules are less than 0.1 % of a scan; a higher --threshold, or a network that was "
                                 "trained for longer"});
  if (voxels > 0) {
    const Volume<uint8_t> lungs = find_lungs(scan).mask;
    double outside = 0, found = 0;
    for (size_t i = 0; i < mask.voxels.size(); i++)
      outside += mask.voxels[i] && !lungs.voxels[i], found += lungs.voxels[i];
    if (found == 0)
      out.push_back({Finding::warning, "no lungs were found in the scan",
                     "is it a chest CT in Hounsfield units? ./doctor --data says more"});
    else if (outside > 0.3 * voxels)
      out.push_back(
          {Finding::warning, text(percent(outside / voxels, 4), " of the mask lies outside the lungs"),
           "is it flipped, or of another scan? A network trained with --input.lungs true predicts nothing there"});
  }
  if (!annotations.empty()) look_at_places(mask, volume_name(scan_path), annotations, voxels == 0, out);
  return out;
}

}  // namespace acinus
