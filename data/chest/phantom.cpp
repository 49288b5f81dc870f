// A phantom is made in four steps: a random body with its vessels and airways (data/chest/anatomy.h); nodules where
// there is room; the image, slice by slice (tissue by its distance to surfaces, tubes, nodules); and the scanner's
// blur, noise and rounding.
#include "data/chest/phantom.h"

#include <filesystem>
#include <span>

#include "data/chest/anatomy.h"
#include "data/formats/annotations.h"
#include "data/formats/volume_io.h"
#include "data/volume/resample.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/parallel.h"

namespace acinus {

using namespace anatomy;

namespace {

// ---- Nodules -------------------------------------------------------------------------------------------------------

// The shape of a nodule. In direction d its surface lies at radius * (1 + sum_k a_k (3 (d.n_k)^2 - 1) / 2 + roughness):
// lobes of heights a_k along the axes n_k.
struct NoduleShape {
  PhantomNodule nodule;
  Point centre;
  float radius, hu;  // part-solid ones have a denser core
  float roughness;   // relative to the radius; 0 on small ones
  uint64_t seed;     // of the roughness
  Point axes[5];
  float lobes[5];

  float surface(Point direction) const {
    float r = 1;
    for (int k = 0; k < 5; k++) r += lobes[k] * (1.5f * square(dot(direction, axes[k])) - 0.5f);
    if (roughness > 0) r += roughness * (texture(direction, 0.8f, seed) + 0.6f * texture(direction, 0.35f, seed));
    return r;
  }
  float distance(Point p) const {
    const float r = length(p - centre);
    return r < 1e-3f ? -radius : r - radius * surface((1 / r) * (p - centre));
  }
};

Point random_direction(Stream& random) {
  for (;;) {
    const Point p{float(random.uniform(-1, 1)), float(random.uniform(-1, 1)), float(random.uniform(-1, 1))};
    if (dot(p, p) <= 1 && dot(p, p) > 1e-4f) return unit(p);
  }
}

NoduleShape make_shape(const PhantomNodule& nodule, Stream& random) {
  const bool large = nodule.diameter_mm >= 6;
  NoduleShape shape{nodule, to_point(nodule.centre), 0, 0, large ? 0.16f : 0, random.bits(), {}, {}};
  for (int k = 0; k < 5; k++) {
    shape.axes[k] = random_direction(random);
    shape.lobes[k] = float(random.uniform(-1, 1)) * (large ? 0.18f : 0.08f);
  }
  double volume = 0;  // relative to the sphere: the mean of r^3 over directions
  for (int i = 0; i < 1000; i++) volume += std::pow(shape.surface(random_direction(random)), 3) / 1000;
  shape.radius = float(nodule.diameter_mm / 2 / std::cbrt(volume));
  // Soft tissue; ground glass is half-filled lung.
  shape.hu = float(nodule.kind == PhantomNodule::solid ? random.uniform(-30, 50) : random.uniform(-620, -400));
  return shape;
}

// Finds room for a sphere: entirely in the image, in a lung (or touching its wall), away from the others. False after
// 20,000 attempts.
bool find_room(PhantomNodule& nodule, const Body& body, const Grid& grid, const std::vector<NoduleShape>& others,
               Stream& random) {
  const float radius = float(nodule.diameter_mm / 2), size = (body.scale.x + body.scale.y + body.scale.z) / 3;
  for (int attempt = 0; attempt < 20000; attempt++) {
    bool fits = true;
    Vec3 voxel;
    for (int i = 0; i < 3; i++) {
      const double margin = std::max(0., radius / grid.spacing[i] - 0.5), last = double(grid.size[i] - 1);
      fits = fits && 2 * margin <= last;
      voxel[i] = random.uniform(margin, last - margin);
    }
    if (!fits) return false;
    nodule.centre = grid.to_world(voxel);
    const Point centre = to_point(nodule.centre);
    const float depth = -size * body.lungs(body.to_reference(centre));  // mm under the pleura
    fits = nodule.at_wall ? std::abs(depth - 0.85f * radius) < 0.4f : depth > radius + 2;
    for (const NoduleShape& other : others)
      fits = fits && length(other.centre - centre) > 1.2f * (radius + float(other.nodule.diameter_mm / 2)) + 4;
    if (fits) return true;
  }
  return false;
}

// Draws nodules where there is room. Half of the larger ones get spicules, strands of about 1 mm out to twice the
// radius, which belong to no mask.
std::vector<NoduleShape> make_nodules(const PhantomOptions& options, const Body& body, const Grid& grid,
                                      Phantom& phantom, Tubes& tubes) {
  Stream random(body.seed, 2);
  std::vector<NoduleShape> shapes;
  const int wanted = random.integer(options.min_nodules, options.max_nodules);
  const int micro = random.integer(0, 3);  // below 3 mm, as in most real scans
  for (int i = 0; i < wanted + micro; i++) {
    const bool counts = i < wanted;
    PhantomNodule nodule;
    nodule.diameter_mm = counts ? nodule_diameter(random.uniform(), options.min_diameter_mm) : random.uniform(1.5, 2.9);
    // About four fifths of LIDC's nodules are solid, the small ones nearly all.
    const double u = nodule.diameter_mm < 5 ? 0 : random.uniform();
    if (u > 0.74) nodule.kind = u > 0.87 ? PhantomNodule::ground_glass : PhantomNodule::part_solid;
    nodule.at_wall = random.chance(0.25);
    if (!find_room(nodule, body, grid, shapes, random)) continue;
    const NoduleShape shape = make_shape(nodule, random);
    shapes.push_back(shape);
    (counts ? phantom.nodules : phantom.excluded).push_back(nodule);
    if (nodule.diameter_mm > 8 && nodule.kind != PhantomNodule::ground_glass && random.chance(0.5))
      for (int k = 0; k < 24; k++) {
        const Point strand = float(random.uniform(1.3, 2.1)) * shape.radius * random_direction(random);
        tubes.walls.push_back({shape.centre, shape.centre + strand, 0.2f * shape.radius, 0.4f});
      }
  }
  return shapes;
}

// ---- The image -----------------------------------------------------------------------------------------------------

struct Painter {
  const Body& body;
  const Grid& grid;  // its direction is the identity
  const Tubes& tubes;
  const std::vector<NoduleShape>& nodules;
  float width = float(std::max(grid.spacing[0], grid.spacing[1]));  // of a voxel in plane, mm: that of the edges
  int cuts = int(std::clamp(std::round(grid.spacing[2] / width), 1., 5.));  // thin slices, whose mean is a thick one

