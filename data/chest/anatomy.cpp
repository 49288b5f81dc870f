#include "data/chest/anatomy.h"

#include "tensor/parallel.h"

namespace acinus::anatomy {
namespace {

float ramp(float x, float from, float to) { return std::clamp((x - from) / (to - from), 0.f, 1.f); }

// min and max with a corner rounded over k (Quilez' polynomial smooth minimum).
float smooth_min(float a, float b, float k) {
  return std::min(a, b) - square(std::max(k - std::abs(a - b), 0.f)) / (4 * k);
}
float smooth_max(float a, float b, float k) { return -smooth_min(-a, -b, k); }

// Between ellipse and rectangle, as chests are: u^4 + v^4 + 1.3 u^2 v^2 = 1 with u = x/a, v = y/b (with 2 for 1.3 it is
// an ellipse, with 0 a squircle). The distance is exact to first order: (r - 1) / |grad r|, r^4 being the left side.
float rounded_ellipse(float x, float y, float a, float b) {
  const float u2 = square(x / a), v2 = square(y / b);
  const float r = std::sqrt(std::sqrt(u2 * u2 + v2 * v2 + 1.3f * u2 * v2));
  if (r < 0.05f) return -std::min(a, b);
  const float gx = x / a * (4 * u2 + 2.6f * v2) / a, gy = y / b * (4 * v2 + 2.6f * u2) / b;
  return (r - 1) * 4 * r * r * r / std::sqrt(gx * gx + gy * gy);
}

// The spine's curve: the vertebral bodies' centres lie 42 mm behind the origin, less above and below (kyphosis of
// radius 450 mm).
float spine_y(float z) { return 42 - square(z) / 900; }

// The inner chest wall: 256 mm wide and 180 mm deep at its widest, 70 mm below the origin; it closes above the lungs.
struct Cage {
  float a, b, y;  // half axes, centre
  explicit Cage(float z) {
    const float t = std::clamp((z + 70) / 213, 0.f, 0.98f), s = std::clamp((z + 70) / 235, 0.f, 0.98f);
    a = 128 * std::sqrt(1 - t * t), b = 90 * std::sqrt(1 - s * s), y = spine_y(z) + 43 - b;
  }
  float distance(Point p) const { return rounded_ellipse(p.x, p.y - y, a, b); }
};

// Paints over `hu` what has this density inside a surface at this distance.
void paint(float& hu, float density, float distance, float width) { hu = lerp(hu, density, coverage(distance, width)); }

// Bone: dense cortex around marrow.
struct Bone {
  float cortex_mm, cortex, marrow;  // thickness; HU
};
constexpr Bone kRib{1.3f, 850, 220}, kRibCartilage{2, 110, 90}, kScapula{1.2f, 750, 250}, kSternum{1.3f, 550, 130},
    kArch{1.2f, 700, 300}, kTransverseProcess{1.2f, 650, 250}, kSpinousProcess{1.2f, 700, 350};

void paint(float& hu, const Bone& bone, float distance, float width) {
  paint(hu, bone.cortex, distance, width);
  paint(hu, bone.marrow, distance + bone.cortex_mm, width);
}

}  // namespace

float texture(Point p, float size, uint64_t seed) {
  const float x = p.x / size, y = p.y / size, z = p.z / size;
  const float fx = std::floor(x), fy = std::floor(y), fz = std::floor(z);
  const auto ease = [](float t) { return t * t * (3 - 2 * t); };
  const float tx = ease(x - fx), ty = ease(y - fy), tz = ease(z - fz);
  const auto at = [&](int i, int j, int k) {
    return float(lattice_hash(int64_t(fx) + i, int64_t(fy) + j, int64_t(fz) + k, seed) >> 40) * 0x1p-23f - 1;
  };
  const auto row = [&](int j, int k) { return lerp(at(0, j, k), at(1, j, k), tx); };
  return lerp(lerp(row(0, 0), row(1, 0), ty), lerp(row(0, 1), row(1, 1), ty), tz);
}

Body::Body(uint64_t seed) : seed(seed) {
  Stream random(seed, 0);
  const auto pick = [&](double low, double high) { return float(random.uniform(low, high)); };
  const float size = pick(0.93, 1.07);  // adults of 1.5 to 1.9 m
  scale = {size * pick(0.94, 1.1), size * pick(0.92, 1.08), size * pick(0.92, 1.08)};
  const float roll = pick(-0.07, 0.07);
  roll_cos = std::cos(roll), roll_sin = std::sin(roll);
  centre = {pick(-15, 15), pick(-25, 25), pick(-240, -120)};
  fat = 8 + 22 * square(pick(0, 1));
  tilt = pick(-0.06, 0.06), levels = pick(-12, 12);
  wave = {pick(0, 6.28), pick(0, 6.28), pick(0, 6.28)};
  dome[0] = pick(-84, -62), dome[1] = dome[0] - pick(4, 16);
  lung = pick(-895, -855);
  emphysema = random.chance(0.25) ? pick(0.3, 1) : 0;
  const bool contrast = random.chance(0.5);
  const float heart = pick(0.82, 1.08), muscle = contrast ? 95.f : 45.f;
  arteries = contrast ? pick(150, 380) : pick(35, 55);
  veins = contrast ? arteries - pick(20, 120) : arteries;
  liver = contrast ? pick(80, 120) : pick(50, 65);
  const float cava = contrast ? arteries + pick(-50, 400) : arteries;
  organs = {
      // Heart, 120 to 140 mm wide, its apex to the left and front: both ventricles, then the blood within.
      {{8, -18, -22}, {38, -36, -58}, 42 * heart, 33 * heart, muscle},
      {{-20, -22, -28}, {14, -46, -56}, 33 * heart, 29 * heart, muscle},
      {{14, -14, -30}, {42, -36, -60}, 22 * heart, 17 * heart, veins - 10},
      {{-22, -22, -28}, {10, -50, -54}, 28 * heart, 20 * heart, veins + 10},
      // Left atrium and the pulmonary veins that enter it.
      {{-16, 12, -10}, {20, 13, -12}, 18, 18, veins},
      {{-16, 12, -10}, {-46, 12, -18}, 9, 6, veins},
      {{20, 13, -12}, {46, 16, -16}, 9, 6, veins},
      // Aorta, 32 mm ascending, 25 mm descending along the left of the spine.
      {{-4, -24, -16}, {-14, -30, 30}, 16, 16, arteries},
      {{-14, -30, 30}, {-10, -20, 62}, 16, 15, arteries},
      {{-10, -20, 62}, {18, 10, 70}, 15, 14, arteries},
      {{18, 10, 70}, {27, 30, 50}, 14, 13, arteries},
      {{27, 30, 50}, {25, 34, -50}, 13, 12, arteries},
      {{25, 34, -50}, {6, 22, -160}, 12, 11, arteries},
      // Pulmonary trunk, 28 mm, its branches 22 mm.
      {{16, -42, -8}, {22, -20, 26}, 14, 14, arteries},
      {{22, -18, 28}, {42, 8, 26}, 12, 9, arteries},
      {{20, -14, 24}, {-12, -4, 20}, 11, 11, arteries},
      {{-12, -4, 20}, {-42, 8, 14}, 11, 8, arteries},
      // Venae cavae, 20 to 24 mm; oesophagus; the arteries to neck and arms, 10 mm.
      {{-24, -14, 92}, {-26, -14, -14}, 9, 10, cava},
      {{-24, -14, 92}, {24, -28, 104}, 7, 6, cava},
      {{-22, -6, -50}, {-24, 4, -160}, 11, 12, veins},
      {{4, 22, 150}, {4, 24, 50}, 7, 7, 40},
      {{4, 24, 50}, {8, 24, -110}, 8, 9, 40},
      {{-8, -14, 74}, {-20, -10, 140}, 6.5f, 6, arteries},
      {{8, -4, 78}, {16, -6, 140}, 5, 4.5f, arteries},
      {{18, 8, 76}, {28, 2, 128}, 5.5f, 5, arteries},
      // Fat and lymph nodes around trachea and main bronchi.
      {{0, 2, 140}, {-2, 14, 50}, 12, 12, -40},
      {{-2, 14, 50}, {-40, 12, 4}, 10, 7, -20},
      {{-2, 14, 50}, {42, 15, 4}, 10, 7, -20},
  };
}

// No two chests have the same shape: waves of 160 mm move every point by up to 5 mm.
Point Body::bend(Point p) const {
  return {3 * std::sin((p.y + p.z) / 25 + wave.x), 3 * std::sin((0.5f * p.x - p.z) / 25 + wave.y),
          2 * std::sin((p.x + p.y) / 25 + wave.z)};
}

std::vector<Tube> Body::organs_near(float z) const {
  std::vector<Tube> near;
  for (const Tube& organ : organs)
    if (std::min(organ.a.z, organ.b.z) - 60 < z && z < std::max(organ.a.z, organ.b.z) + 60) near.push_back(organ);
  return near;
}

// 300 mm wide and 216 mm deep without fat; wider at the shoulders; a furrow along the back.
float Body::skin(Point p) const {
  const float shoulders = ramp(p.z, 25, 110), y = p.y - 6 - 6 * shoulders;
  const float a = 146 + fat + 60 * shoulders * shoulders, b = 105 + fat - 16 * ramp(p.z, 60, 140);
  return rounded_ellipse(p.x, y, a, b) + (y > 0 ? 8 / (1 + square(p.x / 18)) : 0);
}

// Two domes, flat on top, 62 mm higher than their edge at the chest wall. Negative above.
float Body::diaphragm(Point p) const {
  const float away = std::abs(p.x) - 62, dx = away / (away > 0 ? 70 : 110), dy = (p.y + 6) / (p.y > -6 ? 92 : 130);
  const float rho2 = dx * dx + dy * dy;
  const float height = dome[p.x > 0] - 62 * (0.6f * rho2 + 0.4f * rho2 * rho2);
  const float slope = 62 * (1.2f + 1.6f * rho2) * std::sqrt(square(dx / 70) + square(dy / 92));
  return (height - p.z) / std::sqrt(1 + slope * slope);
}

// What separates the lungs, except for the spine: the organs, and the sheet of fat that joins them to spine and
// sternum. It is narrow in front, where the lungs almost meet, and widens towards the neck.
float Body::mediastinum(Point p, const std::vector<Tube>& near) const {
  const Cage cage(p.z);
  const float behind_sternum = 0.45f * std::max(0.f, cage.y - cage.b + 16 - p.y);
  const float half = 3.5f + behind_sternum + 23 * ramp(p.z, 55, 130) + 6 * ramp(p.y, -20, 20);
  float distance = std::abs(p.x - 4 * ramp(p.y, 10, -60)) - half;
  for (const Tube& organ : near) distance = smooth_min(distance, distance_to(organ, p).distance - 2.5f, 9);
  return distance;
}

// Both lungs: within the cage, above the diaphragm, below rounded apices 126 mm up, beside mediastinum and spine.
float Body::lungs(Point p, float mediastinum) const {
  const float side = std::abs(p.x), y = p.y - spine_y(p.z);
  const float apex = p.z - 126 + square(side - 44) / 110 + square(y + 12) / 180;
  const float spine = 0.8f * (20 + 0.45f * std::max(0.f, y - 4) - 0.5f * std::max(0.f, -y - 12) - side);
  float distance = smooth_max(Cage(p.z).distance(p), diaphragm(p), 4);
  distance = smooth_max(distance, apex / (1 + 0.02f * std::abs(side - 44)), 8);
  distance = smooth_max(distance, spine, 20);
  return smooth_max(distance, -mediastinum, 3);
}

void Body::paint_ribs(Point p, float width, float& hu) const {
  const Cage cage(p.z);
  const float out = cage.distance(p);                            // mm outside the pleura
  const float around = std::atan2(std::abs(p.x), p.y - cage.y);  // 0 at the back, pi at the sternum
  // Ribs: 13 x 7 mm, 25 mm apart, cortex 1.3 mm; from the back to the front they fall by 80 mm, the last part is
  // cartilage (all of it longer for the lower ones).
  const float fall = p.z + levels + tilt * p.x + 80 * square(std::sin(around / 2)) - 118, rib = std::round(fall / 25);
  if (out > 0 && out < 16 && around > 0.3f && rib <= 0 && rib > -11) {
    const float dz = (fall - 25 * rib) * 0.94f;  // across the rib, which slopes
    const float distance = (std::sqrt(square((out - 5.5f) / 3.6f) + square(dz / 6.5f)) - 1) * 4.2f;
    if (around < 2.45f + 0.3f * std::min(0.f, rib + 7))
      paint(hu, kRib, distance, width);
    else if (around < 2.9f && rib > -10)
      paint(hu, kRibCartilage, distance, width);
  }
  // Scapula: a plate of 5 mm over the ribs at the back.
  if (p.z > 0 && out > 15 && out < 40 && around < 1.7f) {
    const float plate = std::abs(out - 26 - 6 * std::abs(around - 1)) - 2.5f;
    const float edge = (std::abs(around - 1.05f) - 0.45f * ramp(p.z, -5, 60)) * (cage.a + 25);
    paint(hu, kScapula, smooth_max(plate, edge, 2), width);
  }
  // Sternum: 11 mm thick, 30 mm wide, above (manubrium) 54 mm.
  if (p.z > -58 && p.z < 92 && p.y < -30) {
    const float dx = std::abs(p.x) - 15 - 12 * ramp(p.z, 50, 75), dy = std::abs(p.y - cage.y + cage.b + 9) - 5;
    paint(hu, kSternum, smooth_max(dx, dy, 5), width);
  }
}

void Body::paint_spine(Point p, float width, float& hu) const {
  const float y = p.y - spine_y(p.z), x = std::abs(p.x);
  if (x > 45 || y < -25 || y > 75) return;
  // A vertebra each 24 mm. Its body: 36 x 29 mm with a waist, and a disc of 5 mm.
  const auto level = [&](float z) { return z + levels - 24 * std::round((z + levels) / 24); };  // mm from its middle
  const float dz = level(p.z), waist = 2.5f * (1 - square(dz / 12));
  const float body = rounded_ellipse(p.x, y, 18 - waist, 14.5f - waist);
  const float marrow = 190 + 70 * texture(p, 4, seed + 3) + 200 * ramp(std::abs(dz), 7, 9);
  if (std::abs(dz) > 9.5f)
    paint(hu, 85, body, width);
  else
    paint(hu, Bone{1.4f, 650, marrow}, body, width);
  // Behind it the arch around the canal, which is 17 mm wide.
  const float from_canal = std::sqrt(x * x + square(y - 24));
  if (std::abs(dz) < 9) paint(hu, kArch, std::abs(from_canal - 11.5f) - 3, width);
  // Transverse processes out to 34 mm, and the spinous process, which runs 25 mm back and down.
  const float across = smooth_max(std::abs(y - 22 - 0.45f * x) - 4.5f, std::abs(x - 22) - 12, 4);
  paint(hu, kTransverseProcess, smooth_max(across, std::abs(dz) - 6, 3), width);
  const float back = smooth_max(x - 3.5f, std::abs(y - 47) - 13, 3);
  paint(hu, kSpinousProcess, smooth_max(back, std::abs(level(p.z + 0.7f * (y - 36))) - 8, 3), width);
  paint(hu, 20, from_canal - 8.5f, width);
}

// Liver on the right, spleen at the back left, stomach with its air in front, fat between; the diaphragm, 4 mm.
float Body::abdomen(Point p, float width, float below) const {
  const float spleen = distance_to({{88, 40, -105}, {95, 10, -140}, 36, 30}, p).distance;
  const float stomach = distance_to({{58, -22, -118}, {20, -50, -170}, 35, 27}, p).distance;
  float hu = kFat + 10 * texture(p, 20, seed + 4);
  paint(hu, liver, p.x - 25 + 0.5f * (p.y + 20), width);
  paint(hu, liver + 5, spleen, width);
  paint(hu, p.y < -40 ? -950.f : 30.f, stomach, width);
  return lerp(hu, kMuscle, coverage(below - 4, width));
}

// Denser at the back, where the patient lies on it (25 HU per 100 mm), with a grain, holes where there is emphysema.
float Body::lung_tissue(Point p, float width) const {
  float hu = lung + 0.25f * p.y + 14 * texture(p, 40, seed + 5) + 22 * texture(p, 5, seed + 6);
  if (emphysema > 0) hu -= 100 * emphysema * std::clamp(texture(p, 9, seed + 7) + 0.004f * p.z, 0.f, 0.6f);
  // Fissures, plates thinner than 1 mm: oblique in both lungs, horizontal in the right.
  const float wave = 14 * texture(p, 60, seed + 8), oblique = (p.z - 0.95f * p.y - 6 + wave) / 1.38f;
  const float horizontal = p.x < 0 && oblique > 0 ? std::abs(p.z - 8 + 2 * wave) : 100;
  const float fissure = std::min(std::abs(oblique), horizontal);
  return hu + 90 * std::max(0.f, 1 - fissure / width) * std::min(1.f, 1 / width);
}

float Body::tissue(Point p, float width, const std::vector<Tube>& near) const {
  const float outside = skin(p);
  if (outside > width) {  // air, and the table: a shell of 4 mm some 12 mm below the back, curved upwards
    const float table = std::abs(p.y - 126 - fat + square(p.x) / 700) - 2;
    return lerp(kAir, -500, p.y > 40 ? coverage(table, width) : 0);
  }
  // Skin of 1.5 mm, fat, muscle with sheets of fat.
  const float inside = Cage(p.z).distance(p);
  float hu = lerp(kAir, 0, coverage(outside, width));
  paint(hu, kFat, outside + 1.5f, width);
  if (inside > -width) {
    const float sheets = std::abs(texture({p.x, p.y, 0.4f * p.z}, 22, seed + 1) + 0.2f * texture(p, 7, seed + 2));
    const float muscle = kMuscle - 80 * ramp(sheets, 0.2f, 0) * ramp(inside, 3, 9);
    paint(hu, muscle, outside + fat, width);
  }
  // Within the cage: abdomen below the diaphragm, above it fat with the organs of the mediastinum.
  float lung_distance = inside;
  if (inside < width) {
    const float below = diaphragm(p), fat_above = -70 + 90 * ramp(p.z, 85, 125) + 40 * texture(p, 12, seed + 9);
    paint(hu, fat_above, std::max(inside, below), width);
    if (below > -width) paint(hu, abdomen(p, width, below), std::max(inside, -below), width);
    const bool beside = std::abs(p.x) > 100;  // of the mediastinum
    lung_distance = lungs(p, beside ? 100 : mediastinum(p, near));
    const float uneven = beside ? 0 : 12 * texture(p, 15, seed + 10);
    if (!beside)
      for (const Tube& organ : near) paint(hu, organ.hu + uneven, distance_to(organ, p).distance, width);
  }
  if (inside > -width) paint_ribs(p, width, hu);
  paint_spine(p, width, hu);
  if (lung_distance < width) paint(hu, lung_tissue(p, width), lung_distance, width);
  return hu;
}

// ---- Vessels and airways -------------------------------------------------------------------------------------------

namespace {

struct Node {
  Point p, direction;
  int parent;
  float path;    // mm to the root
  float radius;  // of the segment that ends here
};

// A tree from the root to random points of one lung. A new branch leaves the tree where both the path to its tip and
// the path back to the root are short, curves out of its parent's direction, and stays in the lung. Radii follow
// Murray's law, r^k = sum of the branches' r^k, from 0.4 mm at the tips; k is 3 in theory, 2.3 to 3 in real lungs.
std::vector<Node> grow_tree(const Body& body, Point root, Stream random) {
  const float side = root.x > 0 ? 1.f : -1.f;
  std::vector<Node> nodes{{root, {side, 0, 0}, -1, 0, 0}};
  for (int i = 0; i < 6500; i++) {
    const Point tip{side * float(random.uniform(10, 128)), float(random.uniform(-95, 95)),
                    float(random.uniform(-135, 125))};
    if (body.lungs(tip) > -4) continue;
    int best = 0;
    float best_cost = 1e9f;
    for (int n = 0; n < int(nodes.size()); n++) {
      const Node& node = nodes[n];
      const Point path = tip - node.p;
      const float distance = length(path), cost = distance + 0.6f * node.path;
      if (cost < best_cost && (n == 0 || dot(path, node.direction) > 0.35f * distance)) best = n, best_cost = cost;
    }
    const Node start = nodes[best];
    const float distance = length(tip - start.p);
    const Point bend = start.p + 0.35f * distance * start.direction;
    const int steps = std::max(1, int(distance / 5));  // of 5 mm
    const size_t before = nodes.size();
    for (int s = 1; s <= steps; s++) {  // a quadratic Bezier curve: start, bend, tip
      const float t = float(s) / float(steps);
      const Point p = square(1 - t) * start.p + 2 * t * (1 - t) * bend + t * t * tip;
      if (body.lungs(p) > -1.5f && length(p - root) > 22) {
        nodes.resize(before);  // leaves the lung: no branch
        break;
      }
      const int parent = s == 1 ? best : int(nodes.size()) - 1;
      nodes.push_back({p, unit(p - nodes[parent].p), parent, start.path + length(p - start.p), 0});
    }
  }
  const float k = 2.4f, thickest = 5;        // mm
  for (size_t n = nodes.size(); n-- > 1;) {  // children come after their parents; radius holds r^k for now
    if (nodes[n].radius == 0) nodes[n].radius = std::pow(0.4f, k);
    nodes[nodes[n].parent].radius += nodes[n].radius;
  }
  for (Node& node : nodes) node.radius = std::min(std::pow(node.radius, 1 / k), thickest);
  return nodes;
}

// A bronchus, or the trachea: the wall is 0.4 mm and an eighth of the lumen's radius thick.
void add_airway(Tubes& tubes, const Body& body, Point a, Point b, float radius_a, float radius_b) {
  a = body.to_world(a), b = body.to_world(b);
  tubes.lumens.push_back({a, b, radius_a, radius_b});
  tubes.walls.push_back({a, b, 1.12f * radius_a + 0.4f, 1.12f * radius_b + 0.4f});
}

}  // namespace

Tubes grow_tubes(const Body& body) {
  Tubes tubes;
  const Point carina{-2, 14, 50};  // where the trachea, 17 mm, divides into the main bronchi, 13 and 12 mm
  add_airway(tubes, body, {0, 2, 145}, carina, 8.5f, 8);
  add_airway(tubes, body, carina, {-38, 14, 12}, 6.5f, 5);
  add_airway(tubes, body, carina, {40, 16, 14}, 6, 5);

  const Point roots[4] = {{-36, 8, 16}, {37, 8, 24}, {-36, 10, -14}, {38, 13, -12}};  // arteries, veins: right, left
  std::vector<Node> trees[4];
  parallel(4, /*pays=*/true,
           [&](int64_t i) { trees[i] = grow_tree(body, roots[i], Stream(body.seed, uint64_t(10 + i))); });
  for (int i = 0; i < 4; i++)
    for (const Node& node : trees[i]) {
      if (node.parent < 0) continue;
      const Node& from = trees[i][node.parent];
      (i < 2 ? tubes.arteries : tubes.veins)
          .push_back(
              {body.to_world(from.p), body.to_world(node.p), std::max(node.radius, 0.8f * from.radius), node.radius});
      if (i >= 2 || node.radius < 1.3f) continue;
      // At each artery's side, always the same (direction x (0.2, 0.3, 1)), runs its bronchus, a little narrower.
      const auto across = [](Point d) { return unit({d.y - 0.3f * d.z, 0.2f * d.z - d.x, 0.3f * d.x - 0.2f * d.y}); };
      add_airway(tubes, body, from.p + 1.8f * from.radius * across(from.direction),
                 node.p + 1.8f * node.radius * across(node.direction), 0.65f * node.radius, 0.65f * node.radius);
    }
  return tubes;
}

}  // namespace acinus::anatomy
