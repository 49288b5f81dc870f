// What ./evaluate measures on masks, and how it shows what it found.
#include "apps/evaluation/evaluation.h"
#include "apps/evaluation/predictions.h"
#include "apps/report/charts.h"
#include "apps/report/svg_plot.h"
#include "data/formats/volume_io.h"
#include "data/scoring/rle.h"
#include "data/scoring/surface.h"
#include "tensor/io/file.h"
#include "tensor/text.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

using Mask = Volume<uint8_t>;

Mask random_mask(const Grid& grid, uint64_t seed, double share) {
  Mask mask(grid);
  Random random(seed);
  for (uint8_t& v : mask.voxels) v = random.uniform() < share ? 255 : 0;
  return mask;
}

// The definition, by all pairs of surface voxels.
double slow_hausdorff(const Mask& a, const Mask& b, double share) {
  const auto surface = [](const Mask& m) {
    std::vector<Vec3> points;
    const Index3 n = m.grid.size;
    for (int64_t z = 0; z < n[2]; z++)
      for (int64_t y = 0; y < n[1]; y++)
        for (int64_t x = 0; x < n[0]; x++) {
          bool open = false;
          for (const Index3 d : {Index3{1, 0, 0}, {-1, 0, 0}, {0, 1, 0}, {0, -1, 0}, {0, 0, 1}, {0, 0, -1}}) {
            const Index3 q{x + d[0], y + d[1], z + d[2]};
            bool inside = true;
            for (size_t k = 0; k < 3; k++) inside = inside && q[k] >= 0 && q[k] < n[k];
            open = open || !inside || !m.at(q[0], q[1], q[2]);
          }
          if (m.at(x, y, z) && open) points.push_back({double(x), double(y), double(z)});
        }
    return points;
  };
  const auto directed = [&](const std::vector<Vec3>& from, const std::vector<Vec3>& to) {
    std::vector<double> distances;
    for (const Vec3& p : from) {
      double least = INFINITY;
      for (const Vec3& q : to) {
        double sum = 0;
        for (size_t k = 0; k < 3; k++) sum += std::pow((p[k] - q[k]) * a.grid.spacing[k], 2);
        least = std::min(least, std::sqrt(sum));
      }
      distances.push_back(least);
    }
    std::sort(distances.begin(), distances.end());
    const double place = share * double(distances.size() - 1);
    const auto i = size_t(place);
    return i + 1 < distances.size() ? distances[i] * (1 - (place - double(i))) + distances[i + 1] * (place - double(i))
                                    : distances[i];
  };
  const auto s = surface(a), t = surface(b);
  return std::max(directed(s, t), directed(t, s));
}

Evaluation small_evaluation() {
  Evaluation e;
  e.title = "a <b> & 'c'", e.command = "./evaluate 'x < y'", e.notes = {"beware of <i>"};
  const Truth truth{{"a", "b<"}, {{"a", {0, 0, 0}, 10}, {"b<", {0, 0, 0}, 8}}, {}};
  e.submissions.push_back(
      evaluate_marks("<s>.csv", truth, {{"a", {1, -2, 2}, 9, 0.5}, {"b<", {90, 0, 0}, 3, 0.7}}, {}));
  e.masks = {{"a", true, true, 0.5, 1.0 / 3, INFINITY}, {"b<", false, false}};
  return e;
}

}  // namespace

TEST_CASE("surface: against all pairs of voxels, on grids that are not cubes") {
  for (uint64_t seed = 0; seed < 12; seed++) {
    Grid grid{{7, 5, 6}};
    grid.spacing = {0.7, 1.3, 2.5};
    const Mask a = random_mask(grid, seed, seed % 3 == 0 ? 0.03 : 0.6), b = random_mask(grid, seed + 100, 0.4);
    for (double share : {0.0, 0.5, 0.95, 1.0}) {
      CAPTURE(seed, share);
      CHECK(hausdorff_mm(a, b, share) == Approx(slow_hausdorff(a, b, share)).epsilon(1e-6));
      CHECK(hausdorff_mm(a, b, share) == hausdorff_mm(b, a, share));
    }
    CHECK(hausdorff_mm(a, a) == 0);
  }
}

