#include "data/dataset/source.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <set>

#include "data/formats/annotations.h"
#include "data/formats/volume_io.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {

namespace {

namespace fs = std::filesystem;

// Calls visit(path, name) for each file below a folder, in the order of names, which are relative to it. Leaves out the
// folders named in `except` and hidden files (macOS leaves "._scan.mhd" next to a scan). Links are followed, but no
// folder is entered twice: a link to a parent folder would never end.
template <class Visit>
void for_each_file(const std::string& folder, const std::set<std::string>& except, Visit visit) {
  std::set<fs::path> entered;
  const std::function<void(const fs::path&, const std::string&)> enter = [&](const fs::path& in,
                                                                             const std::string& name) {
    if (!entered.insert(fs::canonical(in)).second) return;
    std::vector<fs::path> inside;
    for (const auto& entry : fs::directory_iterator(in, fs::directory_options::skip_permission_denied))
      inside.push_back(entry.path());
    std::sort(inside.begin(), inside.end());
    for (const fs::path& path : inside) {
      const std::string last = path.filename().string();
      if (last.starts_with('.')) continue;
      std::error_code unreachable;  // of a dangling link: reported when the file is read
      if (!fs::is_directory(path, unreachable))
        visit(path.string(), name + last);
      else if (!except.contains(last))
        enter(path, name + last + "/");
    }
  };
  enter(folder, "");
}

std::string fold_of(const fs::path& path) {
  std::string fold;
  for (const fs::path& part : path.parent_path()) {
    const std::string name = part.string();
    int64_t number;
    if (name.starts_with("subset") && parse(name.substr(6), number)) fold = name;
  }
  return fold;
}

// ---- LUNA16

const char* const kLists[] = {"annotations.csv", "csv/train/annotations.csv", "CSVFILES/annotations.csv"};

std::string list_of(const std::string& folder) {
  for (const char* list : kLists)
    if (fs::exists(folder + "/" + list)) return folder + "/" + list;
  return "";
}

// LUNA16's lung masks and the readers' outlines have the names of their scans.
const std::set<std::string> kNoScans{"seg-lungs-LUNA16", "readers"};

Sources find_luna(const std::string& folder) {
  std::map<std::string, Source> scans;
  for_each_file(folder, kNoScans, [&](const std::string& path, const std::string&) {
    const std::string uid = volume_name(path);
    if (volume_ending(path).empty()) return;
    if (uid.ends_with("_readers") || uid.ends_with("_mask") || uid.ends_with("_prob")) return;
    const auto [it, is_new] = scans.emplace(uid, Source{uid, uid, fold_of(path), path, "", {}});
    if (!is_new) fail("the scan ", uid, " is there twice: ", it->second.path, " and ", path, "; remove one");
  });
  if (scans.empty()) fail(folder, ": holds no scan (", kVolumeEndingsText, "), in it or in the folders below");

  Sources sources;
  std::set<std::string> without_scan;
  size_t doubled = 0;
  const std::vector<Annotation> annotations = read_annotations(list_of(folder));
  for (const Annotation& a : annotations) {
    const auto scan = scans.find(a.seriesuid);
    if (scan == scans.end())
      without_scan.insert(a.seriesuid);
    else if (std::ranges::count(scan->second.nodules, a) > 0)
      doubled++;
    else
      scan->second.nodules.push_back(a);
  }
  if (std::ranges::all_of(scans, [](const auto& scan) { return scan.second.nodules.empty(); }))
    fail(folder, ": no row of annotations.csv names one of the ", counted(scans.size(), "scan"),
         " here; the first scan is ", scans.begin()->first,
         annotations.empty() ? "" : ", the first annotation names " + annotations.front().seriesuid);
  if (!without_scan.empty())
    sources.warnings.push_back(text("annotations.csv names ", counted(without_scan.size(), "scan"),
                                    " that are not here, ", *without_scan.begin(), " for one"));
  if (doubled > 0)
    sources.warnings.push_back(text("annotations.csv has ", counted(doubled, "row"), " twice; taken once"));
  for (auto& [uid, source] : scans) {
    for (const char* ending : kVolumeEndings)
      if (const std::string path = folder + "/readers/" + uid + "_readers" + ending; source.mask.empty())
        source.mask = fs::exists(path) ? path : "";
    sources.list.push_back(std::move(source));
  }
  return sources;
}

// ---- pictures

std::string picture_ending(const std::string& path) {
  for (const std::string ending : {".png", ".npy"})
    if (path.ends_with(ending)) return ending;
  return volume_ending(path);
}

// Files of pictures below a folder, by their path below it without the ending: "anna/1".
std::map<std::string, std::string> pictures_below(const std::string& folder) {
  std::map<std::string, std::string> pictures;
  for_each_file(folder, {}, [&](const std::string& path, const std::string& name) {
    const std::string ending = picture_ending(path);
    if (ending.empty()) return;
    const auto [it, is_new] = pictures.emplace(name.substr(0, name.size() - ending.size()), path);
    if (!is_new) fail("two pictures have one name: ", it->second, " and ", path, "; remove or rename one");
  });
  return pictures;
}

Sources find_pictures(const std::string& folder) {
  const auto images = pictures_below(folder + "/images"), masks = pictures_below(folder + "/masks");
  if (images.empty()) fail(folder, "/images: holds no picture (.png, .npy, ", kVolumeEndingsText, ")");
  Sources sources{DataKind::pictures, {}, {}};
  auto unused = masks;
  std::string lonely;
  size_t without_mask = 0;
  for (const auto& [name, path] : images) {
    const std::string plain = name.ends_with("_0000") ? name.substr(0, name.size() - 5) : name;
    std::string mask;
    for (const std::string& candidate : {name, name + "_mask", name + "_seg", plain})
      if (masks.contains(candidate) && mask.empty()) mask = candidate;
    if (mask.empty()) {
      if (without_mask++ == 0) lonely = path;
      continue;
    }
    unused.erase(mask);
    const std::string below = fs::path(name).parent_path().generic_string();
    sources.list.push_back({name, below.empty() ? name : below, fold_of(path), path, masks.at(mask), {}});
  }
  if (sources.list.empty())
    fail(folder, ": no mask in masks/ has the name of an image in images/; the first image is ", images.begin()->second,
         masks.empty() ? ", and there is no mask" : ", the first mask " + masks.begin()->second);
  if (without_mask > 0)
    sources.warnings.push_back(text(counted(without_mask, "image"), without_mask == 1 ? " has" : " have",
                                    " no mask and is left out: ", lonely, without_mask > 1 ? ", ..." : ""));
  if (!unused.empty())
    sources.warnings.push_back(text(counted(unused.size(), "mask"), " without an image: ", unused.begin()->second,
                                    unused.size() > 1 ? ", ..." : ""));
  return sources;
}

}  // namespace

