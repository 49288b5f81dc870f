#include "data/chest/lungs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "data/volume/components.h"
#include "data/volume/morphology.h"
#include "data/volume/resample.h"
#include "tensor/check.h"
#include "tensor/parallel.h"

namespace acinus {

namespace {

// HU. Lung is -950 to -600, in between its vessels; soft tissue -100 (fat) to 100; gas -1000. Scanners fill what lies
// outside their circle with -2000 or less, which is no air.
constexpr int kDark = -400;      // half-way between lung and tissue
constexpr int kThin = -700;      // lung without vessels, and without the wall between the lungs
constexpr int kGas = -950;       // the median of gas is below; that of a lung only in the gravest emphysema
constexpr int kPadding = -1500;  // at most

constexpr std::pair<int, int> kBeside[] = {{-1, 0}, {1, 0}, {0, -1}, {0, 1}};  // neighbours within a slice

constexpr double kCellMm = 2;  // work is done on cells of at most this
// Radii of the balls that close the lungs. The larger, the less of the outer rim of a large nodule at the wall is lost;
// but on the side of heart, aorta and hilum, a large ball would fill what lies between them.
constexpr double kLateralMm = 30, kMedialMm = 16;

// ---- Cells: voxels taken together, and put in one order (x to the left, y to the back, z to the head) ---------------

// How the cells lie on the scan. Blocks of voxels are counted from the patient's right, front and feet, so that a scan
// that is stored the other way round has the same cells.
struct Cells {
  Grid grid;
  std::array<size_t, 3> axis{};  // of the scan, along each axis of the cells
  std::array<bool, 3> reversed{};
  Index3 block{1, 1, 1};  // voxels along the cells' axes
  Index3 size{};          // of the scan, along the cells' axes

