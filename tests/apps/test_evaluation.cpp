// What ./evaluate measures on masks, and how it shows what it found.
#include "apps/evaluation/evaluation.h"
#include "apps/report/svg_plot.h"
#include "data/formats/volume_io.h"
#include "tensor/io/file.h"
#include "tensor/text.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

using Mask = Volume<uint8_t>;

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