  Point at(int64_t x, int64_t y, double z) const {
    return {float(grid.origin[0] + double(x) * grid.spacing[0]), float(grid.origin[1] + double(y) * grid.spacing[1]),
            float(grid.origin[2] + z * grid.spacing[2])};
  }

  // Calls paint(offset in the slice, point) for each voxel within `reach` of the box between a and b.
  template <class Paint>
  void for_each_near(Point a, Point b, float reach, double z, Paint paint) const {
    const float height = at(0, 0, z).z;
    if (std::min(a.z, b.z) - reach > height || std::max(a.z, b.z) + reach < height) return;
    const auto range = [&](float a, float b, int axis) {
      const double low = (std::min(a, b) - reach - grid.origin[axis]) / grid.spacing[axis];
      const double high = (std::max(a, b) + reach - grid.origin[axis]) / grid.spacing[axis];
      return std::pair(std::max<int64_t>(0, int64_t(std::ceil(low))),
                       std::min(grid.size[axis] - 1, int64_t(std::floor(high))));
    };
    const auto [x0, x1] = range(a.x, b.x, 0);
    const auto [y0, y1] = range(a.y, b.y, 1);
    for (int64_t y = y0; y <= y1; y++)
      for (int64_t x = x0; x <= x1; x++) paint(y * grid.size[0] + x, at(x, y, z));
  }