TEST_CASE("surface: known distances, and masks that are empty") {
  Grid grid{{30, 20, 10}};
  grid.spacing = {0.5, 1, 3};
  Mask a(grid), b(grid);
  CHECK(hausdorff_mm(a, b) == 0);
  a.at(4, 5, 6) = 1;
  CHECK(hausdorff_mm(a, b) == INFINITY);
  CHECK(hausdorff_mm(b, a) == INFINITY);
  b.at(10, 9, 6) = 1;
  CHECK(hausdorff_mm(a, b) == Approx(5));  // 3 and 4
  // 40 voxels on each other and one far away: of one direction it is among the 5 % that are left out, not of 100 %.
  for (int64_t x = 0; x < 30; x++) a.at(x, 0, 0) = b.at(x, 0, 0) = 1;
  a.at(4, 5, 6) = b.at(10, 9, 6) = 0;
  b.at(0, 0, 9) = 1;
  CHECK(hausdorff_mm(a, b) == 0);
  CHECK(hausdorff_mm(a, b, 1) == Approx(27));
  grid.spacing[0] = 1;
  CHECK_THAT(error_of([&] { hausdorff_mm(a, Mask(grid)); }), Catch::Contains("different grids"));
}

TEST_CASE("rle: columns first, counted from 1, and back") {
  const uint8_t mask[] = {0, 1, 1,  //
                          1, 1, 0};
  CHECK(run_lengths(mask, 3, 2) == "2 4");
  const uint8_t apart[] = {7, 0, 0,  //
                           0, 0, 9};
  CHECK(run_lengths(apart, 3, 2) == "1 1 6 1");
  CHECK(run_lengths(apart, 0, 0) == "");
  CHECK(from_run_lengths("1 1 6 1", 3, 2) == std::vector<uint8_t>{1, 0, 0, 0, 0, 1});
  CHECK(from_run_lengths("", 2, 1) == std::vector<uint8_t>{0, 0});
  for (uint64_t seed = 0; seed < 20; seed++) {
    Mask m = random_mask(Grid{{int64_t(1 + seed % 7), int64_t(1 + seed % 5), 1}}, seed, 0.5);
    for (uint8_t& v : m.voxels) v = v != 0;
    CHECK(from_run_lengths(run_lengths(m.slice(0), m.grid.size[0], m.grid.size[1]), m.grid.size[0], m.grid.size[1]) ==
          m.voxels);
  }
  for (const char* wrong : {"0 1", "1 0", "1 7", "7 1", "6 2", "1 -1", "-1 1", "1 x", "1.5 1", "3 2 4 1", "3 1 1 1",
                            "1 9223372036854775807", "9223372036854775807 1"})
    CHECK_THAT(error_of([&] { from_run_lengths(wrong, 3, 2); }), Catch::Contains("run lengths: the pair"));
  CHECK_THAT(error_of([] { from_run_lengths("1 1 3", 3, 2); }), Catch::Contains("3 numbers"));
}

TEST_CASE("evaluation: how far off the marks lie") {
  const Annotation nodule{"a", {10, 20, 30}, 8};
  std::vector<Hit> hits{{nodule, {"a", {11, 18, 32}, 9, 1}}, {nodule, {"a", {13, 20, 26}, -1, 1}}};
  const std::vector<Spread> s = localisation(hits);
  REQUIRE(s.size() == 5);
  CHECK(s[0].mean == 2);
  CHECK(s[0].deviation == Approx(std::sqrt(2.0)));
  CHECK(s[1].mean == -1);
  CHECK(s[2].mean == -1);
  CHECK(s[3].errors == std::vector<double>{3, 5});
  CHECK(s[4].name == "diameter");
  CHECK(s[4].errors == std::vector<double>{1});  // the second's is unknown
  CHECK(std::isnan(s[4].deviation));
  CHECK(localisation({}).empty());
}

