// The lungs in five steps, after S. Hu, E. Hoffman, J. Reinhardt, "Automatic Lung Segmentation for Accurate
// Quantitation of Volumetric X-Ray CT Images", IEEE TMI 20, 2001: threshold, remove the airways, keep the components
// that can be lung, separate left from right, and smooth the outline. The outline is closed by a ball, as in S. Armato
// et al., "Computerized Detection of Pulmonary Nodules on CT Scans", RadioGraphics 19, 1999, so that nodules at the
// wall stay. All of it runs on cells of at most 2 mm of the scan in its upright orientation; the outline then follows
// the voxels.
#include "data/chest/lungs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "data/volume/components.h"
#include "data/volume/morphology.h"
#include "data/volume/resample.h"
#include "tensor/parallel.h"

namespace acinus {

namespace {

// ---- Constants ------------------------------------------------------------------------------------------------------
// Where no source is named, a value was tuned on phantoms (data/chest/phantom.h), on the three scans of LIDC-IDRI that
// the tests read, and on the bodies of tests/data/test_lungs.cpp.

// HU. Textbook densities: aerated lung with its vessels -950 to -600; fat -100; soft tissue up to 100; gas -1000.
constexpr int kDark = -400;               // half-way between lung and soft tissue
constexpr int kThin = -700;               // above: vessels, and the wall between the lungs
constexpr int kLung = -600;               // below: lung tissue, where the mean height of the lungs is taken
constexpr int kTissue = -200;             // above: the body around a single lung
constexpr int kGas = -950;                // a region of gas has a median below; a lung only in the gravest emphysema
constexpr int kBowelGas = kGas - 20;      // gas in stomach or bowel has a median below
constexpr int kLungAtBorder = kGas + 25;  // a lung at the image's border has at least this median
constexpr int kFragment = kGas + 30;  // a fragment of a lung that the first or last slice cuts has at least this one
constexpr int kPadding = -1500;       // scanners fill what lies outside their circle with -2000 or less

constexpr double kCellMm = 2;                               // largest side of a cell
constexpr double kMinSpacingMm = 0.05, kMaxSpacingMm = 50;  // of voxels; beyond these, the scan is not a CT

// The trachea, a column of round discs of gas. It is 10 to 27 mm wide (E. Breatnach, G. Abbott, R. Fraser, "Dimensions
// of the Normal Human Trachea", AJR 142, 1984), so that a disc has 80 to 570 mm^2, measured in cells.
constexpr int kTracheaGas = -900, kTracheaWall = -500;  // HU: below inside, above in the wall
constexpr double kMinDiscMm2 = 40, kMaxDiscMm2 = 650;
constexpr double kMaxElongation = 2.5;  // of width to depth, or of depth to width
constexpr double kMinExtent = 0.5;      // area / area of the bounding box; a circle has 0.79
constexpr double kWallMm = 5;           // the wall begins within this distance ...
constexpr double kMinWalled = 0.75;     // ... along this fraction of the outline
constexpr double kMaxShiftMm = 5;       // from slice to slice, in addition to the slice's thickness
constexpr double kMaxAreaRatio = 1.7;   // of consecutive discs
constexpr double kMinTracheaMm = 20;    // length

// The airways.
constexpr int kFirstThreshold = -780, kLastThreshold = -960, kThresholdStep = 20;  // HU
constexpr double kMaxAirwaysMl = 90;  // a larger region has leaked into the lungs
constexpr double kBronchusMm = 3;     // smallest radius of a bronchus that is removed
constexpr double kAirwayWallMm = 2;   // removed with it

// What makes a component a lung.
constexpr double kMinLungMl = 60;           // a whole lung has 1000 to 4000 ml, but a scan may cut it off
constexpr double kMinLungCm2 = 5;           // mean area over all slices, if that is less than kMinLungMl
constexpr double kFragmentsPerLung = 12;    // a fragment has at least the least lung's ml divided by this
constexpr double kMinSecondLung = 0.08;     // ml of the smaller lung / ml of the larger
constexpr double kMaxBorder = 0.3;          // fraction of its sides at the border of the image
constexpr double kMaxBorderOfAny = 0.95;    // above it, no chest surrounds the region
constexpr double kMinShareAtBorder = 0.25;  // ml / ml of the largest, if beyond kMaxBorder; the table's foam has less
constexpr double kMaxSidesPerCell = 1.5;    // exposed sides; noise has more
constexpr size_t kMaxRegions = 64;

// Gas in stomach and bowel, and the air around the body.
constexpr double kMinGasMl = 5, kMaxGasBorder = 0.2;
constexpr double kGasLayerCells = 1.5;  // thickness of the layer that is removed with it

// Two lungs that touch.
constexpr double kMaxLungWidthMm = 190;                // wider regions are both lungs
constexpr double kSplitRadiiMm[] = {2, 4, 7, 11};      // of erosion, until two cores remain
constexpr double kMinCoreMl = 1, kMinCoreRatio = 0.1;  // of each core; of the smaller core to the larger
constexpr double kMinApartMm = 60;                     // between their centres, along x

// Radii of the balls that close the lungs. The larger, the less of the outer rim of a large nodule at the wall is lost;
// but on the side of heart, aorta and hilum, a large ball would fill what lies between them.
constexpr double kLateralMm = 30, kMedialMm = 16;

// An adult's lungs have about 2000 to 7000 ml; a warning is given beyond these.
constexpr double kMinTotalMl = 1000, kMaxTotalMl = 9000;

constexpr std::pair<int, int> kNeighbours[] = {{-1, 0}, {1, 0}, {0, -1}, {0, 1}};  // within a slice

using Mask = Volume<uint8_t>;

template <class Inside>
Mask mask_where(const Grid& grid, Inside inside) {
  Mask mask(grid);
  for (size_t i = 0; i < mask.voxels.size(); i++) mask.voxels[i] = inside(i);
  return mask;
}

double ml_of(const Grid& grid, int64_t voxels) {
  return double(voxels) * grid.spacing[0] * grid.spacing[1] * grid.spacing[2] / 1000;
}

// The mean (x, y, z) of the cells in a mask.
Vec3 mean_index(const Mask& mask) {
  Vec3 sum{};
  double n = 0;
  for_each_voxel(mask.grid, [&](int64_t x, int64_t y, int64_t z, int64_t i) {
    if (mask.voxels[i]) sum[0] += double(x), sum[1] += double(y), sum[2] += double(z), n++;
  });
  for (double& s : sum) s /= std::max(n, 1.0);
  return sum;
}

double mean_x(const Mask& mask) { return mask.grid.to_world(mean_index(mask))[0]; }  // in the world

// Not worth waking other threads for less.
bool pays(const Grid& grid) { return grid.voxels() > 10000; }

// ---- Cells: blocks of voxels taken together -------------------------------------------------------------------------

struct Cells {
  Grid grid;
  Index3 block;  // voxels of a cell along each axis; less in the last cells
};

Cells cells_of(const Grid& scan) {
  Cells cells{scan, {}};
  Vec3 centre;  // of the first cell, in voxels
  for (int i = 0; i < 3; i++) {
    const int64_t block = std::clamp<int64_t>(int64_t(kCellMm / scan.spacing[i] + 1e-3), 1, scan.size[i]);
    cells.block[i] = block;
    cells.grid.size[i] = (scan.size[i] + block - 1) / block;
    cells.grid.spacing[i] *= double(block);
    centre[i] = double(block - 1) / 2;
  }
  cells.grid.origin = scan.to_world(centre);
  return cells;
}

// Calls f(cell, voxel) with the offsets in memory of each voxel of one layer (z) of cells.
template <class F>
void for_each_in_layer(const Cells& cells, const Grid& scan, int64_t layer, F f) {
  const int64_t end = std::min((layer + 1) * cells.block[2], scan.size[2]);
  for (int64_t z = layer * cells.block[2]; z < end; z++)
    for (int64_t y = 0; y < scan.size[1]; y++) {
      const int64_t row = cells.grid.offset(0, y / cells.block[1], layer), from = scan.offset(0, y, z);
      for (int64_t c = 0, x = 0; c < cells.grid.size[0]; c++)
        for (const int64_t end = std::min(x + cells.block[0], scan.size[0]); x < end; x++) f(row + c, from + x);
    }
}

// The mean HU of each cell; kPadding where half of it or more is padding.
Volume<int16_t> mean_of_cells(const Volume<int16_t>& ct, const Cells& cells) {
  Volume<int16_t> mean(cells.grid);
  struct Sum {
    int32_t hu = 0, voxels = 0, padding = 0;
  };
  parallel(cells.grid.size[2], pays(ct.grid), [&](int64_t z) {
    const int64_t layer = cells.grid.size[0] * cells.grid.size[1];
    std::vector<Sum> sums(layer);
    for_each_in_layer(cells, ct.grid, z, [&](int64_t cell, int64_t voxel) {
      const int16_t hu = ct.voxels[voxel];
      Sum& sum = sums[cell - z * layer];
      if (hu <= kPadding)
        sum.padding++;
      else
        sum.hu += hu, sum.voxels++;
    });
    std::ranges::transform(sums, mean.slice(z), [](const Sum& sum) {
      return int16_t(sum.padding >= sum.voxels ? kPadding : sum.hu / sum.voxels);
    });
  });
  return mean;
}

// ---- The airways ----------------------------------------------------------------------------------------------------

// A component of gas in one slice that may be a cross-section of the trachea.
struct Disc {
  int64_t cell;                 // offset of one of its cells
  double x, y, area;            // centre, mm from the grid's corner; mm^2
  double length;                // mm from the bottom of its column of discs
  const Disc* below = nullptr;  // the disc that continues it in the next slice down
};

// Is there a wall within kWallMm of cell (x,y) in this direction?
bool has_wall(const Volume<int16_t>& hu, int64_t x, int64_t y, int64_t z, int dx, int dy) {
  const int64_t reach = int64_t(std::ceil(kWallMm / hu.grid.spacing[dx ? 0 : 1]));
  for (int64_t i = 1; i <= reach; i++) {
    const int64_t u = x + i * dx, v = y + i * dy;
    if (u < 0 || u >= hu.grid.size[0] || v < 0 || v >= hu.grid.size[1]) return false;
    if (hu.at(u, v, z) > kTracheaWall) return true;
  }
  return false;
}

// Round components of gas of a trachea's size with a wall around them.
std::vector<Disc> discs_of(const Volume<int16_t>& hu, int64_t z) {
  Grid flat = hu.grid;
  flat.size[2] = 1;
  const int16_t* const slice = hu.slice(z);
  const Components gas =
      label_components(mask_where(flat, [&](size_t i) { return slice[i] > kPadding && slice[i] < kTracheaGas; }));
  struct Sums {
    int64_t x0 = std::numeric_limits<int64_t>::max(), x1 = -1, y0 = x0, y1 = -1, x = 0, y = 0, cell = 0;
    int64_t outline = 0, walled = 0;  // sides of its cells
  };
  const int64_t nx = flat.size[0], ny = flat.size[1];
  std::vector<Sums> sums(gas.sizes.size());
  for_each_voxel(flat, [&](int64_t x, int64_t y, int64_t, int64_t i) {
    const int32_t label = gas.labels.voxels[i];
    if (!label) return;
    Sums& sum = sums[label];
    sum.x0 = std::min(sum.x0, x), sum.x1 = std::max(sum.x1, x), sum.y0 = std::min(sum.y0, y), sum.y1 = y;
    sum.x += x, sum.y += y, sum.cell = hu.grid.offset(x, y, z);
    for (const auto& [dx, dy] : kNeighbours) {
      const int64_t u = x + dx, v = y + dy;
      if (u < 0 || u >= nx || v < 0 || v >= ny || gas.labels.at(u, v, 0) == label) continue;
      sum.outline++, sum.walled += has_wall(hu, x, y, z, dx, dy);
    }
  });
  std::vector<Disc> discs;
  const double mm_x = flat.spacing[0], mm_y = flat.spacing[1];
  for (int32_t label = 1; label <= gas.count(); label++) {
    const Sums& sum = sums[label];
    const double n = double(gas.sizes[label]), area = n * mm_x * mm_y;
    const double wide = double(sum.x1 - sum.x0 + 1) * mm_x, deep = double(sum.y1 - sum.y0 + 1) * mm_y;
    const bool at_border = sum.x0 == 0 || sum.y0 == 0 || sum.x1 == nx - 1 || sum.y1 == ny - 1;
    const bool round =
        wide <= kMaxElongation * deep && deep <= kMaxElongation * wide && area >= kMinExtent * wide * deep;
    if (area < kMinDiscMm2 || area > kMaxDiscMm2 || !round || at_border) continue;
    if (double(sum.walled) < kMinWalled * double(sum.outline)) continue;
    discs.push_back({sum.cell, double(sum.x) / n * mm_x, double(sum.y) / n * mm_y, area, flat.spacing[2]});
  }
  return discs;
}

// One cell in each slice of the trachea: of all columns of discs, each above the next, the longest of those whose
// middle lies above the middle of the lungs. Empty if none is long enough.
std::vector<int64_t> find_trachea(const Volume<int16_t>& hu) {
  const int64_t nz = hu.grid.size[2];
  const double mm = hu.grid.spacing[2];
  const Mask lung = mask_where(hu.grid, [&](size_t i) { return hu.voxels[i] > kGas && hu.voxels[i] < kLung; });
  const double lungs_z = mean_index(lung)[2];
  std::vector<std::vector<Disc>> slices(nz);
  parallel(nz, pays(hu.grid), [&](int64_t z) { slices[z] = discs_of(hu, z); });
  const Disc* top = nullptr;
  for (int64_t z = 1; z < nz; z++)
    for (Disc& disc : slices[z]) {
      double nearest = kMaxShiftMm + mm;
      for (const Disc& below : slices[z - 1]) {
        const double shift = std::hypot(below.x - disc.x, below.y - disc.y);
        if (shift >= nearest || below.area > kMaxAreaRatio * disc.area || disc.area > kMaxAreaRatio * below.area)
          continue;
        nearest = shift, disc.below = &below, disc.length = mm + below.length;
      }
      const double middle = double(z) - disc.length / mm / 2;
      if (disc.length >= kMinTracheaMm && middle > lungs_z && (!top || disc.length > top->length)) top = &disc;
    }
  std::vector<int64_t> column;
  for (const Disc* disc = top; disc; disc = disc->below) column.push_back(disc->cell);
  return column;
}

// Cells below a threshold that are joined to the seeds by faces; empty if there are more than `max_cells`.
std::vector<int64_t> grow_region(const Volume<int16_t>& hu, const std::vector<int64_t>& seeds, int threshold,
                                 int64_t max_cells) {
  const Index3 size = hu.grid.size;
  const int64_t step[3] = {1, size[0], size[0] * size[1]};
  std::vector<uint8_t> seen(hu.voxels.size());
  std::vector<int64_t> cells;
  const auto visit = [&](int64_t i) {
    if (seen[i] || hu.voxels[i] >= threshold || hu.voxels[i] <= kPadding) return;
    seen[i] = 1;
    cells.push_back(i);
  };
  for (const int64_t seed : seeds) visit(seed);
  for (size_t next = 0; next < cells.size(); next++) {
    if (int64_t(cells.size()) > max_cells) return {};
    const int64_t i = cells[next], index[3] = {i % size[0], i / size[0] % size[1], i / step[2]};
    for (int axis = 0; axis < 3; axis++) {
      if (index[axis] > 0) visit(i - step[axis]);
      if (index[axis] + 1 < size[axis]) visit(i + step[axis]);
    }
  }
  return cells;
}

// Trachea and main bronchi: the region that grows from the trachea, at the highest threshold at which it does not yet
// leak into the lungs (K. Mori et al., "Recognition of Bronchus in Three-Dimensional X-ray CT Images", ICPR 1996);
// opened by a ball, which drops thinner bronchi. The walls are not part of it: they are left out where the lungs are
// searched, but not cut from what was found.
Mask find_airways(const Volume<int16_t>& hu) {
  Mask airways(hu.grid);
  const std::vector<int64_t> seeds = find_trachea(hu);
  if (seeds.empty()) return airways;
  const int64_t max_cells = int64_t(kMaxAirwaysMl / ml_of(hu.grid, 1));
  for (int threshold = kFirstThreshold; threshold >= kLastThreshold; threshold -= kThresholdStep) {
    const std::vector<int64_t> cells = grow_region(hu, seeds, threshold, max_cells);
    if (cells.empty()) continue;
    for (const int64_t i : cells) airways.voxels[i] = 1;
    return opened(airways, kBronchusMm);
  }
  return airways;
}

// ---- The lungs ------------------------------------------------------------------------------------------------------

// Measures of one component.
struct Region {
  int32_t label = 0;
  double ml = 0;
  double centre_x = 0;  // of the mean, mm in the world
  double width = 0;     // mm along the cells' x axis
  int median = 0;       // HU
  // Exposed sides within a slice: how many a cell has, and which share lies at the border of the image or at padding.
  double sides = 0, border = 0;
  bool at_bottom = false, at_top = false;  // touches the lowest, the highest slice
};

// The components of at least min_ml, the largest first.
std::vector<Region> measure_regions(const Components& components, const Volume<int16_t>& hu, double min_ml) {
  const Grid& grid = hu.grid;
  std::vector<Region> regions;
  for (int32_t label = 1; label <= components.count() && regions.size() < kMaxRegions; label++) {
    const double ml = ml_of(grid, components.sizes[label]);
    if (ml < min_ml) break;
    regions.push_back({label, ml});
  }
  struct Sums {
    Vec3 index{};
    int64_t x0 = std::numeric_limits<int64_t>::max(), x1 = -1;
    std::vector<int64_t> histogram = std::vector<int64_t>(kDark - kPadding);
  };
  std::vector<Sums> sums(regions.size());
  for_each_voxel(grid, [&](int64_t x, int64_t y, int64_t z, int64_t i) {
    const size_t label = components.labels.voxels[i];
    if (label == 0 || label > regions.size()) return;
    Region& region = regions[label - 1];
    Sums& sum = sums[label - 1];
    sum.histogram[hu.voxels[i] - kPadding]++;
    sum.index[0] += double(x), sum.index[1] += double(y), sum.index[2] += double(z);
    sum.x0 = std::min(sum.x0, x), sum.x1 = std::max(sum.x1, x);
    for (const auto& [dx, dy] : kNeighbours) {
      const int64_t u = x + dx, v = y + dy;
      const bool border = u < 0 || u >= grid.size[0] || v < 0 || v >= grid.size[1] || hu.at(u, v, z) <= kPadding;
      region.border += border;
      region.sides += border || components.labels.at(u, v, z) == 0;
    }
    region.at_bottom |= z == 0, region.at_top |= z == grid.size[2] - 1;
  });
  for (size_t i = 0; i < regions.size(); i++) {
    Region& region = regions[i];
    const Sums& sum = sums[i];
    const int64_t cells = components.sizes[region.label];
    const double n = double(cells);
    int bin = 0;
    for (int64_t below = sum.histogram[0]; 2 * below < cells; below += sum.histogram[bin]) bin++;
    region.median = bin + kPadding;
    region.centre_x = grid.to_world({sum.index[0] / n, sum.index[1] / n, sum.index[2] / n})[0];
    region.width = double(sum.x1 - sum.x0 + 1) * grid.spacing[0];
    region.border /= std::max(region.sides, 1.0);
    region.sides /= n;
  }
  return regions;
}

// Keeps the regions that may be lung. Gas in stomach and bowel is thinner than lung. The air around the
// body may have a lung's HU where blankets lie in it, but it touches much of the image's border. The table's foam is
// small and lies at the border; noise has more sides; a region with hardly any side but the border is not in a chest.
void keep_lungs(std::vector<Region>& regions) {
  std::erase_if(regions, [](const Region& region) {
    return region.median < kGas || (region.border > kMaxBorder && region.median < kLungAtBorder) ||
           region.border > kMaxBorderOfAny || region.sides > kMaxSidesPerCell;
  });
  if (regions.empty()) return;
  const double largest = regions[0].ml;
  std::erase_if(regions, [&](const Region& region) {
    return region.border > kMaxBorder && region.ml < kMinShareAtBorder * largest;
  });
}

// Adds the cells that have one of these labels.
void add(Mask& mask, const Components& components, const std::vector<int32_t>& labels) {
  std::vector<uint8_t> wanted(components.sizes.size());
  for (const int32_t label : labels) wanted[label] = 1;
  for (size_t i = 0; i < mask.voxels.size(); i++)
    if (wanted[components.labels.voxels[i]]) mask.voxels[i] = 1;
}

// Cuts lungs that are one component, as where they touch behind the sternum, into two: without its denser cells, which
// are most of the thin wall between them, it is eroded until it falls apart; then each cell goes to the nearer core.
// One mask, as before, if there are no two large cores that lie side by side.
std::vector<Mask> split(const Mask& lung, const Volume<int16_t>& hu) {
  const Mask thin = mask_where(lung.grid, [&](size_t i) { return lung.voxels[i] && hu.voxels[i] < kThin; });
  for (const double radius : kSplitRadiiMm) {
    const Components cores = label_components(eroded(thin, radius));
    const std::vector<Region> regions = measure_regions(cores, hu, kMinCoreMl);
    if (regions.size() < 2 || regions[1].ml < kMinCoreRatio * regions[0].ml) continue;
    if (std::abs(regions[0].centre_x - regions[1].centre_x) < kMinApartMm) continue;
    const auto distance_to = [&](int32_t label) {
      return squared_distance(mask_where(lung.grid, [&](size_t i) { return cores.labels.voxels[i] == label; }));
    };
    const Volume<float> to_first = distance_to(regions[0].label), to_second = distance_to(regions[1].label);
    const auto in_second = [&](size_t i) { return to_second.voxels[i] < to_first.voxels[i]; };
    return {mask_where(lung.grid, [&](size_t i) { return lung.voxels[i] && !in_second(i); }),
            mask_where(lung.grid, [&](size_t i) { return lung.voxels[i] && in_second(i); })};
  }
  return {lung};
}

// Fills what the mask encloses on all sides, such as a tumour deep in the lung.
void fill_holes(Mask& mask) {
  const Components holes = label_components(mask_where(mask.grid, [&](size_t i) { return !mask.voxels[i]; }));
  std::vector<uint8_t> open(holes.sizes.size());  // reaches the border of the grid
  open[0] = 1;
  const Index3 size = mask.grid.size;
  for_each_voxel(mask.grid, [&](int64_t x, int64_t y, int64_t z, int64_t i) {
    if (x == 0 || x == size[0] - 1 || y == 0 || y == size[1] - 1 || z == 0 || z == size[2] - 1)
      open[holes.labels.voxels[i]] = 1;
  });
  for (size_t i = 0; i < mask.voxels.size(); i++)
    if (!open[holes.labels.voxels[i]]) mask.voxels[i] = 1;
}

// Closed by the large ball where cells lie further outwards than the lung's middle, else by the small one.
Mask closed_lung(const Mask& lung, double middle, bool left) {
  Mask result = closed(lung, kMedialMm);
  const Mask wide = closed(lung, kLateralMm);
  for_each_voxel(lung.grid, [&](int64_t x, int64_t y, int64_t z, int64_t i) {
    if (wide.voxels[i] && (lung.grid.to_world({double(x), double(y), double(z)})[0] > middle) == left)
      result.voxels[i] = 1;
  });
  return result;
}

// Turns into padding the air around the body and the gas in stomach and bowel, with the layer of cells where they meet
// tissue: where the image's border or thick slices leave little of the wall between, they must not join the lungs.
void remove_gas(Volume<int16_t>& hu, const Mask& airways) {
  const Components gas = label_components(mask_where(
      hu.grid, [&](size_t i) { return hu.voxels[i] > kPadding && hu.voxels[i] < kGas && !airways.voxels[i]; }));
  std::vector<int32_t> labels;
  for (const Region& region : measure_regions(gas, hu, kMinGasMl))
    if (region.border > kMaxGasBorder || region.median < kBowelGas) labels.push_back(region.label);
  if (labels.empty()) return;
  Mask removed(hu.grid);
  add(removed, gas, labels);
  removed = dilated(removed, kGasLayerCells * std::max(hu.grid.spacing[0], hu.grid.spacing[1]));
  for (size_t i = 0; i < hu.voxels.size(); i++)
    if (removed.voxels[i]) hu.voxels[i] = kPadding;
}

// The cells that are lung before anything is filled: a mask for each of at most two lungs.
std::vector<Mask> find_both(const Volume<int16_t>& hu, const Mask& airways) {
  const Grid& grid = hu.grid;
  const Mask walled = dilated(airways, kAirwayWallMm);
  const Components dark = label_components(
      mask_where(grid, [&](size_t i) { return hu.voxels[i] > kPadding && hu.voxels[i] < kDark && !walled.voxels[i]; }));
  const double height = double(grid.size[2]) * grid.spacing[2];
  const double min_ml = std::min(kMinLungMl, kMinLungCm2 / 10 * height);
  std::vector<Region> regions = measure_regions(dark, hu, min_ml / kFragmentsPerLung);
  keep_lungs(regions);
  if (regions.empty() || regions[0].ml < min_ml) return {};
  const bool two = regions.size() > 1 && regions[1].ml > std::max(min_ml, kMinSecondLung * regions[0].ml);
  std::vector<Mask> both{Mask(grid)};
  add(both[0], dark, {regions[0].label});
  if (!two || regions[0].width > kMaxLungWidthMm) both = split(both[0], hu);
  const size_t used = two && both.size() == 1 ? 2 : 1;
  if (used == 2) add(both.emplace_back(grid), dark, {regions[1].label});

  // Where the scan's first or last slice cuts a lung, it may be in fragments there: each goes to the lung on its side.
  // The gas in the bowel is cut there, too, so fragments must be denser than lungs need be.
  const double x[2] = {mean_x(both[0]), both.size() == 2 ? mean_x(both[1]) : INFINITY};
  for (size_t i = used; i < regions.size(); i++) {
    const Region& region = regions[i];
    const bool cut = std::any_of(regions.begin(), regions.begin() + used, [&](const Region& lung) {
      return (region.at_bottom && lung.at_bottom) || (region.at_top && lung.at_top);
    });
    if (!cut || region.median < kFragment) continue;
    const bool second = std::abs(region.centre_x - x[1]) < std::abs(region.centre_x - x[0]);
    add(both[second], dark, {region.label});
  }
  return both;
}

// ---- From cells back to voxels --------------------------------------------------------------------------------------

// Of a cell at the edge of a lung, only the dark voxels are lung.
enum CellLabel : uint8_t { outside, first, second, edge_of_first, edge_of_second };

// Smooths each lung by itself, so that the gap between them stays open, and finds the edges: cells that touch a lung
// and are not dark as a whole.
Volume<uint8_t> label_cells(const std::vector<Mask>& both, const double* x, const Volume<int16_t>& hu,
                            const Mask& airways) {
  Volume<uint8_t> labels(hu.grid);
  for (size_t k = 0; k < both.size(); k++) {
    Mask lung = closed_lung(both[k], x[k], x[k] > x[1 - k]);
    fill_holes(lung);
    for (size_t i = 0; i < labels.voxels.size(); i++)
      if (lung.voxels[i] && !airways.voxels[i] && !labels.voxels[i]) labels.voxels[i] = k == 0 ? first : second;
  }
  const Index3 size = hu.grid.size;
  const int64_t step[3] = {1, size[0], size[0] * size[1]};
  for_each_voxel(hu.grid, [&](int64_t x, int64_t y, int64_t z, int64_t i) {
    if (labels.voxels[i] != outside || hu.voxels[i] < kDark) return;
    const int64_t index[3] = {x, y, z};
    uint8_t touched = outside;
    for (int axis = 0; axis < 3; axis++)
      for (const int64_t by : {-1, 1}) {
        if (index[axis] + by < 0 || index[axis] + by >= size[axis]) continue;
        const uint8_t other = labels.voxels[i + by * step[axis]];
        if (other == first || other == second) touched = std::max(touched, other);
      }
    if (touched != outside) labels.voxels[i] = touched == first ? edge_of_first : edge_of_second;
  });
  return labels;
}

// Sets the voxels of the cells' lungs; the ml of each.
std::array<double, 2> set_voxels(Mask& mask, const Volume<int16_t>& ct, const Cells& cells,
                                 const Volume<uint8_t>& labels) {
  std::vector<std::array<int64_t, 2>> counts(cells.grid.size[2], {0, 0});  // by layer
  parallel(cells.grid.size[2], pays(ct.grid), [&](int64_t z) {
    for_each_in_layer(cells, ct.grid, z, [&](int64_t cell, int64_t voxel) {
      const uint8_t label = labels.voxels[cell];
      if (label == outside) return;
      const int16_t hu = ct.voxels[voxel];
      if (label >= edge_of_first && (hu >= kDark || hu <= kPadding)) return;
      mask.voxels[voxel] = 1;
      counts[z][label == second || label == edge_of_second]++;
    });
  });
  std::array<double, 2> ml{};
  for (const auto& count : counts)
    for (int k = 0; k < 2; k++) ml[k] += ml_of(ct.grid, count[k]);
  return ml;
}

Lungs without_lungs(const Grid& grid, const std::string& why) {
  return {Mask(grid), 0, 0, {"no lung was found: " + why}};
}

// Of a scan with x to the patient's left, y to the back and z to the head.
Lungs find_upright(const Volume<int16_t>& ct) {
  const Cells cells = cells_of(ct.grid);
  Volume<int16_t> hu = mean_of_cells(ct, cells);
  const Mask airways = find_airways(hu);
  remove_gas(hu, airways);
  const std::vector<Mask> both = find_both(hu, airways);
  if (both.empty()) return without_lungs(ct.grid, "no large dark region with tissue around and within it");
  const bool two = both.size() == 2;
  const Mask tissue = mask_where(hu.grid, [&](size_t i) { return hu.voxels[i] > kTissue; });
  // The left lung lies further to +x than the other; a single one, than the tissue around it.
  const double x[2] = {mean_x(both[0]), mean_x(two ? both[1] : tissue)};
  const bool first_is_left = x[0] > x[1];
  Lungs lungs{Mask(ct.grid), 0, 0, {}};
  const std::array<double, 2> ml = set_voxels(lungs.mask, ct, cells, label_cells(both, x, hu, airways));
  lungs.left_ml = ml[!first_is_left];
  lungs.right_ml = ml[first_is_left];

  if (!two)
    lungs.warnings.emplace_back("only one lung was found, or both are joined so that they could not be told apart");
  if (std::ranges::find(airways.voxels, 1) == airways.voxels.end())
    lungs.warnings.emplace_back("no trachea was found; if the scan shows it, it counts as lung");
  const double sum = ml[0] + ml[1];
  if (sum < kMinTotalMl || sum > kMaxTotalMl)
    lungs.warnings.push_back(text("the lungs have ", std::lround(sum), " ml, an adult's 2000 to 7000"));
  return lungs;
}

}  // namespace

Lungs find_lungs(const Volume<int16_t>& ct) {
  check_volume("find_lungs", ct);
  if (ct.voxels.empty()) return without_lungs(ct.grid, "the scan has no voxels");
  for (const double spacing : ct.grid.spacing)
    if (!(spacing >= kMinSpacingMm && spacing <= kMaxSpacingMm))
      return without_lungs(ct.grid, text("voxels of ", spacing, " mm are not those of a CT"));
  const std::string code = orientation(ct.grid);
  if (code == "RAI") return find_upright(ct);
  Lungs lungs = find_upright(reoriented(ct, "RAI"));
  lungs.mask.grid.direction = Grid().direction;  // RAI also where an oblique grid's orientation is ambiguous
  lungs.mask = reoriented(lungs.mask, code);
  lungs.mask.grid = ct.grid;
  return lungs;
}

}  // namespace acinus
