// Candidates: from a probability map to points in the patient, and their tables.
#include <algorithm>

#include "data/formats/annotations.h"
#include "data/scoring/candidates.h"
#include "tensor/io/file.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

const Mat3 flipped{{{-1, 0, 0}, {0, -1, 0}, {0, 0, 1}}};

Volume<float> empty_map() { return Volume<float>(Grid{{12, 10, 8}, {1, 1, 2}, {5, -3, 100}, flipped}); }

}  // namespace

TEST_CASE("candidates: the weighted middle in world millimetres, the diameter of a ball of that volume") {
  Volume<float> p = empty_map();
  p.at(2, 3, 4) = 0.3f, p.at(3, 3, 4) = 0.9f;             // two voxels, 4 mm3
  for (int64_t x = 7; x < 10; x++) p.at(x, 8, 6) = 0.5f;  // three voxels
  p.at(0, 0, 0) = 0.6f, p.at(1, 1, 1) = 0.6f;             // touching by a corner: one
  p.at(11, 0, 0) = 0.1f;                                  // not above the threshold
  const auto found = find_candidates(p, "a", {.threshold = 0.1, .min_diameter_mm = 0});
  REQUIRE(found.size() == 3);
  CHECK(found[0].seriesuid == "a");
  CHECK(found[0].probability == Approx(0.9));  // of its most probable voxel: 0 mm are one voxel
  CHECK(found[0].centre[0] == Approx(5 - 2.75));
  CHECK(found[0].centre[1] == Approx(-3 - 3.0));
  CHECK(found[0].centre[2] == Approx(108));
  CHECK(found[0].diameter_mm == Approx(std::cbrt(4 * 6 / M_PI)));
  CHECK(found[1].probability == Approx(0.6));
  CHECK(found[1].centre[0] == Approx(4.5));
  CHECK(found[1].centre[2] == Approx(101));
  CHECK(found[2].centre[0] == Approx(-3));

  SECTION("small ones are left out, and the probability is a mean over as many voxels") {
    // 1.9 mm: 3.6 mm3, so two voxels of 2 mm3 are enough
    CHECK(find_candidates(p, "a", {.threshold = 0.1, .min_diameter_mm = 1.9}).size() == 3);
    const auto larger = find_candidates(p, "a", {.threshold = 0.1, .min_diameter_mm = 2.2});  // 5.6 mm3
    REQUIRE(larger.size() == 1);
    CHECK(larger[0].probability == Approx(0.5));
    CHECK(find_candidates(p, "a", {.threshold = 0.1, .min_diameter_mm = 3}).empty());
    const auto both =
        find_candidates(p, "a", {.threshold = 0.1, .min_diameter_mm = std::cbrt(4.0001 * 6 / M_PI) - 1e-4});
    CHECK(both.size() == 3);
    const auto exact = find_candidates(p, "a", {.threshold = 0.1, .min_diameter_mm = std::cbrt(4 * 6 / M_PI)});
    REQUIRE(exact.size() == 3);
    CHECK(exact[1].probability == Approx(0.6));
    CHECK(exact[0].probability == Approx(0.6));  // (0.9 + 0.3) / 2
  }
  SECTION("the most probable ones are kept") {
    const auto two = find_candidates(p, "a", {.threshold = 0.1, .min_diameter_mm = 0, .max_count = 2});
    REQUIRE(two.size() == 2);
    CHECK(two[1].probability == Approx(0.6));
  }
  SECTION("nothing found") {
    CHECK(find_candidates(p, "a", {.threshold = 0.95}).empty());
    CHECK(find_candidates(empty_map(), "a", {}).empty());
  }
  SECTION("and written") {
    Scratch scratch;
    write_candidates(scratch / "nodules.csv", found);
    const auto back = read_candidates(scratch / "nodules.csv");
    REQUIRE(back.size() == 3);
    for (size_t i = 0; i < 3; i++) {
      CHECK(back[i].seriesuid == "a");
      for (size_t k = 0; k < 3; k++) CHECK(std::abs(back[i].centre[k] - found[i].centre[k]) <= 0.0005001);
      CHECK(std::abs(back[i].diameter_mm - found[i].diameter_mm) <= 0.0005001);
      CHECK(back[i].probability == found[i].probability);
    }
  }
}