TEST_CASE("evaluation: tables say what there is, and what there is not") {
  const Evaluation e = small_evaluation();
  CHECK_THAT(counts_text(e),
             Catch::Contains("2 scans, 2 nodules, 0 excluded findings\n<s>.csv: 2 marks; 1 nodule found "
                             "(TP), 1 missed (FN), 1 false positive (FP)"));
  // The false positive is the more probable one: at half a false positive a scan, half of the nodules.
  CHECK_THAT(froc_text(e),
             Catch::Contains("<s>.csv                   0.000  0.000  0.500  0.500  0.500  0.500  0.500  0.357\n"
                             "  95 % from               0.000"));
  CHECK_THAT(froc_csv(e),
             Catch::StartsWith("submission,false_positives_per_scan,sensitivity,low,high,threshold\n<s>.csv,"
                               "0.125,0,0,") &&
                 Catch::Contains("\n<s>.csv,8,0.5,0,1,0.5\n"));
  CHECK(scans_csv(e) ==
        "seriesuid,nodules,found,false_positives,dice,iou,hd95_mm\n"
        "a,1,1,0,0.5,0.3333333333333333,inf\nb<,1,0,1,,,\n");
  CHECK_THAT(masks_text(e),
             Catch::Contains("mean over 1 with nodules") && Catch::Contains("without 1 where nothing was predicted"));
  CHECK_THAT(localisation_text(e), Catch::Contains("distance  mean    3.00   deviation       -"));
}

TEST_CASE("evaluation: the page holds the numbers, and no text becomes a tag") {
  const Evaluation e = small_evaluation();
  const std::string page = evaluation_html(e);
  for (const char* part : {"<h1>a &lt;b&gt; &amp; &#39;c&#39;</h1>", "<dd>0.357</dd>", "beware of &lt;i&gt;",
                           "aria-label='FROC curve: &lt;s&gt;.csv, CPM 0.357'", "b&lt;</th>", "<td>\xE2\x88\x9E</td>",
                           "<td>\xE2\x80\x93</td>", "./evaluate &#39;x &lt; y&#39;", "class='band s0'"})
    CHECK_THAT(page, Catch::Contains(part));
  for (const char* part : {"<s>", "<i>", "b<<", "nan", "inf"}) {
    CAPTURE(part);
    const size_t at = page.find(part, page.find("</style>"));
    CHECK((at == page.npos ? "" : page.substr(at, 60)) == "");
  }
}

TEST_CASE("evaluation: the FROC plot's dots lie at their rates, evenly, and its file stands alone") {
  const Evaluation e = small_evaluation();
  const std::string svg = svg_froc({{"one", e.submissions[0].froc}, {"<two>", e.submissions[0].froc}});
  std::vector<double> x, y;
  for (size_t at = svg.find("class='dot s1' cx='"); at != svg.npos; at = svg.find("class='dot s1' cx='", at + 1)) {
    double value;
    size_t begin = svg.find("cx='", at) + 4;
    REQUIRE(parse(svg.substr(begin, svg.find('\'', begin) - begin), value));
    x.push_back(value);
    begin = svg.find("cy='", at) + 4;
    REQUIRE(parse(svg.substr(begin, svg.find('\'', begin) - begin), value));
    y.push_back(value);
  }
  REQUIRE(x.size() == 7);
  for (size_t r = 1; r < 7; r++) CHECK(x[r] - x[r - 1] == Approx((x[6] - x[0]) / 6).margin(0.11));
  CHECK(y[0] - y[6] > 100);  // 0 and 0.5 of 254
  for (const char* rate : {">1/8<", ">1/4<", ">1/2<", ">1<", ">2<", ">4<", ">8<"}) CHECK(svg.find(rate) != svg.npos);
  CHECK_THAT(svg, Catch::Contains("&lt;two&gt;</text>") &&
                      Catch::Contains("0.500 at 1/2 false positive per scan (0.000 to 1.000)"));
  const std::string file = svg_file(svg);
  CHECK_THAT(file, Catch::StartsWith("<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 480 372'"));
  CHECK(file.find("var(") == file.npos);
  // Bars hold every value, at the ends of the axis, too.
  const std::string bars = svg_histogram({"x", "mm", {-1, 0, 0, 1}});
  CHECK_THAT(bars, Catch::Contains(": 1</title>") && Catch::Contains(": 2</title>"));
  CHECK_THAT(svg_histogram({"x", "mm", {2, 2, 2}}), Catch::Contains(": 3</title>"));
  CHECK_THAT(svg_scatter({"a", "mm", {0}}, {"b", "mm", {0}}), Catch::Contains("<title>0 mm, 0 mm</title>"));
}

