// How a phantom is made:
//   1. Body       an adult of random size. Organs are signed distances (mm, negative inside) in the coordinates of a
//                 reference adult: origin between the lungs at half their height, +x left, +y back, +z head.
//   2. grow_tree  vessels and bronchi of each lung, from the hilum to random points of the lung.
//   3. nodules    drawn sizes, placed where there is room.
//   4. paint      slice by slice: tissue by distance, then tubes, then nodules; edges are anti-aliased: a voxel is
//                 covered by clamp(1/2 - distance/width).
//   5. scan       the scanner's blur and noise, rounding to int16.
// Sizes are textbook anatomy of an adult in deep inspiration (Gray's Anatomy; Webb, High-Resolution CT of the Lung).
#include "data/phantom.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>

#include "data/csv.h"
#include "data/metaimage.h"
#include "tensor/check.h"
#include "tensor/file.h"

namespace acinus {
namespace {

// ---- Random numbers ------------------------------------------------------------------------------------------------
// Our own, since std::uniform_real_distribution gives other numbers in another standard library.

uint64_t scramble(uint64_t x) {  // the output function of splitmix64 (Steele, Lea, Flood 2014)
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

struct Random {
  uint64_t state;
  Random(uint64_t seed, uint64_t part) : state(scramble(seed * 64 + part + 1)) {}
  uint64_t bits() { return scramble(state += 0x9e3779b97f4a7c15u); }
  double uniform(double low = 0, double high = 1) { return low + (high - low) * (double(bits() >> 11) * 0x1p-53); }
  int integer(int low, int high) { return low + int(bits() % uint64_t(high - low + 1)); }
  bool chance(double p) { return uniform() < p; }
};

// A hash of a lattice point, so that a voxel's noise does not depend on the order in which voxels are made.
uint64_t lattice(int64_t x, int64_t y, int64_t z, uint64_t seed) {
  return scramble(seed + uint64_t(x) * 0x9e3779b97f4a7c15u + uint64_t(y) * 0xc2b2ae3d27d4eb4fu +
                  uint64_t(z) * 0x165667b19e3779f9u);
}

// Nearly normal: the sum of four uniform numbers, scaled to mean 0 and variance 1.
float normal(uint64_t bits) {
  const float sum = float(bits & 0xffff) + float(bits >> 16 & 0xffff) + float(bits >> 32 & 0xffff) + float(bits >> 48);
  return (sum / 65536 - 2) * 1.7320508f;
}

// ---- Shapes --------------------------------------------------------------------------------------------------------

struct Point {
  float x, y, z;
};
Point operator+(Point a, Point b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
Point operator-(Point a, Point b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
Point operator*(float s, Point a) { return {s * a.x, s * a.y, s * a.z}; }
float dot(Point a, Point b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
float length(Point a) { return std::sqrt(dot(a, a)); }
Point unit(Point a) { return (1 / std::max(length(a), 1e-6f)) * a; }
Point cross(Point a, Point b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }

Point random_direction(Random& random) {
  for (;;) {
    const Point p{float(random.uniform(-1, 1)), float(random.uniform(-1, 1)), float(random.uniform(-1, 1))};
    if (dot(p, p) <= 1 && dot(p, p) > 1e-4f) return unit(p);
  }
}

float square(float x) { return x * x; }
float clamp01(float x) { return std::clamp(x, 0.f, 1.f); }
float ramp(float x, float from, float to) { return clamp01((x - from) / (to - from)); }
float blend(float a, float b, float share) { return a + (b - a) * share; }
// The share of a voxel of this width that lies inside a surface at this distance.
float cover(float distance, float width) { return clamp01(0.5f - distance / width); }

// min and max with a rounded corner of size k (Quilez' polynomial smooth minimum).
float smooth_min(float a, float b, float k) {
  return std::min(a, b) - square(std::max(k - std::abs(a - b), 0.f)) / (4 * k);
}
float smooth_max(float a, float b, float k) { return -smooth_min(-a, -b, k); }

// Between ellipse and rectangle, as chests are: u^4 + v^4 + 1.3 u^2 v^2 = 1 with u = x/a, v = y/b (2 would be an
// ellipse, 0 a squircle). The distance is to first order, (r - 1) / |grad r|.
float rounded_ellipse(float x, float y, float a, float b) {
  const float u2 = square(x / a), v2 = square(y / b);
  const float r = std::sqrt(std::sqrt(u2 * u2 + v2 * v2 + 1.3f * u2 * v2));
  if (r < 0.05f) return -std::min(a, b);
  const float gx = x / a * (4 * u2 + 2.6f * v2) / a, gy = y / b * (4 * v2 + 2.6f * u2) / b;
  return (r - 1) * 4 * r * r * r / std::sqrt(gx * gx + gy * gy);
}

// A cone with round ends: vessels, airways, great vessels, and in pairs the heart.
struct Tube {
  Point a, b;
  float radius_a, radius_b;
  float hu = 0;
};
struct TubeDistance {
  float distance, radius;
};
TubeDistance tube_distance(const Tube& tube, Point p) {
  const Point axis = tube.b - tube.a, to = p - tube.a;
  const float t = clamp01(dot(to, axis) / std::max(dot(axis, axis), 1e-6f));
  const float radius = blend(tube.radius_a, tube.radius_b, t);
  return {length(to - t * axis) - radius, radius};
}

// Smooth random field in about [-1, 1] whose bumps are `size` mm wide: a random lattice, interpolated.
float texture(Point p, float size, uint64_t seed) {
  const float x = p.x / size, y = p.y / size, z = p.z / size;
  const float fx = std::floor(x), fy = std::floor(y), fz = std::floor(z);
  const auto ease = [](float t) { return t * t * (3 - 2 * t); };
  const float tx = ease(x - fx), ty = ease(y - fy), tz = ease(z - fz);
  const auto at = [&](int i, int j, int k) {
    return float(lattice(int64_t(fx) + i, int64_t(fy) + j, int64_t(fz) + k, seed) >> 40) * 0x1p-23f - 1;
  };
  const auto row = [&](int j, int k) { return blend(at(0, j, k), at(1, j, k), tx); };
  return blend(blend(row(0, 0), row(1, 0), ty), blend(row(0, 1), row(1, 1), ty), tz);
}

// ---- The body ------------------------------------------------------------------------------------------------------

constexpr float kFat = -100, kMuscle = 55, kAir = -1000;  // HU

struct Body {
  uint64_t seed;
  Point scale;               // of the reference adult
  float roll_cos, roll_sin;  // patients do not lie quite straight
  Point centre;              // world position of the reference origin
  float fat;                 // thickness under the skin, mm
  float tilt;                // of the ribs to one side
  float dome[2];             // height of the diaphragm's right and left dome
  float lung;                // HU of lung tissue at half depth
  float arteries, veins;     // HU: about 45, more with contrast medium
  float liver;
  float emphysema;           // 0 to 1: how far holes in the lung go towards air
  std::vector<Tube> organs;  // of the mediastinum
  std::vector<Tube> bones;   // clavicles

  Body(uint64_t seed);
  Point to_reference(Point world) const {
    const Point d = world - centre;
    return {(roll_cos * d.x + roll_sin * d.y) / scale.x, (roll_cos * d.y - roll_sin * d.x) / scale.y, d.z / scale.z};
  }
  Point to_world(Point p) const {
    const float x = p.x * scale.x, y = p.y * scale.y;
    return centre + Point{roll_cos * x - roll_sin * y, roll_sin * x + roll_cos * y, p.z * scale.z};
  }
  float skin(Point p) const;
  float diaphragm(Point p) const;
  float lungs(Point p, float mediastinum) const;
  float lungs(Point p) const { return lungs(p, mediastinum(p, organs)); }
  float mediastinum(Point p, const std::vector<Tube>& near) const;
  void paint_bones(Point p, float width, float& hu) const;
  float tissue(Point p, float width, const std::vector<Tube>& near) const;
};

// The spine's curve: vertebral bodies' centres lie 42 mm behind the origin, less above and below (kyphosis, R 450 mm).
float spine_y(float z) { return 42 - square(z) / 900; }

// The inner chest wall: 256 mm wide and 180 mm deep at its widest, 70 mm below the origin, closing above the apices.
struct Cage {
  float a, b, y;  // half axes, centre
};
Cage cage_at(float z) {
  const float t = std::clamp((z + 70) / 213, 0.f, 0.98f), s = std::clamp((z + 70) / 235, 0.f, 0.98f);
  const float a = 128 * std::sqrt(1 - t * t), b = 90 * std::sqrt(1 - s * s);
  return {a, b, spine_y(z) + 43 - b};
}
float cage(Point p) {
  const Cage c = cage_at(p.z);
  return rounded_ellipse(p.x, p.y - c.y, c.a, c.b);
}

Body::Body(uint64_t seed) : seed(seed) {
  Random random(seed, 0);
  const float size = float(random.uniform(0.93, 1.07));  // adults: 1.5 to 1.9 m
  scale = {size * float(random.uniform(0.94, 1.1)), size * float(random.uniform(0.92, 1.08)),
           size * float(random.uniform(0.92, 1.08))};
  const double roll = random.uniform(-0.07, 0.07);
  roll_cos = float(std::cos(roll)), roll_sin = float(std::sin(roll));
  centre = {float(random.uniform(-15, 15)), float(random.uniform(-25, 25)), float(random.uniform(-240, -120))};
  fat = float(8 + 22 * square(float(random.uniform())));
  tilt = float(random.uniform(-0.06, 0.06));
  dome[0] = float(random.uniform(-84, -62)), dome[1] = dome[0] - float(random.uniform(4, 16));
  emphysema = random.chance(0.25) ? float(random.uniform(0.3, 1)) : 0.f;
  lung = float(random.uniform(-895, -855));
  const bool contrast = random.chance(0.5);
  arteries = contrast ? float(random.uniform(150, 380)) : float(random.uniform(35, 55));
  veins = contrast ? arteries - float(random.uniform(20, 120)) : arteries;
  const float cava = contrast ? arteries + float(random.uniform(-50, 400)) : arteries;
  liver = contrast ? float(random.uniform(80, 120)) : float(random.uniform(50, 65));

  const float heart = float(random.uniform(0.9, 1.1)), muscle = contrast ? 95.f : 45.f;
  const float blood = veins;
  organs = {
      // Heart: 120 to 140 mm wide, apex to the left and front; walls, then the chambers within.
      {{8, -18, -22}, {38, -36, -58}, 42 * heart, 33 * heart, muscle},    // left ventricle
      {{-20, -22, -28}, {14, -46, -56}, 33 * heart, 29 * heart, muscle},  // right atrium and ventricle
      {{14, -14, -30}, {42, -36, -60}, 22 * heart, 17 * heart, blood - 10},
      {{-22, -22, -28}, {10, -50, -54}, 28 * heart, 20 * heart, blood + 10},
      {{-16, 12, -10}, {20, 13, -12}, 18, 18, blood},  // left atrium
      {{-16, 12, -10}, {-46, 12, -18}, 9, 6, veins},   // pulmonary veins
      {{20, 13, -12}, {46, 16, -16}, 9, 6, veins},
      // Aorta: 32 mm ascending, 25 mm descending along the left of the spine.
      {{-4, -24, -16}, {-14, -30, 30}, 16, 16, arteries},
      {{-14, -30, 30}, {-10, -20, 62}, 16, 15, arteries},
      {{-10, -20, 62}, {18, 10, 70}, 15, 14, arteries},
      {{18, 10, 70}, {27, 30, 50}, 14, 13, arteries},
      {{27, 30, 50}, {25, 34, -50}, 13, 12, arteries},
      {{25, 34, -50}, {6, 22, -160}, 12, 11, arteries},
      // Pulmonary trunk 28 mm, its branches 22 mm.
      {{16, -42, -8}, {22, -20, 26}, 14, 14, arteries},
      {{22, -18, 28}, {42, 8, 26}, 12, 9, arteries},
      {{20, -14, 24}, {-12, -4, 20}, 11, 11, arteries},
      {{-12, -4, 20}, {-42, 8, 14}, 11, 8, arteries},
      // Venae cavae 20 to 22 mm, oesophagus, the vessels of the neck 10 mm.
      {{-24, -14, 92}, {-26, -14, -14}, 9, 10, cava},
      {{-22, -6, -50}, {-24, 4, -160}, 11, 12, blood},
      {{-24, -14, 92}, {24, -28, 104}, 7, 6, cava},
      {{4, 22, 150}, {4, 24, 50}, 7, 7, 40},
      {{4, 24, 50}, {8, 24, -110}, 8, 9, 40},
      {{-8, -14, 74}, {-20, -10, 140}, 6.5f, 6, arteries},
      {{8, -4, 78}, {16, -6, 140}, 5, 4.5f, arteries},
      {{18, 8, 76}, {28, 2, 128}, 5.5f, 5, arteries},
      // Soft tissue around the trachea and at the hila (fat, lymph nodes).
      {{0, 2, 140}, {-2, 14, 50}, 12, 12, -40},
      {{-2, 14, 50}, {-40, 12, 4}, 10, 7, -20},
      {{-2, 14, 50}, {42, 15, 4}, 10, 7, -20},
  };
  bones = {{{18, -56, 96}, {95, -42, 122}, 7, 6}, {{-18, -56, 96}, {-95, -42, 122}, 7, 6}};
}

// The skin: 300 mm wide, 216 mm deep without fat; wider at the shoulders; a furrow along the back.
float Body::skin(Point p) const {
  const float shoulders = ramp(p.z, 25, 110);
  const float a = 146 + fat + 60 * shoulders * shoulders, b = 105 + fat - 16 * ramp(p.z, 60, 140);
  const float y = p.y - 6 - 6 * shoulders;
  return rounded_ellipse(p.x, y, a, b) + (y > 0 ? 8 / (1 + square(p.x / 18)) : 0);
}

// Each half is a dome, 62 mm higher than its edge at the chest wall, flat on top. Negative above it.
float Body::diaphragm(Point p) const {
  const int left = p.x > 0;
  const float away = std::abs(p.x) - 62, dx = away / (away > 0 ? 70 : 110), dy = (p.y + 6) / (p.y > -6 ? 92 : 130);
  const float rho2 = dx * dx + dy * dy;
  const float height = dome[left] - 62 * (0.6f * rho2 + 0.4f * rho2 * rho2);
  const float slope = 62 * (1.2f + 1.6f * rho2) * std::sqrt(square(dx / 70) + square(dy / 92));
  return (height - p.z) / std::sqrt(1 + slope * slope);
}

// Everything between the lungs but the spine: the organs near the point, and the sheet of fat that joins them
// to the sternum (narrow: the lungs almost meet behind it), to the spine, and widens above towards the neck.
float Body::mediastinum(Point p, const std::vector<Tube>& near) const {
  const float front = cage_at(p.z).y - cage_at(p.z).b;
  const float half = 3.5f + 23 * ramp(p.z, 55, 130) + 0.45f * std::max(0.f, front + 16 - p.y) + 6 * ramp(p.y, -20, 20);
  float distance = std::abs(p.x - 4 * ramp(p.y, 10, -60)) - half;
  for (const Tube& organ : near) distance = smooth_min(distance, tube_distance(organ, p).distance - 2.5f, 9);
  return distance;
}

// Both lungs: within the cage, above the diaphragm, below the rounded apices, beside mediastinum and spine.
float Body::lungs(Point p, float mediastinum) const {
  const float side = std::abs(p.x), y = p.y - spine_y(p.z);
  const float apex = p.z - 126 + square(side - 44) / 110 + square(y + 12) / 180;
  const float spine = 0.8f * (20 + 0.45f * std::max(0.f, y - 4) - side - 0.5f * std::max(0.f, -y - 12));
  float distance = smooth_max(cage(p), diaphragm(p), 4);
  distance = smooth_max(distance, apex / (1 + 0.02f * std::abs(side - 44)), 8);
  distance = smooth_max(distance, spine, 8);
  return smooth_max(distance, -mediastinum, 3);
}

// Bone: dense cortex around marrow.
void paint_bone(float distance, float cortex_mm, float cortex, float marrow, float width, float& hu) {
  if (distance > width) return;
  hu = blend(hu, cortex, cover(distance, width));
  hu = blend(hu, marrow, cover(distance + cortex_mm, width));
}

void Body::paint_bones(Point p, float width, float& hu) const {
  const Cage c = cage_at(p.z);
  const float out = rounded_ellipse(p.x, p.y - c.y, c.a, c.b);  // mm outside the pleura
  if (out < -20 && std::abs(p.x) > 45) return;
  // Ribs lie around the cage and fall from the spine to the front by 80 mm; 25 mm apart, 13 x 8 mm, cortex 1.2 mm.
  // In the last third of their way they are cartilage.
  const float around = std::atan2(std::abs(p.x), p.y - c.y);  // 0 at the back, pi at the sternum
  if (out > 0 && out < 16 && around > 0.3f) {
    const float fall = p.z + tilt * p.x + 80 * square(std::sin(around / 2)) - 118;
    const float rib = std::round(fall / 25);
    if (rib <= 0 && rib > -11) {
      const float dz = (fall - 25 * rib) * 0.94f;  // the cosine of the ribs' slope
      const float distance = (std::sqrt(square((out - 5.5f) / 3.6f) + square(dz / 6.5f)) - 1) * 4.2f;
      const float bony = rib > -7 ? 2.45f : 2.45f + 0.3f * (rib + 7);
      if (around < bony)
        paint_bone(distance, 1.3f, 850, 220, width, hu);
      else if (around < 2.9f && rib > -10)
        paint_bone(distance, 2, 110, 90, width, hu);
    }
  }
  // Scapula: a plate 5 mm thick over the ribs at the back.
  if (p.z > 0 && out > 15 && out < 40 && around > 0.5f && around < 1.7f) {
    const float plate = std::abs(out - 26 - 6 * std::abs(around - 1)) - 2.5f;
    const float edge = (std::abs(around - 1.05f) - 0.45f * ramp(p.z, -5, 60)) * (c.a + 25);
    paint_bone(smooth_max(plate, edge, 2), 1.2f, 750, 250, width, hu);
  }
  // Sternum: 32 mm wide, manubrium above 60 mm wide; 11 mm thick.
  if (p.z > -58 && p.z < 92 && p.y < -30) {
    const float dx = std::abs(p.x) - 15 - 12 * ramp(p.z, 50, 75), dy = std::abs(p.y - c.y + c.b + 9) - 5;
    paint_bone(smooth_max(dx, dy, 5), 1.3f, 550, 130, width, hu);
  }
  if (p.z > 80)
    for (const Tube& bone : bones) paint_bone(tube_distance(bone, p).distance, 1.6f, 800, 200, width, hu);

  // Spine: one vertebra each 24 mm. Body 35 x 29 mm with a waist, then a disc of 5 mm.
  const float y = p.y - spine_y(p.z), x = std::abs(p.x);
  if (x > 45 || y < -25 || y > 75) return;
  const auto level = [](float z) { return z - 24 * std::round(z / 24); };  // mm from the middle of a vertebra
  const float dz = level(p.z), waist = 2.5f * (1 - square(dz / 12));
  const float body = rounded_ellipse(p.x, y, 18 - waist, 14.5f - waist);
  if (std::abs(dz) > 9.5f)
    hu = blend(hu, 85, cover(body, width));
  else
    paint_bone(body, 1.4f, 650, 190 + 70 * texture(p, 4, seed + 3) + 200 * ramp(std::abs(dz), 7, 9), width, hu);
  // Behind it a bony ring around the canal (17 mm wide), transverse processes out to 34 mm, a spinous process back
  // and down.
  const float centre = std::sqrt(x * x + square(y - 24));
  if (dz > -9 && dz < 9) paint_bone(std::abs(centre - 11.5f) - 3, 1.2f, 700, 300, width, hu);
  const float process = smooth_max(std::abs(y - 22 - 0.45f * x) - 4.5f, std::abs(x - 22) - 12, 4);
  paint_bone(smooth_max(process, std::abs(dz) - 6, 3), 1.2f, 650, 250, width, hu);
  const float lowered = level(p.z + 0.7f * (y - 36));
  paint_bone(smooth_max(smooth_max(x - 3.5f, std::abs(y - 47) - 13, 3), std::abs(lowered) - 8, 3), 1.2f, 700, 350,
             width, hu);
  hu = blend(hu, 20, cover(centre - 8.5f, width));
}

// HU at a point, for voxels of this width, without the lungs' vessels and airways. `near`: the organs to look at.
float Body::tissue(Point p, float width, const std::vector<Tube>& near) const {
  const float outside = skin(p);
  if (outside > width) {  // air, and the table: a shell 4 mm thick, 12 mm below the back, curved upwards
    const float table = std::abs(p.y - 126 - fat + square(p.x) / 700) - 2;
    return blend(kAir, -500, p.y > 40 ? cover(table, width) : 0);
  }
  const float inside = cage(p);
  // Skin 1.5 mm, fat, muscle with sheets of fat between.
  float hu = blend(kAir, 0, cover(outside, width));
  hu = blend(hu, kFat, cover(outside + 1.5f, width));
  if (inside > -width) {
    const float sheets = std::abs(texture({p.x, p.y, 0.4f * p.z}, 22, seed + 1) + 0.2f * texture(p, 7, seed + 2));
    hu = blend(hu, kMuscle - 80 * ramp(sheets, 0.2f, 0.f) * ramp(inside, 3, 9), cover(outside + fat, width));
  }
  // Within the cage: abdomen below the diaphragm, mediastinal fat above.
  const float below = diaphragm(p);
  if (below > -width && inside < width) {
    float abdomen = kFat + 10 * texture(p, 20, seed + 4);
    abdomen = blend(abdomen, liver, cover(p.x - 25 + 0.5f * (p.y + 20), width));
    const float spleen = tube_distance({{88, 40, -105}, {95, 10, -140}, 36, 30}, p).distance;
    const float stomach = tube_distance({{58, -22, -118}, {20, -50, -170}, 38, 30}, p).distance;
    abdomen = blend(abdomen, liver + 5, cover(spleen, width));
    abdomen = blend(abdomen, p.y < -40 ? -950.f : 30.f, cover(stomach + 3, width));
    abdomen = blend(abdomen, kMuscle, cover(std::max(-below, below - 4), width));  // the diaphragm itself, 4 mm
    hu = blend(hu, abdomen, cover(std::max(inside, -below), width));
  }
  float between = 1e3f;
  if (inside < width) {
    if (below < width)
      hu = blend(hu, -70 + 90 * ramp(p.z, 85, 125) + 40 * texture(p, 12, seed + 5),
                 cover(std::max(inside, below), width));
    if (std::abs(p.x) < 100) {
      between = mediastinum(p, near);
      for (const Tube& organ : near)
        hu = blend(hu, organ.hu + 12 * texture(p, 15, seed + 6), cover(tube_distance(organ, p).distance, width));
    }
  }
  paint_bones(p, width, hu);
  // The lungs: denser at the back, where the patient lies on them (20 HU per 100 mm), with a fine grain.
  const float lung_distance = inside < width ? lungs(p, between) : inside;
  if (lung_distance < width) {
    float air = lung + 0.25f * p.y + 14 * texture(p, 40, seed + 7) + 22 * texture(p, 5, seed + 8);
    if (emphysema > 0) air -= 100 * emphysema * ramp(texture(p, 9, seed + 10) + 0.004f * p.z, 0.1f, 0.7f);
    // Fissures, plates thinner than 1 mm: oblique in both lungs, horizontal in the right.
    const float wave = 14 * texture(p, 60, seed + 9), oblique = (p.z - 0.95f * p.y - 6 + wave) / 1.38f;
    const float horizontal = p.x < 0 && oblique > 0 ? std::abs(p.z - 8 + 2 * wave) : 100;
    const float fissure = std::min(std::abs(oblique), horizontal);
    air += 90 * clamp01(1 - fissure / width) * std::min(1.f, 1 / width);
    hu = blend(hu, air, cover(lung_distance, width));
  }
  return hu;
}

// ---- Vessels and airways -------------------------------------------------------------------------------------------

struct Node {
  Point p, direction;
  int parent;
  float path, radius;  // mm from the root; radius of the segment that ends here
};

// A tree from the root to about `tips` random points of one lung. Each new branch leaves the tree where the way to
// its point is short and the way back to the root too, bends out of its parent's direction, and stays in the lung.
// Radii follow Murray's law, r^3 = sum of r^3 of the branches, from 0.3 mm at the tips: 3 to 4 mm at the root.
std::vector<Node> grow_tree(const Body& body, Point root, int tips, Random random) {
  const float side = root.x > 0 ? 1.f : -1.f;
  std::vector<Node> nodes{{root, {side, 0, 0}, -1, 0, 0}};
  for (int i = 0; i < tips; i++) {
    const Point tip{side * float(random.uniform(10, 128)), float(random.uniform(-95, 95)),
                    float(random.uniform(-135, 125))};
    if (body.lungs(tip) > -4) continue;
    int best = -1;
    float best_cost = 1e9f;
    for (int n = 0; n < int(nodes.size()); n++) {
      const Point way = tip - nodes[size_t(n)].p;
      const float distance = length(way), cost = distance + 0.75f * nodes[size_t(n)].path;
      if (cost < best_cost && (n == 0 || dot(way, nodes[size_t(n)].direction) > 0.35f * distance))
        best = n, best_cost = cost;
    }
    const Node start = nodes[size_t(best)];
    const float distance = length(tip - start.p);
    const Point bend = start.p + 0.35f * distance * start.direction;
    const int steps = std::max(1, int(distance / 5));
    std::vector<Node> branch;
    for (int s = 1; s <= steps; s++) {  // a quadratic Bezier curve: start, bend, tip
      const float t = float(s) / float(steps);
      const Point p = square(1 - t) * start.p + 2 * t * (1 - t) * bend + t * t * tip;
      if (body.lungs(p) > -1.5f && length(p - root) > 22) break;
      const Point before = s == 1 ? start.p : branch.back().p;
      branch.push_back(
          {p, unit(p - before), s == 1 ? best : int(nodes.size()) + s - 2, start.path + length(p - start.p), 0});
    }
    if (int(branch.size()) == steps) nodes.insert(nodes.end(), branch.begin(), branch.end());
  }
  for (size_t n = nodes.size(); n-- > 1;) {  // children come after their parents; radius holds r^3 until the end
    Node& node = nodes[n];
    if (node.radius == 0) node.radius = std::pow(0.43f, 2.5f);
    nodes[size_t(node.parent)].radius += node.radius;
  }
  for (Node& node : nodes) node.radius = std::pow(node.radius, 1 / 2.5f);
  return nodes;
}

struct Tubes {
  std::vector<Tube> arteries, veins, walls, lumens;  // in world mm
};

void add_tube(std::vector<Tube>& tubes, const Body& body, Point a, Point b, float radius_a, float radius_b) {
  tubes.push_back({body.to_world(a), body.to_world(b), radius_a, radius_b});
}

// A bronchus: wall, and lumen within. Walls are a fifth of the lumen and at least 0.5 mm.
void add_airway(Tubes& tubes, const Body& body, Point a, Point b, float radius_a, float radius_b) {
  add_tube(tubes.lumens, body, a, b, radius_a, radius_b);
  add_tube(tubes.walls, body, a, b, 1.12f * radius_a + 0.4f, 1.12f * radius_b + 0.4f);
}

Tubes grow_tubes(const Body& body) {
  std::vector<Node> trees[4];  // right artery, right vein, left artery, left vein
  const Point roots[4] = {{-36, 8, 16}, {-36, 10, -14}, {37, 8, 24}, {38, 13, -12}};
#pragma omp parallel for schedule(dynamic)
  for (int i = 0; i < 4; i++) trees[i] = grow_tree(body, roots[i], 3500, Random(body.seed, uint64_t(10 + i)));
  Tubes tubes;
  // Trachea 18 mm, main bronchi 13 and 11 mm.
  const Point carina{-2, 14, 50};
  add_airway(tubes, body, {0, 2, 145}, carina, 8.5f, 8);
  add_airway(tubes, body, carina, {-38, 14, 12}, 6.5f, 5);
  add_airway(tubes, body, carina, {40, 16, 14}, 6, 5);
  for (int i = 0; i < 4; i++) {
    const bool artery = i % 2 == 0;
    for (const Node& node : trees[i]) {
      if (node.parent < 0) continue;
      const Node& from = trees[i][size_t(node.parent)];
      add_tube(artery ? tubes.arteries : tubes.veins, body, from.p, node.p, std::max(node.radius, 0.8f * from.radius),
               node.radius);
      // Each artery down to 1 mm radius has its bronchus at its side, a little narrower.
      if (artery && node.radius > 1.1f) {
        const Point offset_a = 1.8f * from.radius * unit(cross(from.direction, {0.2f, 0.3f, 1}));
        const Point offset_b = 1.8f * node.radius * unit(cross(node.direction, {0.2f, 0.3f, 1}));
        add_airway(tubes, body, from.p + offset_a, node.p + offset_b, 0.75f * node.radius, 0.7f * node.radius);
      }
    }
  }
  return tubes;
}

// ---- Nodules -------------------------------------------------------------------------------------------------------

// A nodule's surface: radius times 1 + a sum of lobes, a_k (3 (d.n_k)^2 - 1) / 2 with random axes n_k, and a
// roughness of a tenth of the radius on the larger ones.
struct Lump {
  PhantomNodule nodule;
  Point centre;
  float radius, hu;
  Point axes[5];
  float lobes[5];
  float rough;  // mm
  float surface(Point direction) const {
    float r = 1;
    for (int k = 0; k < 5; k++) r += lobes[k] * (1.5f * square(dot(direction, axes[k])) - 0.5f);
    return r;
  }
  float distance(Point p) const {
    const Point d = p - centre;
    const float r = length(d);
    if (r < 1e-3f) return -radius;
    return r - radius * surface((1 / r) * d) - rough * texture(d, 0.9f * radius, 0);
  }
};

Lump make_lump(const PhantomNodule& nodule, Random& random) {
  Lump lump;
  lump.nodule = nodule;
  lump.centre = {float(nodule.centre[0]), float(nodule.centre[1]), float(nodule.centre[2])};
  // Solid as soft tissue; ground glass, where lung is half filled, lets vessels through.
  lump.hu = float(nodule.kind == PhantomNodule::solid ? random.uniform(-30, 50) : random.uniform(-620, -400));
  const double uneven = nodule.diameter_mm < 6 ? 0.08 : 0.18;
  for (int k = 0; k < 5; k++)
    lump.axes[k] = random_direction(random), lump.lobes[k] = float(random.uniform(-uneven, uneven));
  double volume = 0;  // the mean of r^3 over directions, to keep the volume of the sphere
  for (int i = 0; i < 400; i++) volume += std::pow(lump.surface(random_direction(random)), 3) / 400;
  lump.radius = float(nodule.diameter_mm / 2 / std::cbrt(volume));
  lump.rough = nodule.diameter_mm < 6 ? 0 : 0.12f * lump.radius;
  return lump;
}

// Finds a place for a sphere: wholly in the image, in a lung (some against its wall), away from the others.
bool place(PhantomNodule& nodule, const Body& body, const Grid& grid, const std::vector<Lump>& others, Random& random) {
  const float radius = float(nodule.diameter_mm / 2), size = (body.scale.x + body.scale.y + body.scale.z) / 3;
  for (int attempt = 0; attempt < 3000; attempt++) {
    Vec3 voxel;
    for (size_t i = 0; i < 3; i++) voxel[i] = random.uniform(0, double(grid.size[i] - 1));
    const Vec3 world = grid.to_world(voxel);
    Point p = body.to_reference({float(world[0]), float(world[1]), float(world[2])});
    const float wanted = nodule.at_wall ? -0.85f * radius / size : -(radius + 2) / size;
    float distance = body.lungs(p);
    if (distance > 0) continue;
    for (int step = 0; nodule.at_wall && step < 8; step++) {  // walk along the gradient to where it touches the wall
      const float h = 0.5f;
      const Point gradient = unit({body.lungs(p + Point{h, 0, 0}) - distance, body.lungs(p + Point{0, h, 0}) - distance,
                                   body.lungs(p + Point{0, 0, h}) - distance});
      p = p + 0.7f * (wanted - distance) * gradient;
      distance = body.lungs(p);
    }
    if (nodule.at_wall ? std::abs(distance - wanted) > 0.5f : distance > wanted) continue;
    const Point centre = body.to_world(p);
    nodule.centre = {centre.x, centre.y, centre.z};
    const Vec3 at = grid.to_voxel(nodule.centre);
    bool fits = true;
    for (size_t i = 0; i < 3; i++) {
      const double margin = radius / grid.spacing[i] - 0.5;
      fits = fits && at[i] >= std::max(0., margin) && at[i] <= double(grid.size[i] - 1) - std::max(0., margin);
    }
    for (const Lump& other : others)
      fits = fits && length(other.centre - centre) > 1.2f * (radius + float(other.nodule.diameter_mm / 2)) + 4;
    if (fits) return true;
  }
  return false;
}

// Draws and places the nodules, and gives half of the larger solid ones spicules: strands of 1 mm out to twice the
// radius, which belong to no mask.
std::vector<Lump> make_nodules(const PhantomOptions& options, const Body& body, const Grid& grid, Phantom& phantom,
                               Tubes& tubes) {
  Random random(body.seed, 2);
  std::vector<Lump> lumps;
  const int wanted = random.integer(options.min_nodules, options.max_nodules);
  const int micro = random.integer(0, 3);  // below 3 mm, as in most real scans
  for (int i = 0; i < wanted + micro; i++) {
    const bool counts = i < wanted;
    PhantomNodule nodule;
    nodule.diameter_mm = counts ? nodule_diameter(random.uniform(), options.min_diameter_mm) : random.uniform(1.5, 2.9);
    // Of LIDC's nodules about four fifths are solid; the small ones nearly all.
    const double kind = nodule.diameter_mm < 5 ? 0 : random.uniform();
    nodule.kind = kind < 0.74   ? PhantomNodule::solid
                  : kind < 0.87 ? PhantomNodule::part_solid
                                : PhantomNodule::ground_glass;
    nodule.at_wall = random.chance(0.25);
    if (!place(nodule, body, grid, lumps, random)) continue;
    lumps.push_back(make_lump(nodule, random));
    if (nodule.diameter_mm > 8 && nodule.kind != PhantomNodule::ground_glass && random.chance(0.5))
      for (int k = 0; k < 12; k++) {
        const Lump& lump = lumps.back();
        const Point way = float(random.uniform(1.2, 2)) * lump.radius * random_direction(random);
        tubes.walls.push_back({lump.centre, lump.centre + way, 0.08f * lump.radius, 0.3f});
      }
    (counts ? phantom.nodules : phantom.excluded).push_back(nodule);
  }
  return lumps;
}

// ---- The image -----------------------------------------------------------------------------------------------------

struct Painter {
  const Body& body;
  const Grid& grid;  // unflipped: direction is the identity
  const Tubes& tubes;
  const std::vector<Lump>& lumps;
  float width;  // of a voxel in plane, mm: the softness of edges
  int cuts;     // a thick slice averages over this many thin ones

  Point at(int64_t x, int64_t y, double z) const {
    return {float(grid.origin[0] + double(x) * grid.spacing[0]), float(grid.origin[1] + double(y) * grid.spacing[1]),
            float(grid.origin[2] + z * grid.spacing[2])};
  }

  // Calls paint(offset in the slice, point) for the voxels within `reach` of the box from a to b.
  template <class Paint>
  void for_box(Point a, Point b, float reach, double z, Paint paint) const {
    const float here = at(0, 0, z).z;
    if (std::min(a.z, b.z) - reach > here || std::max(a.z, b.z) + reach < here) return;
    const auto first = [&](float p, size_t axis) {
      return std::max<int64_t>(0, int64_t(std::ceil((p - reach - grid.origin[axis]) / grid.spacing[axis])));
    };
    const auto last = [&](float p, size_t axis) {
      return std::min(grid.size[axis] - 1, int64_t(std::floor((p + reach - grid.origin[axis]) / grid.spacing[axis])));
    };
    const int64_t x0 = first(std::min(a.x, b.x), 0), x1 = last(std::max(a.x, b.x), 0);
    const int64_t y0 = first(std::min(a.y, b.y), 1), y1 = last(std::max(a.y, b.y), 1);
    for (int64_t y = y0; y <= y1; y++)
      for (int64_t x = x0; x <= x1; x++) paint(size_t(y * grid.size[0] + x), at(x, y, z));
  }

  // Draws tubes of one kind into a slice. Their joint coverage is the maximum, so that joints are not seen twice;
  // a tube thinner than a voxel is drawn as wide as one and fainter by the ratio of the areas.
  void paint_tubes(const std::vector<Tube>& tubes, int64_t slice, float hu, std::span<float> image) const {
    std::vector<float> mean(image.size()), cut(image.size());
    for (int c = 0; c < cuts; c++) {
      std::fill(cut.begin(), cut.end(), 0.f);
      const double z = double(slice) + (c + 0.5) / cuts - 0.5;
      for (const Tube& tube : tubes)
        for_box(tube.a, tube.b, std::max(tube.radius_a, tube.radius_b) + width, z, [&](size_t i, Point p) {
          const auto [distance, radius] = tube_distance(tube, p);
          const float thick = std::max(radius, width / 2);
          cut[i] = std::max(cut[i], cover(distance + radius - thick, width) * square(radius / thick));
        });
      for (size_t i = 0; i < mean.size(); i++) mean[i] += cut[i] / float(cuts);
    }
    for (size_t i = 0; i < mean.size(); i++) image[i] = blend(image[i], hu, mean[i]);
  }

  void paint_lump(const Lump& lump, int64_t slice, std::span<float> image, uint8_t* mask) const {
    const PhantomNodule& nodule = lump.nodule;
    std::vector<float> covered(image.size()), core(image.size());
    const float soft = width + (nodule.kind == PhantomNodule::ground_glass ? 1.f : 0.f);
    bool touched = false;
    for (int c = 0; c < cuts; c++)
      for_box(lump.centre, lump.centre, 1.7f * lump.radius + soft, double(slice) + (c + 0.5) / cuts - 0.5,
              [&](size_t i, Point p) {
                const float distance = lump.distance(p);
                covered[i] += cover(distance, soft) / float(cuts);
                core[i] += cover(distance + 0.45f * lump.radius, width) / float(cuts);
                touched = true;
              });
    if (!touched) return;
    for (size_t i = 0; i < image.size(); i++) {
      if (covered[i] == 0) continue;
      const float solid = nodule.kind == PhantomNodule::solid ? lump.hu : std::max(image[i], lump.hu);
      image[i] = blend(image[i], solid, covered[i]);
      if (nodule.kind == PhantomNodule::part_solid) image[i] = blend(image[i], 10, core[i]);
      if (covered[i] >= 0.5f && nodule.diameter_mm >= 3) mask[i] = 1;
    }
  }

  void paint_slice(int64_t z, std::span<float> image, uint8_t* mask) const {
    std::vector<Tube> near;  // the organs that this slice cuts, or whose fat it cuts
    const float height = body.to_reference(at(0, 0, double(z))).z;
    for (const Tube& organ : body.organs)
      if (std::min(organ.a.z, organ.b.z) - 60 < height && std::max(organ.a.z, organ.b.z) + 60 > height)
        near.push_back(organ);
    for (int64_t y = 0; y < grid.size[1]; y++)
      for (int64_t x = 0; x < grid.size[0]; x++)
        image[size_t(y * grid.size[0] + x)] = body.tissue(body.to_reference(at(x, y, double(z))), width, near);
    paint_tubes(tubes.arteries, z, body.arteries, image);
    paint_tubes(tubes.veins, z, body.veins, image);
    paint_tubes(tubes.walls, z, 30, image);
    paint_tubes(tubes.lumens, z, kAir, image);
    for (const Lump& lump : lumps) paint_lump(lump, z, image, mask);
  }
};

// The scanner: a point spread of 0.5 mm in plane and a third of the slice along z, then noise. CT noise is not white:
// neighbours 0.7 mm apart correlate by about 0.7 (measured on real scans), voxels 2 mm apart hardly.
void scan_slice(const Volume<float>& exact, int64_t z, double sigma, uint64_t seed, int16_t* out) {
  const int64_t nx = exact.grid.size[0], ny = exact.grid.size[1], nz = exact.grid.size[2];
  std::vector<float> image(size_t(nx * ny)), noise(image.size()), row;
  const float along = nz > 1 ? 0.06f : 0;
  const float *here = exact.slice(z), *below = exact.slice(std::max<int64_t>(z - 1, 0)),
              *above = exact.slice(std::min(z + 1, nz - 1));
  for (size_t i = 0; i < image.size(); i++) {
    image[i] = here[i] + along * (below[i] + above[i] - 2 * here[i]);
    noise[i] = normal(lattice(int64_t(i), z, 0, seed));
  }
  // Three taps (side, 1, side) / sum along x, then along y; edges repeat.
  const auto blur = [&](std::vector<float>& slice, float side, float sum) {
    for (int axis = 0; axis < 2; axis++) {
      const int64_t count = axis ? nx : ny, n = axis ? ny : nx, step = axis ? nx : 1, next = axis ? 1 : nx;
      row.resize(size_t(n));
      for (int64_t line = 0; line < count; line++) {
        float* p = slice.data() + line * next;
        for (int64_t i = 0; i < n; i++)
          row[size_t(i)] =
              (p[i * step] + side * (p[std::max<int64_t>(i - 1, 0) * step] + p[std::min(i + 1, n - 1) * step])) / sum;
        for (int64_t i = 0; i < n; i++) p[i * step] = row[size_t(i)];
      }
    }
  };
  const float mm = float(exact.grid.spacing[0]);
  const float spread = std::exp(-square(mm / 0.5f) / 2), grain = std::exp(-square(mm / 0.63f) / 2);
  blur(image, spread, 1 + 2 * spread);
  blur(noise, grain, std::sqrt(1 + 2 * grain * grain));  // keeps the variance
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
  for (size_t i = 0; i < 3; i++)
    check(options.size[i] > 0 && options.spacing[i] > 0, "make_phantom: size and spacing must be positive, axis ", i,
          " has ", options.size[i], " voxels of ", options.spacing[i], " mm");
  check(0 <= options.min_nodules && options.min_nodules <= options.max_nodules, "make_phantom: ", options.min_nodules,
        " to ", options.max_nodules, " nodules");
  const Body body(seed);

  // The grid lies around the middle of the lungs; one too narrow for both lies around one of them.
  Grid grid{options.size, options.spacing, {}, {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}};
  Point middle{0, 0, 0};
  if (double(grid.size[0]) * grid.spacing[0] < 180) middle.x = Random(seed, 1).chance(0.5) ? 68.f : -68.f;
  middle = body.to_world(middle);
  const double centre[3] = {middle.x, middle.y, middle.z};
  for (size_t i = 0; i < 3; i++) grid.origin[i] = centre[i] - 0.5 * double(grid.size[i] - 1) * grid.spacing[i];

  Phantom phantom;
  Tubes tubes = grow_tubes(body);
  const std::vector<Lump> lumps = make_nodules(options, body, grid, phantom, tubes);
  const float width = float(std::max(grid.spacing[0], grid.spacing[1]));
  const int cuts = std::clamp(int(std::lround(grid.spacing[2] / width)), 1, 5);
  const Painter painter{body, grid, tubes, lumps, width, cuts};
  Volume<float> exact(grid);
  phantom.ct = Volume<int16_t>(grid);
  phantom.mask = Volume<uint8_t>(grid);
#pragma omp parallel for schedule(dynamic)
  for (int64_t z = 0; z < grid.size[2]; z++)
    painter.paint_slice(z, {exact.slice(z), size_t(grid.size[0] * grid.size[1])}, phantom.mask.slice(z));
#pragma omp parallel for schedule(dynamic)
  for (int64_t z = 0; z < grid.size[2]; z++)
    scan_slice(exact, z, options.noise, scramble(seed + 99), phantom.ct.slice(z));

  if (options.flip) {  // both index axes run the other way, from the other corner
    Grid flipped = grid;
    flipped.origin = grid.to_world({double(grid.size[0] - 1), double(grid.size[1] - 1), 0});
    flipped.direction = {{{-1, 0, 0}, {0, -1, 0}, {0, 0, 1}}};
    phantom.ct.grid = phantom.mask.grid = flipped;
    const int64_t slice = grid.size[0] * grid.size[1];
    for (int64_t z = 0; z < grid.size[2]; z++) {
      std::reverse(phantom.ct.slice(z), phantom.ct.slice(z) + slice);
      std::reverse(phantom.mask.slice(z), phantom.mask.slice(z) + slice);
    }
  }
  return phantom;
}

void write_phantom_set(const std::string& folder, const PhantomSetOptions& options,
                       const std::function<void(int done, int scans)>& progress) {
  namespace fs = std::filesystem;
  const fs::path root(folder), scans = root / "subset0";
  const std::string marker = (root / "annotations.csv").string();
  check(!fs::exists(marker), "write_phantom_set: ", marker, " exists, so ", folder,
        " holds a complete set; name another folder or remove it");
  fs::create_directories(scans);
  const std::string ours = "1.3.6.1.4.1.99999.";  // in a range for private use: no hospital's
  std::vector<fs::path> left;                     // by an attempt that was stopped
  for (const fs::directory_entry& file : fs::directory_iterator(scans))
    if (file.path().filename().string().starts_with(ours)) left.push_back(file.path());
  for (const fs::path& file : left) fs::remove(file);

  std::vector<Annotation> annotations, excluded;
  std::string series;
  for (int i = 0; i < options.scans; i++) {
    Random random(options.seed, 0x1000 + uint64_t(i));
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
  write_annotations(marker, annotations);
}

}  // namespace acinus