  // The z, in slices, of a thin cut of a thick slice.
  double cut_at(int64_t slice, int cut) const { return double(slice) + (cut + 0.5) / cuts - 0.5; }

  // Tubes of one kind. Their coverages are combined by the maximum, so that joints do not show; a tube thinner than a
  // voxel is drawn as wide as a voxel, and fainter by the ratio of the areas.
  void paint_tubes(const std::vector<Tube>& tubes, int64_t slice, float hu, std::span<float> image) const {
    std::vector<float> mean(image.size()), cut(image.size());
    for (int c = 0; c < cuts; c++) {
      std::fill(cut.begin(), cut.end(), 0.f);
      for (const Tube& tube : tubes) {
        const float reach = std::max(tube.radius_a, tube.radius_b) + width;
        for_each_near(tube.a, tube.b, reach, cut_at(slice, c), [&](int64_t i, Point p) {
          const auto [distance, radius] = distance_to(tube, p);
          const float drawn = std::max(radius, width / 2);
          cut[i] = std::max(cut[i], coverage(distance + radius - drawn, width) * square(radius / drawn));
        });
      }
      for (size_t i = 0; i < mean.size(); i++) mean[i] += cut[i] / float(cuts);
    }
    for (size_t i = 0; i < mean.size(); i++) image[i] = lerp(image[i], hu, mean[i]);
  }

  // Solid nodules replace what is there, ground glass lets the vessels within show through.
  void paint_nodule(const NoduleShape& shape, int64_t slice, std::span<float> image, uint8_t* mask) const {
    const PhantomNodule::Kind kind = shape.nodule.kind;
    const float soft = width + (kind == PhantomNodule::ground_glass ? 1.f : 0.f), reach = 1.9f * shape.radius + soft;
    if (std::abs(at(0, 0, double(slice)).z - shape.centre.z) > reach + float(grid.spacing[2])) return;
    std::vector<float> covered(image.size()), core(image.size());
    for (int c = 0; c < cuts; c++)
      for_each_near(shape.centre, shape.centre, reach, cut_at(slice, c), [&](int64_t i, Point p) {
        const float distance = shape.distance(p);
        covered[i] += coverage(distance, soft) / float(cuts);
        core[i] += coverage(distance + 0.45f * shape.radius, width) / float(cuts);
      });
    for (size_t i = 0; i < image.size(); i++) {
      if (covered[i] == 0) continue;
      image[i] = lerp(image[i], kind == PhantomNodule::solid ? shape.hu : std::max(image[i], shape.hu), covered[i]);
      if (kind == PhantomNodule::part_solid) image[i] = lerp(image[i], 10, core[i]);
      if (covered[i] >= 0.5f && shape.nodule.diameter_mm >= 3) mask[i] = 1;
    }
  }