TEST_CASE("evaluation: marks of other scans, doubled marks") {
  const Scratch folder;
  put(folder / "m.csv", "a,1,2,3,0.5\nx,1,2,3,0.5\na,1,2,3,0.4\ny,0,0,0,1\ny,0,0,1,1\n");
  std::vector<std::string> notes;
  const auto error = error_of([&] { read_marks(folder / "m.csv", {"a", "b"}, "s.csv", false, notes); });
  CHECK_THAT(error, Catch::Contains("m.csv:2: the scan x is not in s.csv (3 marks, of 2 scans in all)") &&
                        Catch::Contains("--ignore_unknown"));
  CHECK(read_marks(folder / "m.csv", {"a", "b"}, "s.csv", true, notes).size() == 5);
  REQUIRE(notes.size() == 2);
  CHECK_THAT(notes[0], Catch::Contains("left out: 3 marks, of 2 scans not in s.csv"));
  CHECK_THAT(notes[1], Catch::Contains("1 mark is at the same point as another: line 3 repeats line 1"));
  notes.clear();
  CHECK(read_marks(folder / "m.csv", {}, "", false, notes).size() == 5);  // any scan
  CHECK(notes.size() == 1);
}

TEST_CASE("evaluation: a mask against the data's own") {
  const Scratch folder;
  Grid grid{{24, 20, 12}};
  grid.spacing = {1, 1, 2};
  grid.origin = {-12, 5, 100};
  write_volume(folder / "a.mhd", Volume<int16_t>(grid, -800));
  const Source source{"a", "a", "", folder / "a.mhd", "", {{"a", grid.to_world({12, 10, 6}), 8}}};
  const CacheOptions cache{.folder = folder / "cache", .lungs = false};
  make_folder(cache.folder);
  MaskResult r = evaluate_mask(source, "", cache);
  CHECK(r.has_nodule);
  CHECK_FALSE(r.has_mask);
  Mask mask = cached_scan(source, DataKind::ct, cache).scan.mask();
  const auto judged = [&] {
    write_volume(folder / "a_mask.mhd", mask);
    return evaluate_mask(source, mask_path(folder.path.string(), "a"), cache);
  };
  r = judged();
  CHECK(r.has_mask);
  CHECK(r.dice == 1);
  CHECK(r.iou == 1);
  CHECK(r.hausdorff_mm == 0);
  for (uint8_t& v : mask.voxels) v = v ? 255 : 0;  // the other way to write it
  CHECK(judged().dice == 1);
  const auto voxels = double(std::count(mask.voxels.begin(), mask.voxels.end(), 255));
  mask.at(0, 10, 6) = 255;
  r = judged();
  CHECK(r.dice == Approx(2 * voxels / (2 * voxels + 1)));
  CHECK(r.iou == Approx(voxels / (voxels + 1)));
  std::fill(mask.voxels.begin(), mask.voxels.end(), uint8_t(0));
  r = judged();
  CHECK(r.dice == 0);
  CHECK(r.iou == 0);
  CHECK(r.hausdorff_mm == INFINITY);
  mask.grid.origin[0] += 1;
  CHECK_THAT(error_of(judged), Catch::Contains("a_mask.mhd: its voxel (0, 0, 0) lies at"));
  CHECK(mask_path(folder.path.string(), "b") == "");
  const Source beyond{"a", "a", "", folder / "a.mhd", "", {{"a", grid.to_world({12, 10, 40}), 8}}};
  r = evaluate_mask(beyond, "", cache);
  CHECK_FALSE(r.has_nodule);
  REQUIRE(r.warnings.size() == 1);
  CHECK_THAT(r.warnings[0], Catch::Contains("outside"));
}
