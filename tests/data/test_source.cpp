// What a data folder holds: scans of LUNA16 and Tianchi, images and masks.
#include "data/dataset/source.h"
#include "data/formats/npy.h"
#include "tensor/io/file.h"
#include "tests/data/folders.h"

#include <algorithm>
#include <set>

using namespace acinus;
namespace fs = std::filesystem;
using Catch::Contains;

namespace {

std::string source_error(const Scratch& folder) {
  return error_of([&] { find_sources(folder.path.string()); });
}

std::vector<std::string> ids(const Sources& sources) {
  std::vector<std::string> all;
  for (const Source& source : sources.list) all.push_back(source.id);
  return all;
}

const Source& source_named(const Sources& sources, const std::string& id) {
  const auto found =
      std::find_if(sources.list.begin(), sources.list.end(), [&](const Source& s) { return s.id == id; });
  REQUIRE(found != sources.list.end());
  return *found;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("source: LUNA16 as it is unpacked") {
  const Scratch folder;
  Names all;
  std::string list = names;
  for (int i = 0; i < 10; i++) {
    const std::string uid = text("1.3.6.", i);
    add_scan(folder, text("subset", i, "/", uid, ".mhd"));
    add_scan(folder, text("seg-lungs-LUNA16/", uid, ".mhd"));  // not the scan for a second time
    list += text(uid, ",1,2,3,4\n");
    all.push_back(uid);
  }
  put(folder / "annotations.csv", list + "1.3.6.4,5,6,7,8\n1.3.6.4,1,2,3,4\n1.3.6.77,1,2,3,4\n");
  put(folder / "subset0/._1.3.6.0.mhd", "a Mac's");
  put(folder / "candidates.csv", "of no interest");
  const Sources sources = find_sources(folder.path.string());
  CHECK(sources.kind == DataKind::ct);
  REQUIRE(ids(sources) == all);
  for (int i = 0; i < 10; i++) {
    const Source& s = sources.list[size_t(i)];
    CHECK((s.fold == text("subset", i) && s.patient == s.id && s.mask.empty()));
    CHECK(s.path == folder / text("subset", i, "/", s.id, ".mhd"));
    CHECK(s.nodules.size() == (i == 4 ? 2 : 1));  // the doubled row once
  }
  REQUIRE(sources.warnings.size() == 2);
  CHECK_THAT(sources.warnings[0], Contains("1 scan ") && Contains("1.3.6.77"));
  CHECK_THAT(sources.warnings[1], Contains("1 row twice"));
}

TEST_CASE("source: Tianchi's names and its place for the list, readers' outlines, any folders") {
  const Scratch folder;
  add_scan(folder, "train_subset00/LKDS-00001.mhd");
  add_scan(folder, "a folder/übung/LKDS-00002.nii.gz");
  add_scan(folder, "LKDS-00003.mha");
  add_scan(folder, "LKDS-00003_mask.nii");  // beside its scan, and none itself
  add_scan(folder, "LKDS-00003_prob.mhd");
  add_scan(folder, "readers/LKDS-00003_readers.nii.gz");
  folder_of(folder / "csv/train/annotations.csv");
  put(folder / "csv/train/annotations.csv", text(names, "LKDS-00001,1,2,3,4\n"));
  const Sources sources = find_sources(folder.path.string());
  CHECK(ids(sources) == Names{"LKDS-00001", "LKDS-00002", "LKDS-00003"});
  CHECK(sources.list[0].fold.empty());
  CHECK(sources.list[1].path == folder / "a folder/übung/LKDS-00002.nii.gz");
  CHECK(sources.list[2].mask == folder / "readers/LKDS-00003_readers.nii.gz");
  CHECK((sources.list[0].mask.empty() && sources.warnings.empty()));
}

TEST_CASE("source: links are followed, and loops of links end") {
  const Scratch folder;
  add_scan(folder, "store/x/1.mhd");
  fs::create_directories(folder / "luna");
  fs::create_directory_symlink(folder / "store/x", folder / "luna/subset3");
  fs::create_directory_symlink(folder / "luna", folder / "store/x/up");  // subset3/up/subset3/up/...
  fs::create_directory_symlink(".", folder / "luna/again");
  fs::create_symlink("itself", folder / "luna/itself");
  put(folder / "luna/annotations.csv", text(names, "1,1,2,3,4\n"));
  const Sources luna = find_sources(folder / "luna");
  REQUIRE(ids(luna) == Names{"1"});

  // A picture has the name of the link, not of what it leads to.
  add_picture(folder, "store/p/8f3a.png");
  add_picture(folder, "store/m/anna/1.png");
  fs::create_directories(folder / "pairs/images/anna");
  fs::create_symlink(folder / "store/p/8f3a.png", folder / "pairs/images/anna/1.png");
  fs::create_directory_symlink(folder / "store/m", folder / "pairs/masks");
  const Sources pairs = find_sources(folder / "pairs");
  REQUIRE(ids(pairs) == Names{"anna/1"});
  CHECK(pairs.list[0].patient == "anna");
  put(folder / "luna/subset3/2.mhd", "");
  fs::create_symlink(folder / "nowhere", folder / "luna/3.mhd");  // whoever reads it will say so
  CHECK(ids(find_sources(folder / "luna")) == Names{"1", "2", "3"});
}

TEST_CASE("source: images and masks of the same name") {
  const Scratch folder;
  Volume<uint8_t> slice(Grid{{4, 3, 1}});
  for (const char* name : {"a.png", "b.png", "c.png", "d_0000.png", "anna/1.png", "anna/2.png", "ben/1.png"})
    add_picture(folder, text("images/", name));
  for (const char* name : {"a.png", "b_mask.png", "c_seg.png", "d.png", "anna/1.png", "anna/2_mask.png", "ben/1.png"})
    add_picture(folder, text("masks/", name));
  write_npy(folder / "images/n.npy", {3, 4}, std::vector<float>(12));
  write_npy(folder / "masks/n.npy", {3, 4}, std::vector<uint8_t>(12));
  write_volume(folder / "images/v.nii.gz", slice);
  write_volume(folder / "masks/v.mhd", slice);  // its .raw is no picture
  write_volume(folder / "images/w.w.mhd", slice);
  write_volume(folder / "masks/w.w_seg.nii", slice);
  put(folder / "images/readme.txt", "");
  Sources sources = find_sources(folder.path.string());
  CHECK(sources.kind == DataKind::pictures);
  CHECK(ids(sources) == Names{"a", "anna/1", "anna/2", "b", "ben/1", "c", "d_0000", "n", "v", "w.w"});
  CHECK(sources.warnings.empty());
  const auto mask = [&](const char* id) { return fs::path(source_named(sources, id).mask).filename().string(); };
  CHECK((mask("a") == "a.png" && mask("b") == "b_mask.png" && mask("c") == "c_seg.png" && mask("d_0000") == "d.png"));
  CHECK((mask("anna/2") == "2_mask.png" && mask("v") == "v.mhd" && mask("w.w") == "w.w_seg.nii"));
  CHECK(source_named(sources, "ben/1").mask == folder / "masks/ben/1.png");
  CHECK((source_named(sources, "anna/1").patient == "anna" && source_named(sources, "anna/2").patient == "anna"));
  CHECK((source_named(sources, "ben/1").patient == "ben" && source_named(sources, "a").patient == "a"));

  add_picture(folder, "images/alone.png");
  add_picture(folder, "images/zoo.png");
  add_picture(folder, "masks/nobody.png");
  sources = find_sources(folder.path.string());
  REQUIRE(sources.warnings.size() == 2);
  CHECK_THAT(sources.warnings[0], Contains("2 images have no mask") && Contains("images/alone.png"));
  CHECK_THAT(sources.warnings[1], Contains("1 mask without an image") && Contains("masks/nobody.png"));
  CHECK(sources.list.size() == 10);

  write_npy(folder / "images/a.npy", {3, 4}, std::vector<float>(12));
  CHECK_THAT(source_error(folder), Contains("two pictures have one name") && Contains("a.npy") && Contains("a.png"));
}

TEST_CASE("source: each thing that is wrong is said") {
  const Scratch folder;
  CHECK_THAT(error_of([&] { find_sources(folder / "none"); }), Contains("none: no such folder"));
  put(folder / "file", "");
  CHECK_THAT(error_of([&] { find_sources(folder / "file"); }), Contains("file: no such folder"));
  CHECK_THAT(source_error(folder), Contains("holds no annotations.csv") && Contains("images/ and masks/"));
  put(folder / "annotations.csv", names);
  CHECK_THAT(source_error(folder), Contains("holds no scan"));
  add_scan(folder, "subset0/1.2.3.mhd");
  CHECK_THAT(source_error(folder), Contains("no row of annotations.csv") && Contains("1.2.3"));
  put(folder / "annotations.csv", text(names, "9.9,1,2,3,4\n"));
  CHECK_THAT(source_error(folder), Contains("1 scan here") && Contains("1.2.3") && Contains("9.9"));
  put(folder / "annotations.csv", text(names, "1.2.3,-8,6,104\n"));
  CHECK_THAT(source_error(folder), Contains("annotations.csv:2"));
  put(folder / "annotations.csv", text(names, "1.2.3,-8,6,104,3\n"));
  CHECK(source_error(folder) == "no error");
  add_scan(folder, "subset1/1.2.3.mha");
  CHECK_THAT(source_error(folder), Contains("1.2.3 is there twice") && Contains("1.2.3.mhd") && Contains("1.2.3.mha"));

  fs::remove(folder / "annotations.csv");
  fs::create_directories(folder / "images");
  CHECK_THAT(source_error(folder), Contains("holds no annotations.csv"));
  fs::create_directories(folder / "masks");
  CHECK_THAT(source_error(folder), Contains("images: holds no picture"));
  add_picture(folder, "images/a.png");
  CHECK_THAT(source_error(folder), Contains("images/a.png") && Contains("there is no mask"));
  add_picture(folder, "masks/b.png");
  CHECK_THAT(source_error(folder), Contains("images/a.png") && Contains("masks/b.png"));
}
