// The adult chest that phantoms are made of (data/chest/phantom.h): where its organs are and how dense. Points are in
// mm. Two frames: the world (LPS), and that of a reference adult, whose origin lies between the lungs at half their
// height, +x left, +y back, +z head. Shapes are signed distances in mm, negative inside. Sizes are textbook anatomy of
// an adult in deep inspiration (Gray's Anatomy; Webb, High-Resolution CT of the Lung).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "data/volume/geometry.h"
#include "tensor/random.h"

namespace acinus::anatomy {

// ---- Random numbers ------------------------------------------------------------------------------------------------

// splitmix64 (Steele, Lea, Flood 2014), one sequence for each part of the phantom. Not <random>'s distributions, whose
// numbers differ between standard libraries.
struct Stream {
  uint64_t state;
  Stream(uint64_t seed, uint64_t part) : state(splitmix64(splitmix64(seed + 1) + part)) {}
  uint64_t bits() { return splitmix64(state += 0x9e3779b97f4a7c15u); }
  double uniform(double low = 0, double high = 1) { return low + (high - low) * (double(bits() >> 11) * 0x1p-53); }
  int integer(int low, int high) { return low + int(bits() % (uint64_t(high - low) + 1)); }
  bool chance(double p) { return uniform() < p; }
};

// A hash of a lattice point: noise that does not depend on the order in which voxels are computed.
inline uint64_t lattice_hash(int64_t x, int64_t y, int64_t z, uint64_t seed) {
  return splitmix64(seed + uint64_t(x) * 0x9e3779b97f4a7c15u + uint64_t(y) * 0xc2b2ae3d27d4eb4fu +
                    uint64_t(z) * 0x165667b19e3779f9u);
}

// ---- Shapes --------------------------------------------------------------------------------------------------------

struct Point {
  float x, y, z;
};
inline Point to_point(const Vec3& v) { return {float(v[0]), float(v[1]), float(v[2])}; }
inline Point operator+(Point a, Point b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Point operator-(Point a, Point b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Point operator*(float s, Point a) { return {s * a.x, s * a.y, s * a.z}; }
inline float dot(Point a, Point b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline float length(Point a) { return std::sqrt(dot(a, a)); }
inline Point unit(Point a) { return (1 / std::max(length(a), 1e-6f)) * a; }
inline float square(float x) { return x * x; }
inline float lerp(float a, float b, float t) { return a + (b - a) * t; }
// The fraction of a voxel of this width that lies inside a surface at this distance: an anti-aliased edge.
inline float coverage(float distance, float width) { return std::clamp(0.5f - distance / width, 0.f, 1.f); }

// A capsule whose radius varies linearly: vessels, airways, the oesophagus, and several together the heart.
struct Tube {
  Point a, b;
  float radius_a, radius_b;
  float hu = 0;
};
struct TubeDistance {
  float distance, radius;  // to the surface; of the tube at the nearest point of its axis
};
inline TubeDistance distance_to(const Tube& tube, Point p) {
  const Point axis = tube.b - tube.a, to = p - tube.a;
  const float t = std::clamp(dot(to, axis) / std::max(dot(axis, axis), 1e-6f), 0.f, 1.f);
  const float radius = lerp(tube.radius_a, tube.radius_b, t);
  return {length(to - t * axis) - radius, radius};
}

// Value noise: a smooth random field in [-1, 1] with bumps `size` mm wide, interpolated from a random lattice.
float texture(Point p, float size, uint64_t seed);

// ---- The body ------------------------------------------------------------------------------------------------------

constexpr float kAir = -1000, kFat = -100, kMuscle = 55;  // HU

// A patient: the reference adult scaled, rotated, and varied.
struct Body {
  explicit Body(uint64_t seed);

  uint64_t seed;
  Point scale;               // of the reference adult
  float roll_cos, roll_sin;  // about z: patients do not lie quite straight
  Point centre;              // of the reference frame in the world
  float fat;                 // under the skin, mm
  float levels;              // mm by which ribs and vertebrae are shifted along the spine
  Point wave;                // phases of bend()
  float tilt;                // of the ribs to one side
  float dome[2];             // height of the diaphragm's right and left dome
  float lung;                // HU of lung tissue at half depth
  float emphysema;           // 0 to 1: how close the holes in the lungs come to air
  float arteries, veins;     // HU of blood: about 45, more with contrast medium
  float liver;               // HU
  std::vector<Tube> organs;  // of the mediastinum

  Point to_reference(Point world) const {
    const Point d = world - centre;
    const Point p{(roll_cos * d.x + roll_sin * d.y) / scale.x, (roll_cos * d.y - roll_sin * d.x) / scale.y,
                  d.z / scale.z};
    return p + bend(p);
  }
  Point to_world(Point p) const {
    Point q = p;
    for (int i = 0; i < 6; i++)
      q = p - bend(q);  // fixed point of q + bend(q) = p: each step leaves a fifth of the error
    const float x = q.x * scale.x, y = q.y * scale.y;
    return centre + Point{roll_cos * x - roll_sin * y, roll_sin * x + roll_cos * y, q.z * scale.z};
  }

  // From here on in the reference frame. `near`: the organs that matter at this height.
  std::vector<Tube> organs_near(float z) const;
  float lungs(Point p) const { return lungs(p, mediastinum(p, organs)); }
  // HU of a voxel of this width, without the lungs' vessels and airways.
  float tissue(Point p, float width, const std::vector<Tube>& near) const;

 private:
  Point bend(Point p) const;
  float skin(Point p) const;
  float diaphragm(Point p) const;
  float mediastinum(Point p, const std::vector<Tube>& near) const;
  float lungs(Point p, float mediastinum) const;
  float abdomen(Point p, float width, float below) const;
  float lung_tissue(Point p, float width) const;
  void paint_ribs(Point p, float width, float& hu) const;
  void paint_spine(Point p, float width, float& hu) const;
};

// Vessels and airways of both lungs, in world mm.
struct Tubes {
  std::vector<Tube> arteries, veins, walls, lumens;  // walls and lumens of the airways
};
Tubes grow_tubes(const Body& body);

}  // namespace acinus::anatomy