  void paint_slice(int64_t z, std::span<float> image, uint8_t* mask) const {
    const std::vector<Tube> near = body.organs_near(body.to_reference(at(0, 0, double(z))).z);
    for (int64_t y = 0; y < grid.size[1]; y++)
      for (int64_t x = 0; x < grid.size[0]; x++)
        image[y * grid.size[0] + x] = body.tissue(body.to_reference(at(x, y, double(z))), width, near);
    paint_tubes(tubes.arteries, z, body.arteries, image);
    paint_tubes(tubes.veins, z, body.veins, image);
    paint_tubes(tubes.walls, z, 30, image);
    paint_tubes(tubes.lumens, z, kAir, image);
    for (const NoduleShape& shape : nodules) paint_nodule(shape, z, image, mask);
  }
};

// ---- The scanner ---------------------------------------------------------------------------------------------------

// Filters by (side, 1, side) * scale along x, then along y; the edges repeat.
void blur(std::vector<float>& image, int64_t nx, int64_t ny, float side, float scale) {
  const std::vector<float> x = image;
  const auto in_x = [&](int64_t i, int64_t j) {
    const float* row = x.data() + j * nx;
    return scale * (row[i] + side * (row[std::max<int64_t>(i - 1, 0)] + row[std::min(i + 1, nx - 1)]));
  };
  for (int64_t j = 0; j < ny; j++)
    for (int64_t i = 0; i < nx; i++)
      image[j * nx + i] =
          scale * (in_x(i, j) + side * (in_x(i, std::max<int64_t>(j - 1, 0)) + in_x(i, std::min(j + 1, ny - 1))));
}

// A point spread of 0.5 mm in plane and a third of a slice along z, then noise. A scanner's noise is not white: on real
// scans, neighbours 0.7 mm apart have a correlation of about 0.7, voxels 2 mm apart hardly any.
void scan_slice(const Volume<float>& exact, int64_t z, double sigma, uint64_t seed, int16_t* out) {
  const auto [nx, ny, nz] = exact.grid.size;
  std::vector<float> image(nx * ny), noise(image.size());
  const float *centre = exact.slice(z), *below = exact.slice(std::max<int64_t>(z - 1, 0)),
              *above = exact.slice(std::min(z + 1, nz - 1));
  for (int64_t i = 0; i < nx * ny; i++) {
    image[i] = 0.88f * centre[i] + 0.06f * (below[i] + above[i]);
    noise[i] = (float(sum_of_four(lattice_hash(i, z, 0, seed))) / 65536 - 2) * 1.7320508f;  // deviation 1
  }
  const float mm = float(exact.grid.spacing[0]);
  const float spread = std::exp(-square(mm / 0.5f) / 2), grain = std::exp(-square(mm / 0.63f) / 2);
  blur(image, nx, ny, spread, 1 / (1 + 2 * spread));                 // keeps the mean
  blur(noise, nx, ny, grain, 1 / std::sqrt(1 + 2 * grain * grain));  // keeps the variance
  for (size_t i = 0; i < image.size(); i++)
    out[i] = int16_t(std::lround(std::clamp(image[i] + float(sigma) * noise[i], -1024.f, 3071.f)));
}

}  // namespace

double nodule_diameter(double u, double min_diameter_mm) {
  // Quantiles of the 1,186 diameters in LUNA16's annotations.csv: minimum, tenths, 95 %, maximum.
  constexpr int n = 12;
  constexpr double share[n] = {0, .1, .2, .3, .4, .5, .6, .7, .8, .9, .95, 1};
  constexpr double mm[n] = {3.25, 4.40, 4.90, 5.31, 5.90, 6.43, 7.30, 8.72, 11.07, 15.48, 18.95, 32.27};
  const auto between = [](double x, const double* from, const double* to) {  // piecewise linear, from -> to
    int i = 1;
    while (i < n - 1 && x > from[i]) i++;
    return to[i - 1] + (to[i] - to[i - 1]) * (x - from[i - 1]) / (from[i] - from[i - 1]);
  };
  check(min_diameter_mm < mm[n - 1], "nodule_diameter: no nodule is as large as ", min_diameter_mm,
        " mm; the largest is ", mm[n - 1], " mm");
  const double below = min_diameter_mm <= mm[0] ? 0 : between(min_diameter_mm, mm, share);
  return between(below + (1 - below) * u, share, mm);
}

Phantom make_phantom(const PhantomOptions& options, uint64_t seed) {
  for (int i = 0; i < 3; i++)
    check(options.size[i] > 0 && options.spacing[i] > 0, "make_phantom: size and spacing must be positive; axis ", i,
          " has ", options.size[i], " voxels of ", options.spacing[i], " mm");
  check(0 <= options.min_nodules && options.min_nodules <= options.max_nodules, "make_phantom: cannot draw from ",
        options.min_nodules, " to ", options.max_nodules, " nodules");
  const Body body(seed);

  // The grid lies around the middle of the lungs; one too narrow for both, around one of them.
  Grid grid{options.size, options.spacing};
  const bool narrow = double(grid.size[0]) * grid.spacing[0] < 180;
  const Point middle = body.to_world({!narrow ? 0.f : Stream(seed, 1).chance(0.5) ? 68.f : -68.f, 0, 0});
  const double centre[3] = {middle.x, middle.y, middle.z};
  for (int i = 0; i < 3; i++) grid.origin[i] = centre[i] - 0.5 * double(grid.size[i] - 1) * grid.spacing[i];

  Phantom phantom;
  phantom.ct = Volume<int16_t>(grid);
  phantom.mask = Volume<uint8_t>(grid);
  Tubes tubes = grow_tubes(body);
  const std::vector<NoduleShape> nodules = make_nodules(options, body, grid, phantom, tubes);
  const Painter painter{body, grid, tubes, nodules};
  Volume<float> exact(grid);
  const size_t slice = grid.size[0] * grid.size[1];
  parallel(grid.size[2], /*pays=*/true, [&](int64_t z) {
    painter.paint_slice(z, {exact.slice(z), slice}, phantom.mask.slice(z));
  });
  parallel(grid.size[2], /*pays=*/true,
           [&](int64_t z) { scan_slice(exact, z, options.noise, splitmix64(seed + 99), phantom.ct.slice(z)); });
  if (options.flip) phantom.ct = reoriented(phantom.ct, "LPI"), phantom.mask = reoriented(phantom.mask, "LPI");
  return phantom;
}

void write_phantom_set(const std::string& folder, const PhantomSetOptions& options,
                       const std::function<void(int done, int scans)>& progress) {
  namespace fs = std::filesystem;
  const fs::path root(folder), scans = root / "subset0", marker = root / "annotations.csv";
  if (fs::exists(marker))
    fail(marker.string(), " exists: ", folder, " holds a complete set. Name another folder, or remove this one");
  make_folder(scans.string());
  const std::string ours = "1.3.6.1.4.1.99999.";  // no hospital's
  std::vector<fs::path> left;                     // over from an interrupted attempt
  for (const fs::directory_entry& file : fs::directory_iterator(scans))
    if (file.path().filename().string().starts_with(ours)) left.push_back(file.path());
  for (const fs::path& file : left) fs::remove(file);

  std::vector<Annotation> annotations, excluded;
  std::string series;
  for (int i = 0; i < options.scans; i++) {
    Stream random(options.seed, 1000 + uint64_t(i));
    PhantomOptions scan = options.scan;
    const double zoom = 1 + options.vary_spacing * random.uniform(-1, 1);
    scan.spacing[0] *= zoom, scan.spacing[1] *= zoom;
    scan.spacing[2] *= 1 + options.vary_spacing * random.uniform(-1, 1);
    scan.noise *= random.uniform(0.6, 1.4);
    scan.flip = random.chance(options.flipped);
    const Phantom phantom = make_phantom(scan, random.bits());
    const std::string uid = text(ours, options.seed, ".", i + 1);
    write_volume((scans / (uid + ".mhd")).string(), phantom.ct, options.compressed);
    for (const PhantomNodule& nodule : phantom.nodules) annotations.push_back({uid, nodule.centre, nodule.diameter_mm});
    for (const PhantomNodule& nodule : phantom.excluded) excluded.push_back({uid, nodule.centre, -1});
    series += uid + "\n";
    if (progress) progress(i + 1, options.scans);
  }
  write_file((root / "seriesuids.csv").string(), series);
  write_annotations((root / "annotations_excluded.csv").string(), excluded);
  write_annotations(marker.string(), annotations);
}

}  // namespace acinus