TEST_CASE("candidates: tables with and without a line of names") {
  const Scratch folder;
  const std::vector<Candidate> expected{{"LKDS-00001", {-100.5, 2, 3e1}, -1, 0.75}, {"1.2.3", {0, 0, 0}, -1, -12}};
  const auto equal = [](const Candidate& a, const Candidate& b) {
    return a.seriesuid == b.seriesuid && a.centre == b.centre && a.diameter_mm == b.diameter_mm &&
           a.probability == b.probability;
  };
  for (const char* content :
       {"seriesuid,coordX,coordY,coordZ,probability\nLKDS-00001,-100.5,2,30,0.75\n1.2.3,0,0,0,-12\n",
        "LKDS-00001,-100.5,2,30,0.75\n1.2.3,0,0,0,-12\n", "LKDS-00001\t-100.5\t2\t30\t.75\r\n1.2.3\t0\t0\t0\t-12",
        "\xEF\xBB\xBFLKDS-00001,-100.5,2,30,0.75\r\n\r\n1.2.3,0,0,0,-12\r\n",
        "\xEF\xBB\xBFprobability,coordZ,class,coordY,coordX,seriesuid\n.75,30,1,2,-100.5,LKDS-00001\n-12,0,0,0,0,1.2."
        "3\n"}) {
    CAPTURE(content);
    put(folder / "m.csv", content);
    std::vector<int64_t> lines;
    const std::vector<Candidate> read = read_candidates(folder / "m.csv", &lines);
    CHECK(std::equal(read.begin(), read.end(), expected.begin(), expected.end(), equal));
    REQUIRE(lines.size() == 2);
    CHECK(lines[1] == lines[0] + (std::string(content).find("\r\n\r\n") != std::string::npos ? 2 : 1));
  }
  const std::vector<Candidate> with_diameter{{"a", {1, 2, 3}, 4.5, 0.25}};
  write_candidates(folder / "nodules.csv", with_diameter);
  CHECK(equal(read_candidates(folder / "nodules.csv").at(0), with_diameter[0]));
  put(folder / "m.csv", "seriesuid,coordX,coordY,coordZ,probability\n");  // nothing found: that is a submission, too
  CHECK(read_candidates(folder / "m.csv").empty());

  put(folder / "a.csv", "a,1,2,3,4\nb,1,2,3,-1\n");
  CHECK(read_annotations(folder / "a.csv") == std::vector<Annotation>{{"a", {1, 2, 3}, 4}, {"b", {1, 2, 3}, -1}});
  for (const char* content : {"a\nb\n", "seriesuid\na\nb\n", "n,seriesuid\n1,a\n2,b\n"}) {
    put(folder / "s.csv", content);
    CHECK(read_seriesuids(folder / "s.csv") == std::vector<std::string>{"a", "b"});
  }
}

TEST_CASE("candidates: what is wrong with a table is said with its line") {
  const Scratch folder;
  const auto error = [&](const std::string& content) {
    put(folder / "m.csv", content);
    return error_of([&] { read_candidates(folder / "m.csv"); });
  };
  const std::string names = "seriesuid,coordX,coordY,coordZ,probability\n";
  for (const char* wrong : {"nan", "inf", "", "high", "1e999"}) {
    CHECK_THAT(error(names + "a,1,2,3,0.5\na,1,2,3," + wrong + "\n"),
               Catch::Contains(text("m.csv:3: probability is '", wrong, "', not a number")));
    CHECK_THAT(error(text("a,1,2,3,0.5\na,", wrong, ",2,3,0.5\n")),
               Catch::Contains(text("m.csv:2: coordX is '", wrong, "', not a number")));
  }
  CHECK_THAT(error("seriesuid,coordX,coordY,coordZ,class\na,1,2,3,1\n"),
             Catch::Contains("m.csv:1: there is no column 'probability' in seriesuid,coordX,coordY,coordZ,class"));
  CHECK_THAT(error("seriesuid,coordX,coordY,coordZ,class\n"), Catch::Contains("no column 'probability'"));
  CHECK_THAT(error("id,x,y,z,p\na,1,2,3,0.5\n"),
             Catch::Contains("m.csv:1: there is no column 'seriesuid' in id,x,y,z,p"));
  CHECK_THAT(error("a,1,2,3\n"),
             Catch::Contains("m.csv:1: 4 fields and no header line; without one each line must "
                             "be seriesuid,coordX,coordY,coordZ,probability"));
  CHECK_THAT(error("a,1,2,3,4,5\n"), Catch::Contains("m.csv:1: 6 fields"));
  CHECK_THAT(error("a,1,2,3,4\na,1,2,3\n"), Catch::Contains("m.csv:2: 4 fields"));
  CHECK_THAT(error(names + ",1,2,3,4\n"), Catch::Contains("m.csv:2: the seriesuid is missing"));
  CHECK_THAT(error(""), Catch::Contains("m.csv: is empty"));
  put(folder / "s.csv", "a\nb\na\n");
  CHECK_THAT(error_of([&] { read_seriesuids(folder / "s.csv"); }),
             Catch::Contains("s.csv:3: a occurs twice, first in line 1"));
  put(folder / "s.csv", "a,1,2,3,4\n");
  CHECK_THAT(error_of([&] { read_seriesuids(folder / "s.csv"); }), Catch::Contains("s.csv:1: 5 fields"));
}