  // The scan's voxels along axis i of the cells that lie in cell number c, in the order of the cells: [first, last).
  std::pair<int64_t, int64_t> voxels(size_t i, int64_t c) const {
    return {c * block[i], std::min((c + 1) * block[i], size[i])};
  }
};

Cells cells_of(const Grid& grid) {
  Cells cells;
  const std::string code = orientation(grid);
  Vec3 corner{};  // voxel index of the first cell's first voxel
  for (size_t i = 0; i < 3; i++) {
    const std::string sides = std::string("RAI").substr(i, 1) + std::string("LPS").substr(i, 1);
    const size_t from = code.find_first_of(sides);
    cells.axis[i] = from;
    cells.reversed[i] = code[from] == sides[1];
    cells.size[i] = grid.size[from];
    cells.block[i] = std::clamp<int64_t>(int64_t(kCellMm / grid.spacing[from] + 1e-3), 1, cells.size[i]);
    cells.grid.size[i] = (cells.size[i] + cells.block[i] - 1) / cells.block[i];
    cells.grid.spacing[i] = grid.spacing[from] * double(cells.block[i]);
    cells.grid.direction[i] = grid.direction[from];
    if (cells.reversed[i])
      for (double& d : cells.grid.direction[i]) d = 0 - d;
    const double middle = double(cells.block[i] - 1) / 2;
    corner[from] = cells.reversed[i] ? double(grid.size[from] - 1) - middle : middle;
  }
  cells.grid.origin = grid.to_world(corner);
  return cells;
}

// Calls f(cell, voxel) with the offsets in memory of each voxel of the slices of one layer of cells.
template <class F>
void for_each_voxel(const Cells& cells, const Grid& scan, int64_t layer, F f) {
  const int64_t memory[3] = {1, scan.size[0], scan.size[0] * scan.size[1]};
  int64_t step[3], start = 0;
  for (size_t i = 0; i < 3; i++) {
    step[i] = cells.reversed[i] ? -memory[cells.axis[i]] : memory[cells.axis[i]];
    if (cells.reversed[i]) start += (cells.size[i] - 1) * memory[cells.axis[i]];
  }
  const auto [z0, z1] = cells.voxels(2, layer);
  for (int64_t z = z0; z < z1; z++)
    for (int64_t y = 0; y < cells.size[1]; y++) {
      const int64_t row = cells.grid.offset(0, y / cells.block[1], layer);
      const int64_t from = start + z * step[2] + y * step[1];
      for (int64_t c = 0, x = 0; c < cells.grid.size[0]; c++)
        for (const int64_t end = std::min(x + cells.block[0], cells.size[0]); x < end; x++)
          f(row + c, from + x * step[0]);
    }
}

// The mean HU of each cell; kPadding where half of it or more is padding.
Volume<int16_t> mean_of_cells(const Volume<int16_t>& ct, const Cells& cells) {
  Volume<int16_t> mean(cells.grid);
  const int64_t layer = cells.grid.size[0] * cells.grid.size[1];
  struct Sum {
    int32_t hu = 0, voxels = 0, padding = 0;
  };
  parallel(cells.grid.size[2], /*pays=*/ct.grid.voxels() > 10000, [&](int64_t z) {
    std::vector<Sum> sums(static_cast<size_t>(layer));
    for_each_voxel(cells, ct.grid, z, [&](int64_t cell, int64_t voxel) {
      const int16_t hu = ct.voxels[size_t(voxel)];
      Sum& sum = sums[size_t(cell - z * layer)];
      if (hu <= kPadding)
        sum.padding++;
      else
        sum.hu += hu, sum.voxels++;
    });
    for (int64_t i = 0; i < layer; i++) {
      const Sum& sum = sums[size_t(i)];
      mean.slice(z)[i] = int16_t(sum.padding >= sum.voxels ? kPadding : sum.hu / sum.voxels);
    }
  });
  return mean;
}

// ---- The airways ----------------------------------------------------------------------------------------------------

double ml_of(const Grid& grid, int64_t voxels) {
  return double(voxels) * grid.spacing[0] * grid.spacing[1] * grid.spacing[2] / 1000;
}

// A piece of gas in one slice.
struct Disc {
  int64_t cells = 0, z = 0, one = 0;  // one: the offset of one of its cells
  double x = 0, y = 0, area = 0;      // centre, mm from the grid's corner; mm^2
  int below = -1;                     // the disc that continues it in the next slice down
  double length = 0;                  // mm from the bottom of its chain of discs
};

// Round pieces of gas of a trachea's size, with a wall within 5 mm around them. A trachea is 10 to 27 mm wide.
std::vector<Disc> discs_of(const Volume<int16_t>& hu, int64_t z) {
  Grid flat = hu.grid;
  flat.size[2] = 1;
  const int64_t nx = flat.size[0], ny = flat.size[1];
  Volume<uint8_t> gas(flat);
  for (int64_t i = 0; i < nx * ny; i++) gas.voxels[size_t(i)] = hu.slice(z)[i] > kPadding && hu.slice(z)[i] < -900;
  const Components pieces = label_components(gas);
  struct Box {
    int64_t x0 = std::numeric_limits<int64_t>::max(), x1 = -1, y0 = x0, y1 = -1, sum_x = 0, sum_y = 0, one = 0;
    int64_t around = 0, tissue = 0;
  };
  std::vector<Box> boxes(pieces.sizes.size());
  for (int64_t y = 0; y < ny; y++)
    for (int64_t x = 0; x < nx; x++) {
      const int32_t label = pieces.labels.at(x, y, 0);
      if (!label) continue;
      Box& box = boxes[size_t(label)];
      box.x0 = std::min(box.x0, x), box.x1 = std::max(box.x1, x), box.y0 = std::min(box.y0, y), box.y1 = y;
      box.sum_x += x, box.sum_y += y, box.one = hu.grid.offset(x, y, z);
      for (const auto& [dx, dy] : kBeside) {
        bool edge = false, wall = false;
        for (int64_t i = 1, last = int64_t(std::ceil(5 / flat.spacing[dx ? 0 : 1])); i <= last; i++) {
          const int64_t u = x + i * dx, v = y + i * dy;
          if (u < 0 || u >= nx || v < 0 || v >= ny) break;
          if (i == 1) edge = pieces.labels.at(u, v, 0) != label;
          wall = wall || hu.at(u, v, z) > -500;
        }
        box.around += edge, box.tissue += edge && wall;
      }
    }
  std::vector<Disc> discs;
  const double mm_x = flat.spacing[0], mm_y = flat.spacing[1];
  for (int32_t label = 1; label <= pieces.count(); label++) {
    const Box& box = boxes[size_t(label)];
    const double n = double(pieces.sizes[size_t(label)]), area = n * mm_x * mm_y;
    const double wide = double(box.x1 - box.x0 + 1) * mm_x, deep = double(box.y1 - box.y0 + 1) * mm_y;
    if (area < 40 || area > 650 || wide > 2.5 * deep || deep > 2.5 * wide || area < 0.5 * wide * deep) continue;
    if (box.x0 == 0 || box.y0 == 0 || box.x1 == nx - 1 || box.y1 == ny - 1) continue;
    if (double(box.tissue) < 0.75 * double(box.around)) continue;
    discs.push_back(
        {pieces.sizes[size_t(label)], z, box.one, double(box.sum_x) / n * mm_x, double(box.sum_y) / n * mm_y, area});
  }
  return discs;
}

// One cell in each slice of the trachea: of all columns of discs, each above the next, the longest of those whose
// middle lies above the middle of the lungs. Empty if none is 20 mm
// long.
std::vector<int64_t> find_trachea(const Volume<int16_t>& hu) {
  const int64_t nz = hu.grid.size[2];
  const double mm = hu.grid.spacing[2];
  double lung = 0, height = 0;  // of what is as dense as lung
  for (int64_t z = 0; z < nz; z++) {
    const int64_t n = std::count_if(hu.slice(z), hu.slice(z) + hu.grid.size[0] * hu.grid.size[1],
                                    [](int16_t v) { return v > kGas && v < -600; });
    lung += double(n), height += double(n) * double(z);
  }
  height /= std::max(lung, 1.0);

  std::vector<std::vector<Disc>> slices(static_cast<size_t>(nz));
  parallel(nz, /*pays=*/hu.grid.voxels() > 10000, [&](int64_t z) { slices[size_t(z)] = discs_of(hu, z); });
  const Disc* top = nullptr;
  for (int64_t z = 0; z < nz; z++)
    for (Disc& disc : slices[size_t(z)]) {
      disc.length = mm;
      double nearest = 5 + mm;  // mm that a trachea moves from slice to slice, at most
      for (size_t i = 0; z > 0 && i < slices[size_t(z - 1)].size(); i++) {
        const Disc& below = slices[size_t(z - 1)][i];
        const double way = std::hypot(below.x - disc.x, below.y - disc.y);
        if (way >= nearest || below.area > 1.7 * disc.area || disc.area > 1.7 * below.area) continue;
        nearest = way, disc.below = int(i), disc.length = mm + below.length;
      }
      const double middle = double(z) - disc.length / mm / 2;
      if (disc.length >= 20 && middle > height && (!top || disc.length > top->length)) top = &disc;
    }
  std::vector<int64_t> column;
  for (const Disc* disc = top; disc;
       disc = disc->below < 0 ? nullptr : &slices[size_t(disc->z - 1)][size_t(disc->below)])
    column.push_back(disc->one);
  return column;
}

// Cells below a threshold that are joined to the seeds by faces; empty if they come to more than `most`.
std::vector<int64_t> grown(const Volume<int16_t>& hu, const std::vector<int64_t>& seeds, int below, int64_t most) {
  const Index3 size = hu.grid.size;
  const int64_t step[3] = {1, size[0], size[0] * size[1]};
  std::vector<uint8_t> seen(hu.voxels.size());
  std::vector<int64_t> cells;
  const auto visit = [&](int64_t i) {
    if (seen[size_t(i)] || hu.voxels[size_t(i)] >= below || hu.voxels[size_t(i)] <= kPadding) return;
    seen[size_t(i)] = 1;
    cells.push_back(i);
  };
  for (const int64_t seed : seeds) visit(seed);
  for (size_t next = 0; next < cells.size(); next++) {
    if (int64_t(cells.size()) > most) return {};
    const int64_t i = cells[next], at[3] = {i % size[0], i / size[0] % size[1], i / step[2]};
    for (size_t axis = 0; axis < 3; axis++) {
      if (at[axis] > 0) visit(i - step[axis]);
      if (at[axis] + 1 < size[axis]) visit(i + step[axis]);
    }
  }
  return cells;
}

// Trachea and main bronchi: the region that grows from the trachea, at the highest threshold at which
// it does not yet leak into the lungs (K. Mori et al., 1996); of it what a ball of 3 mm radius fits into.
// Without the walls: they are removed before the lungs are looked for, not from what was found.
Volume<uint8_t> find_airways(const Volume<int16_t>& hu) {
  Volume<uint8_t> airways(hu.grid);
  const std::vector<int64_t> seeds = find_trachea(hu);
  if (seeds.empty()) return airways;
  const int64_t most = int64_t(90 / ml_of(hu.grid, 1));
  for (int below = -780; below >= -960; below -= 20) {
    const std::vector<int64_t> cells = grown(hu, seeds, below, most);
    if (cells.empty()) continue;
    for (const int64_t i : cells) airways.voxels[size_t(i)] = 1;
    return opened(airways, 3);
  }
  return airways;
}

// ---- The lungs ------------------------------------------------------------------------------------------------------

// What one component is.
struct Piece {
  int32_t label = 0;
  int64_t cells = 0;
  double ml = 0;
  Vec3 middle{};     // mean, mm in the world
  double width = 0;  // mm along the cells' x axis
  int median = 0;    // HU
  // Its sides but for top and bottom: how many a cell has, and which share lies at the border of the picture or at
  // padding.
  double sides = 0, rim = 0;
  bool cut[2] = {false, false};  // touches the lowest, the highest slice
};

// The components of at least `least` ml, the largest first.
std::vector<Piece> pieces_of(const Components& components, const Volume<int16_t>& hu, double least_ml) {
  const Grid& grid = hu.grid;
  std::vector<Piece> pieces;
  for (int32_t label = 1; label <= components.count(); label++) {
    const int64_t cells = components.sizes[size_t(label)];
    if (ml_of(grid, cells) < least_ml || pieces.size() == 64) break;
    Piece piece;
    piece.label = label, piece.cells = cells, piece.ml = ml_of(grid, cells);
    pieces.push_back(piece);
  }
  struct Sums {
    Vec3 middle{};
    int64_t sides = 0, rim = 0, x0 = std::numeric_limits<int64_t>::max(), x1 = -1;
    std::vector<int64_t> histogram = std::vector<int64_t>(size_t(kDark - kPadding));
  };
  std::vector<Sums> sums(pieces.size());
  for (int64_t z = 0; z < grid.size[2]; z++)
    for (int64_t y = 0; y < grid.size[1]; y++)
      for (int64_t x = 0; x < grid.size[0]; x++) {
        const size_t label = size_t(components.labels.at(x, y, z));
        if (label == 0 || label > pieces.size()) continue;
        Sums& sum = sums[label - 1];
        sum.histogram[size_t(hu.at(x, y, z) - kPadding)]++;
        sum.middle[0] += double(x), sum.middle[1] += double(y), sum.middle[2] += double(z);
        sum.x0 = std::min(sum.x0, x), sum.x1 = std::max(sum.x1, x);
        for (const auto& [dx, dy] : kBeside) {
          const int64_t u = x + dx, v = y + dy;
          const bool rim = u < 0 || u >= grid.size[0] || v < 0 || v >= grid.size[1] || hu.at(u, v, z) <= kPadding;
          sum.rim += rim;
          sum.sides += rim || components.labels.at(u, v, z) == 0;
        }
        if (z == 0) pieces[label - 1].cut[0] = true;
        if (z == grid.size[2] - 1) pieces[label - 1].cut[1] = true;
      }
  for (size_t i = 0; i < pieces.size(); i++) {
    Piece& piece = pieces[i];
    const Sums& sum = sums[i];
    const double n = double(piece.cells);
    size_t bin = 0;
    for (int64_t below = sum.histogram[0]; 2 * below < piece.cells; below += sum.histogram[bin]) bin++;
    piece.median = int(bin) + kPadding;
    piece.middle = grid.to_world({sum.middle[0] / n, sum.middle[1] / n, sum.middle[2] / n});
    piece.width = double(sum.x1 - sum.x0 + 1) * grid.spacing[0];
    piece.sides = double(sum.sides) / n;
    piece.rim = double(sum.rim) / double(std::max<int64_t>(sum.sides, 1));
  }
  return pieces;
}

// Leaves those that may be lung. Gas in stomach and bowel and the air around the body have their HU, the latter with
// blankets in it much of the picture's border; the table's foam is small and lies at the border; noise is all sides;
// and what has no side but the border is no picture of a chest.
void keep_lungs(std::vector<Piece>& pieces) {
  std::erase_if(pieces, [](const Piece& piece) {
    return piece.median < kGas || (piece.rim > 0.3 && piece.median < kGas + 25) || piece.rim > 0.95 ||
           piece.sides > 1.5;
  });
  if (pieces.empty()) return;
  const double largest = pieces[0].ml;
  std::erase_if(pieces, [&](const Piece& piece) { return piece.rim > 0.3 && piece.ml < 0.25 * largest; });
}

// Adds the cells that have one of these labels.
void add(Volume<uint8_t>& mask, const Components& components, const std::vector<int32_t>& labels) {
  std::vector<uint8_t> wanted(components.sizes.size());
  for (const int32_t label : labels) wanted[size_t(label)] = 1;
  for (size_t i = 0; i < mask.voxels.size(); i++)
    if (wanted[size_t(components.labels.voxels[i])]) mask.voxels[i] = 1;
}

// Cuts lungs that are one piece, as where they touch behind the sternum, into two: without its denser cells, which are
// most of the thin wall between them, it is shrunken until it falls apart; then each cell goes to the nearer part.
// Leaves `second` empty if there are no two large parts that lie side by side.
void split(Volume<uint8_t>& lung, Volume<uint8_t>& second, const Volume<int16_t>& hu) {
  Volume<uint8_t> thin = lung;
  for (size_t i = 0; i < thin.voxels.size(); i++) thin.voxels[i] = lung.voxels[i] && hu.voxels[i] < kThin;
  for (const double radius : {2., 4., 7., 11.}) {
    const Components cores = label_components(eroded(thin, radius));
    const std::vector<Piece> pieces = pieces_of(cores, hu, 1);
    if (pieces.size() < 2 || pieces[1].ml < 0.1 * pieces[0].ml) continue;
    if (std::abs(pieces[0].middle[0] - pieces[1].middle[0]) < 60) continue;
    Volume<uint8_t> core(lung.grid);
    add(core, cores, {pieces[0].label});
    const Volume<float> to_first = squared_distance(core);
    core = Volume<uint8_t>(lung.grid);
    add(core, cores, {pieces[1].label});
    const Volume<float> to_second = squared_distance(core);
    for (size_t i = 0; i < lung.voxels.size(); i++)
      if (lung.voxels[i] && to_second.voxels[i] < to_first.voxels[i]) lung.voxels[i] = 0, second.voxels[i] = 1;
    return;
  }
}

// What is enclosed on all sides: a tumour deep in the lung.
void fill_holes(Volume<uint8_t>& mask) {
  Volume<uint8_t> outside(mask.grid);
  for (size_t i = 0; i < mask.voxels.size(); i++) outside.voxels[i] = !mask.voxels[i];
  const Components holes = label_components(outside);
  std::vector<uint8_t> open(holes.sizes.size());
  open[0] = 1;
  const auto [nx, ny, nz] = mask.grid.size;
  for (int64_t z = 0; z < nz; z++)
    for (int64_t y = 0; y < ny; y++) {
      const bool whole_row = y == 0 || y == ny - 1 || z == 0 || z == nz - 1;
      for (int64_t x = 0; x < nx; x += whole_row || nx == 1 ? 1 : nx - 1) open[size_t(holes.labels.at(x, y, z))] = 1;
    }
  for (size_t i = 0; i < mask.voxels.size(); i++)
    if (!open[size_t(holes.labels.voxels[i])]) mask.voxels[i] = 1;
}

// Closed by the large ball where cells lie further outwards than the lung's middle, else by the small one.
Volume<uint8_t> closed_lung(const Volume<uint8_t>& lung, double middle, bool left) {
  Volume<uint8_t> result = closed(lung, kMedialMm);
  const Volume<uint8_t> wide = closed(lung, kLateralMm);
  const Grid& grid = lung.grid;
  const double step = grid.spacing[0] * grid.direction[0][0];
  for (int64_t z = 0; z < grid.size[2]; z++)
    for (int64_t y = 0; y < grid.size[1]; y++) {
      const double x0 = grid.to_world({0, double(y), double(z)})[0];
      for (int64_t x = 0; x < grid.size[0]; x++)
        if ((x0 + double(x) * step > middle) == left) result.at(x, y, z) |= wide.at(x, y, z);
    }
  return result;
}

// Mean world x of the cells for which in(offset) holds.
template <class In>
double middle_x(const Grid& grid, In in) {
  Vec3 sum{};
  double n = 0;
  for (int64_t z = 0, i = 0; z < grid.size[2]; z++)
    for (int64_t y = 0; y < grid.size[1]; y++)
      for (int64_t x = 0; x < grid.size[0]; x++, i++)
        if (in(size_t(i))) sum[0] += double(x), sum[1] += double(y), sum[2] += double(z), n++;
  for (double& s : sum) s /= std::max(n, 1.0);
  return grid.to_world(sum)[0];
}

// Makes padding of the air around the body and of the gas in stomach and bowel, with the layer of cells where they meet
// tissue: where a picture's border or thick slices leave little of the wall between, they must not join the lungs.
void remove_gas(Volume<int16_t>& hu, const Volume<uint8_t>& airways) {
  Volume<uint8_t> gas(hu.grid), outside(hu.grid);
  for (size_t i = 0; i < gas.voxels.size(); i++)
    gas.voxels[i] = hu.voxels[i] > kPadding && hu.voxels[i] < kGas && !airways.voxels[i];
  const Components components = label_components(gas);
  std::vector<int32_t> labels;
  for (const Piece& piece : pieces_of(components, hu, 5))
    if (piece.rim > 0.2 || piece.median < kGas - 20) labels.push_back(piece.label);
  if (labels.empty()) return;
  add(outside, components, labels);
  outside = dilated(outside, 1.5 * std::max(hu.grid.spacing[0], hu.grid.spacing[1]));
  for (size_t i = 0; i < hu.voxels.size(); i++)
    if (outside.voxels[i]) hu.voxels[i] = kPadding;
}

// The cells that are lung before anything is filled: one volume for each lung, or one and an empty one.
std::array<Volume<uint8_t>, 2> find_both(const Volume<int16_t>& hu, const Volume<uint8_t>& airways) {
  const Grid& grid = hu.grid;
  std::array<Volume<uint8_t>, 2> both{Volume<uint8_t>(grid), Volume<uint8_t>(grid)};
  Volume<uint8_t> dark = dilated(airways, 2);  // with their walls
  for (size_t i = 0; i < dark.voxels.size(); i++)
    dark.voxels[i] = hu.voxels[i] > kPadding && hu.voxels[i] < kDark && !dark.voxels[i];
  const Components components = label_components(dark);

  // A lung has more than 5 cm^2 in the mean of the slices; 60 ml suffice. The second is not much smaller than the
  // first: else it is something else.
  const double height = double(grid.size[2]) * grid.spacing[2], least = std::min(60., 0.5 * height);
  std::vector<Piece> pieces = pieces_of(components, hu, least / 12);
  keep_lungs(pieces);
  if (pieces.empty() || pieces[0].ml < least) return both;
  const bool two = pieces.size() > 1 && pieces[1].ml > std::max(least, 0.08 * pieces[0].ml);
  add(both[0], components, {pieces[0].label});
  if (!two || pieces[0].width > 190) split(both[0], both[1], hu);
  const bool was_split = std::find(both[1].voxels.begin(), both[1].voxels.end(), 1) != both[1].voxels.end();
  if (two && !was_split) add(both[1], components, {pieces[1].label});

  // Where the scan's first or last slice cuts a lung, it may be in pieces there: each goes to the lung on its side. The
  // gas in the bowel is cut there, too, so these pieces must be denser than the lungs need be.
  const double x[2] = {middle_x(grid, [&](size_t i) { return both[0].voxels[i] != 0; }),
                       middle_x(grid, [&](size_t i) { return both[1].voxels[i] != 0; })};
  const size_t used = two && !was_split ? 2 : 1;
  for (size_t i = used; i < pieces.size(); i++) {
    const Piece& piece = pieces[i];
    if (piece.median < kGas + 30) continue;
    bool cut = false;
    for (size_t k = 0; k < used; k++)
      cut = cut || (piece.cut[0] && pieces[k].cut[0]) || (piece.cut[1] && pieces[k].cut[1]);
    const bool second = (two || was_split) && std::abs(piece.middle[0] - x[1]) < std::abs(piece.middle[0] - x[0]);
    if (cut) add(both[second], components, {piece.label});
  }
  return both;
}

}  // namespace

Lungs find_lungs(const Volume<int16_t>& ct) {
  check(int64_t(ct.voxels.size()) == ct.grid.voxels(), "find_lungs: ", ct.voxels.size(), " voxels on a grid of ",
        ct.grid.voxels());
  Lungs lungs;
  lungs.mask = Volume<uint8_t>(ct.grid);
  const auto without = [&](const std::string& why) {
    lungs.warnings.push_back("no lung was found: " + why);
    return lungs;
  };
  if (ct.voxels.empty()) return without("the scan has no voxels");
  for (const double spacing : ct.grid.spacing)
    if (!(spacing >= 0.05 && spacing <= 50)) return without(text("voxels of ", spacing, " mm are not those of a CT"));

  const Cells cells = cells_of(ct.grid);
  Volume<int16_t> hu = mean_of_cells(ct, cells);
  const Volume<uint8_t> airways = find_airways(hu);
  remove_gas(hu, airways);
  const auto any = [](const Volume<uint8_t>& mask) {
    return std::find(mask.voxels.begin(), mask.voxels.end(), 1) != mask.voxels.end();
  };
  std::array<Volume<uint8_t>, 2> both = find_both(hu, airways);
  if (!any(both[0])) return without("no large dark region with tissue around and within it");
  const bool two = any(both[1]);

  // The left lung lies further to +x than the other; a single one, than the tissue around it.
  const double x[2] = {
      middle_x(cells.grid, [&](size_t i) { return both[0].voxels[i] != 0; }),
      middle_x(cells.grid, [&](size_t i) { return two ? both[1].voxels[i] != 0 : hu.voxels[i] > -200; })};
  const bool first_is_left = x[0] > x[1];

  // Each by itself: the gap between the lungs stays open.
  enum Code : uint8_t { none, first, second, at_first, at_second };
  Volume<uint8_t> code(cells.grid);
  for (size_t k = 0; k < (two ? 2 : 1); k++) {
    both[k] = closed_lung(both[k], x[k], first_is_left == (k == 0));
    fill_holes(both[k]);
    for (size_t i = 0; i < code.voxels.size(); i++)
      if (both[k].voxels[i] && !airways.voxels[i] && !code.voxels[i]) code.voxels[i] = k == 0 ? first : second;
  }

  // Cells beside the lungs that are not dark as a whole: of these, the dark voxels belong to them.
  const Index3 size = cells.grid.size;
  const int64_t step[3] = {1, size[0], size[0] * size[1]};
  for (int64_t z = 0, i = 0; z < size[2]; z++)
    for (int64_t y = 0; y < size[1]; y++)
      for (int64_t x = 0; x < size[0]; x++, i++) {
        if (code.voxels[size_t(i)] != none || hu.voxels[size_t(i)] < kDark) continue;
        const int64_t at[3] = {x, y, z};
        uint8_t beside = none;
        for (size_t axis = 0; axis < 3; axis++)
          for (const int64_t to : {-1, 1}) {
            if (at[axis] + to < 0 || at[axis] + to >= size[axis]) continue;
            const uint8_t other = code.voxels[size_t(i + to * step[axis])];
            if (other == first || other == second) beside = std::max(beside, other);
          }
        if (beside != none) code.voxels[size_t(i)] = beside == first ? at_first : at_second;
      }

  std::vector<std::array<int64_t, 2>> counts(size_t(size[2]), {0, 0});  // voxels of each lung, by layer
  parallel(size[2], /*pays=*/ct.grid.voxels() > 10000, [&](int64_t z) {
    for_each_voxel(cells, ct.grid, z, [&](int64_t cell, int64_t voxel) {
      const uint8_t what = code.voxels[size_t(cell)];
      if (what == none) return;
      const int16_t value = ct.voxels[size_t(voxel)];
      if (what >= at_first && (value >= kDark || value <= kPadding)) return;
      lungs.mask.voxels[size_t(voxel)] = 1;
      counts[size_t(z)][what == second || what == at_second]++;
    });
  });
  double ml[2] = {0, 0};
  for (const std::array<int64_t, 2>& count : counts)
    for (size_t k : {0, 1}) ml[k] += ml_of(ct.grid, count[k]);

  lungs.left_ml = ml[!first_is_left];
  lungs.right_ml = ml[first_is_left];
  if (!two)
    lungs.warnings.push_back("only one lung was found, or both are joined so that they could not be told apart");
  if (!any(airways)) lungs.warnings.push_back("no trachea was found; if the scan shows it, it counts as lung");
  const double sum = ml[0] + ml[1];
  if (sum < 1000 || sum > 9000)
    lungs.warnings.push_back(text("the lungs have ", std::lround(sum), " ml, an adult's 2000 to 7000"));
  return lungs;
}

}  // namespace acinus