std::vector<Annotation> read_excluded(const std::string& folder) {
  const fs::path list = list_of(folder);
  const std::string path = list.parent_path() / "annotations_excluded.csv";
  return !list.empty() && fs::exists(path) ? read_annotations(path) : std::vector<Annotation>{};
}

std::vector<std::string> files_below(const std::string& folder) try {
  std::vector<std::string> files;
  for_each_file(folder, kNoScans, [&](const std::string& path, const std::string&) { files.push_back(path); });
  return files;
} catch (const fs::filesystem_error& error) {
  fail("cannot look into ", error.path1().string(), ": ", error.code().message());
}

bool holds_pictures(const std::string& folder) {
  return fs::is_directory(folder + "/images") && fs::is_directory(folder + "/masks") && list_of(folder).empty();
}

Sources find_sources(const std::string& folder) try {
  if (!fs::is_directory(folder))
    fail(folder,
         ": no such folder; data are a folder in LUNA16 form, or one that holds images/ and masks/ (see README)");
  if (holds_pictures(folder)) return find_pictures(folder);
  if (!list_of(folder).empty()) return find_luna(folder);
  fail(folder, ": holds no annotations.csv (seriesuid,coordX,coordY,coordZ,diameter_mm), nor images/ and masks/");
} catch (const fs::filesystem_error& error) {
  fail("cannot look into ", error.path1().string(), ": ", error.code().message());
}

}  // namespace acinus
