// predict: runs trained U-Nets over scans and writes what they find: nodules in world millimetres, masks on the scans'
// own grids, pictures and pages. With networks for other tasks, it writes the masks of images.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <new>

#include "apps/common/cli.h"
#include "apps/common/machine.h"
#include "apps/prediction/prediction.h"
#include "data/dataset/source.h"
#include "data/formats/csv.h"
#include "data/formats/volume_io.h"
#include "nn/fold.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

using namespace acinus;

namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> scans;
  std::string model, classifier, out;
  Machine machine;
  PredictionOptions prediction{.segment = {}, .threshold = 0};

  void add_settings(Settings& s) {
    PredictionOptions& p = prediction;
    s.add_argument("SCAN", scans,
                   text("a scan in Hounsfield units (", kVolumeEndingsText,
                        ") or an image; a folder of them; or a .txt file with a path per line. One or more"));
    s.add("model", model, "a network, such as runs/laptop/best.safetensors; comma-separated networks are averaged");
    s.add("classifier", classifier, "a network of ./train --task classify, whose probabilities replace the model's");
    s.add("out", out, "folder for the results; default predictions, or predictions-2, ...");
    s.add("threshold", p.threshold, "probability above which a voxel is in the mask; 0: as the network was trained")
        .between(0, 1);
    s.add("mirror", p.segment.mirror, "average over mirrored slices, in four times the time");
    s.add("batch", p.segment.batch, "slices per batch; 0: as many as pay").between(0, 256);
    s.add("candidates.threshold", p.candidates.threshold, "probability above which a voxel is part of a candidate")
        .between(0, 1);
    s.add("candidates.min_diameter_mm", p.candidates.min_diameter_mm,
          "smaller candidates are left out; diameter of a sphere of the same volume")
        .between(0, 1000);
    s.add("candidates.most", p.candidates.max_count, "maximum per scan").between(1, 100000);
    s.add("pictures", p.pictures, "maximum per scan, of the most probable candidates").between(0, 1000);
    s.add("probability", p.probability, "write <uid>_prob.mhd");
    s.add("rle", p.rle, "write <uid>_rle.csv: slice,class,rle (Kaggle's run-length encoding)");
    machine.add_settings(s);
  }
  // What 0 stands for, and what the pages say of the networks.
  void complete(const InputFormat& format) {
    PredictionOptions& p = prediction;
    p.segment.activations = machine.activations();
    if (p.threshold == 0) p.threshold = format.threshold;
    p.about = {{"network", model}, {"threshold of the mask", text(p.threshold)}};
    if (!classifier.empty()) p.about.emplace_back("probabilities by the classifier", classifier);
  }
};

// An ensemble of U-Nets, whose probabilities are averaged, and perhaps a classifier of what they find.
struct Networks {
  std::vector<std::unique_ptr<UNet>> nets;
  std::vector<Segmenter> segmenters;
  LoadedClassifier classifier;

  const InputFormat& format() const { return segmenters[0].format; }
};

Networks load_networks(const Options& options, Device device) {
  Networks networks;
  const std::vector<std::string> paths = split_list(options.model);
  for (const std::string& path : paths) {
    if (!fs::exists(path)) fail("cannot read ", path, ": there is no such network; ./train makes one");
    const LoadedUNet loaded = load_unet(path);
    UNet& net = *networks.nets.emplace_back(folded(*loaded.net));
    net.to(device);
    const InputFormat added = input_format(loaded.metadata, path);
    networks.segmenters.push_back({&net, added});
    if (added.lungs != networks.format().lungs || added.channels != networks.format().channels ||
        net.options().out != networks.nets[0]->options().out)
      fail(path, ": cannot be averaged with ", paths[0],
           ": their channels, classes or restriction to the lungs differ");
  }
  if (options.classifier.empty()) return networks;
  if (!networks.format().of_scans())
    throw UsageError("--classifier is for nodules in scans, but --model was trained on images and masks");
  networks.classifier = load_classifier(options.classifier);
  networks.classifier.net->to(device);
  return networks;
}

// ---- the inputs

// A scan, or a picture if the networks take pictures; but not what ./predict itself or the readers wrote.
bool is_input(const std::string& path, bool pictures) {
  if (volume_ending(path).empty() && !(pictures && (path.ends_with(".png") || path.ends_with(".npy")))) return false;
  const std::string id = scan_id(path);
  return !id.ends_with("_mask") && !id.ends_with("_prob") && !id.ends_with("_readers");
}

// The paths in a .txt file, relative to the current folder or to that of the file. Lines with # are comments.
std::vector<std::string> paths_in_list(const std::string& list) {
  std::vector<std::string> paths;
  const std::string content = read_file(list, int64_t(1) << 26);
  std::string_view rest = content;
  if (rest.starts_with(kByteOrderMark)) rest.remove_prefix(kByteOrderMark.size());
  while (!rest.empty()) {
    const std::string path(trimmed(next_line(rest)));
    if (path.empty() || path[0] == '#') continue;
    const fs::path beside_list = fs::path(list).parent_path() / path;
    paths.push_back(!fs::exists(path) && fs::exists(beside_list) ? beside_list.string() : path);
  }
  if (paths.empty()) fail(list, ": names no scan; write one path per line");
  return paths;
}

std::vector<std::string> paths_in_folder(const std::string& folder, bool pictures) {
  std::vector<std::string> paths = files_below(holds_pictures(folder) ? folder + "/images" : folder);
  std::erase_if(paths, [&](const std::string& path) { return !is_input(path, pictures); });
  if (paths.empty())
    fail(folder, ": there is no scan in it or below it (", kVolumeEndingsText, pictures ? ", .png or .npy" : "", ")");
  return paths;
}

// Each scan once. Results are named after their scans, so two scans with one name are an Error.
std::vector<std::string> find_inputs(const std::vector<std::string>& scans, bool pictures) {
  std::map<std::string, std::string> path_of_id;
  std::vector<std::string> inputs;
  for (const std::string& scan : scans) {
    if (!fs::exists(scan)) fail(scan, ": No such file or directory");
    for (const std::string& path : fs::is_directory(scan)   ? paths_in_folder(scan, pictures)
                                   : scan.ends_with(".txt") ? paths_in_list(scan)
                                                            : std::vector{scan}) {
      const auto [it, is_new] = path_of_id.emplace(scan_id(path), path);
      if (is_new)
        inputs.push_back(path);
      else if (it->second != path)
        fail("two scans are called ", it->first, ": ", it->second, " and ", path,
             "; results are named after their scans, so predict them into different folders (--out)");
    }
  }
  return inputs;
}

// ---- the results

// The folder for the results; true if it is new.
bool make_output_folder(Options& options, const std::vector<std::string>& inputs) {
  if (options.out.empty()) options.out = fresh_folder("predictions");
  const std::string& out = options.out;
  const bool is_new = !fs::exists(out);
  for (const std::string& input : inputs)
    if (!is_new && fs::exists(input) && fs::equivalent(fs::absolute(input).parent_path(), out))
      throw UsageError("--out " + out + " is the folder of " + input + "; results need another folder");
  make_folder(out);
  if (access(out.c_str(), W_OK) != 0) fail("cannot write into the folder ", out, ": ", std::strerror(errno));
  return is_new;
}

// "14 nodules among 20 candidates, 812 mm3; 120 slices, 3.2 s (reading 0.2 s, ..., writing 0.1 s)"
std::string summary(const Prediction& p, double threshold, double seconds) {
  const Grid& grid = p.mask.grid;
  const auto voxels = int64_t(p.mask.voxels.size()) - std::ranges::count(p.mask.voxels, 0);
  const double mm3 = double(voxels) * grid.spacing[0] * grid.spacing[1] * grid.spacing[2];
  std::string stages;
  for (const auto& [stage, time] : p.timings)
    stages += text(stages.empty() ? "" : ", ", stage, " ", fixed(time, 1), " s");
  return text(p.has_nodules ? text(counted(p.nodules(threshold), "nodule"), " among ",
                                   counted(p.candidates.size(), "candidate"), ", ", fixed(mm3, 0), " mm3")
                            : text(voxels, " voxels of foreground"),
              "; ", grid.size[2], " slices, ", fixed(seconds, 1), " s (", stages, ")");
}

// The scans of a call, and the tables and the page that list them.
class Batch {
 public:
  Batch(const Options& options, const Networks& networks, bool folder_is_new)
      : options_(options), networks_(networks), folder_is_new_(folder_is_new) {
    if (!fs::exists(options.out + "/nodules.csv")) return;
    for (Candidate& candidate : read_candidates(options.out + "/nodules.csv"))
      candidates_[candidate.seriesuid].push_back(std::move(candidate));
  }

  // Returns the exit code. A scan that fails does not keep the others from being predicted.
  int predict(const std::vector<std::string>& inputs) {
    const size_t n = inputs.size();
    std::vector<std::string> files;  // of the last scan
    std::string error;               // why the last scan failed
    for (size_t i = 0; i < n; i++) {
      const std::string counter = n > 1 ? text("[", i + 1, "/", n, "] ") : "";
      error.clear();
      try {
        files = predict(inputs[i], counter);
      } catch (const std::bad_alloc&) {
        error = text(inputs[i], ": not enough memory");
      } catch (const std::exception& e) {  // an Error, or the file system's
        error = e.what();
      }
      if (!error.empty()) warnings_.push_back(error), failed_++;
      if (!error.empty() && n > 1) std::fprintf(stderr, "%sfailed: %s\n", counter.c_str(), error.c_str());
      std::fflush(stdout);
      if (error.empty() && files.empty()) return stop(text(i, " of ", n));
    }
    write_tables();
    if (n == 1 && !error.empty()) {
      remove_folder_if_empty();
      fail(error);
    }
    if (n > 1) {
      write_file(options_.out + "/index.html", page(n));
      files = {"index.html"};
    }
    if (predicted_ > 0) {
      const size_t others = candidates_.size() - predicted_;
      const std::string earlier = others > 0 ? text(", with ", counted(others, "scan"), " of earlier calls") : "";
      files.insert(files.begin(), {"nodules.csv" + earlier, "submission.csv"});
    }
    for (const std::string& file : files) std::printf("%s/%s\n", options_.out.c_str(), file.c_str());
    if (failed_ > 0) std::printf("%zu of %zu scans failed\n", failed_, n);
    return failed_ > 0 ? 1 : 0;
  }

 private:
  // Predicts one scan, writes its files and prints what was found. Returns the files; nothing if the user stopped it.
  std::vector<std::string> predict(const std::string& path, const std::string& counter) {
    const double start = seconds_now(), threshold = options_.prediction.threshold;
    Prediction p;
    {
      Progress progress(counter + "slices", 1);
      const auto go_on = [&](int64_t done, int64_t total) {
        progress.update(done, total);
        return noted_signal() == 0;
      };
      p = predict_scan(path, networks_.segmenters, options_.prediction, networks_.classifier, go_on);
    }
    if (p.stopped) return {};
    const std::vector<std::string> files = write_prediction(p, options_.out, options_.prediction);
    const double seconds = seconds_now() - start;
    if (p.has_nodules) {
      candidates_[p.id] = p.candidates;
      predicted_++;
      if (seconds_now() - written_ > 30) write_tables();  // so that little is lost if the program is killed
    }
    add_row(p, seconds);
    for (const std::string& warning : p.warnings) std::printf("%s: warning: %s\n", p.id.c_str(), warning.c_str());
    std::printf("%s%s: %s\n", counter.c_str(), path.c_str(), summary(p, threshold, seconds).c_str());
    return files;
  }

  // A row of the page that lists the scans.
  void add_row(const Prediction& p, double seconds) {
    for (const std::string& warning : p.warnings) warnings_.push_back(p.id + ": " + warning);
    const std::string name = escaped(p.id), time = fixed(seconds, 1);
    if (p.has_nodules)
      table_.rows.push_back({text("<a href='", url_encoded(p.id), ".html'>", name, "</a>"),
                             text(p.nodules(options_.prediction.threshold)), text(p.candidates.size()),
                             p.candidates.empty() ? "–" : fixed(p.candidates[0].probability, 3), time});
    else
      table_.rows.push_back({name, "", "", "", time});
  }

  std::string page(size_t scans) const {
    const std::string all = text("<p>All candidates: <a href='nodules.csv'>nodules.csv</a></p>\n", kNoDiagnosis);
    return html_page(text(options_.out, ": ", scans, " scans"),
                     html_key_figures({{"scans", text(scans)}, {"failed", text(failed_)}}),
                     html_warnings(warnings_) + "<h2>Scans</h2>\n" + html_table(table_) + (predicted_ > 0 ? all : ""));
  }

  void write_tables() {
    if (predicted_ == 0) return;
    std::vector<Candidate> all;
    for (const auto& [id, candidates] : candidates_) all.insert(all.end(), candidates.begin(), candidates.end());
    write_candidates(options_.out + "/nodules.csv", all);
    write_submission(options_.out + "/submission.csv", all);
    written_ = seconds_now();
  }

  int stop(const std::string& after) {
    write_tables();
    std::printf(
        "stopped after %s scans; %s\n", after.c_str(),
        remove_folder_if_empty() ? "nothing was written" : ("the finished ones are in " + options_.out).c_str());
    return 128 + noted_signal();
  }

  bool remove_folder_if_empty() const {
    std::error_code not_empty;
    return folder_is_new_ && fs::remove(options_.out, not_empty);
  }

  const Options& options_;
  const Networks& networks_;
  bool folder_is_new_;
  std::map<std::string, std::vector<Candidate>> candidates_;  // by scan; at first those that earlier calls left there
  size_t predicted_ = 0;                                      // scans of this call among them
  double written_ = seconds_now();
  HtmlTable table_{.classes = "numbers", .columns = {"scan", "nodules", "candidates", "most probable", "seconds"}};
  std::vector<std::string> warnings_;
  size_t failed_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    Options options;
    Settings settings("predict",
                      "Finds nodules in CT scans. Writes nodules.csv and, for each scan, <uid>_mask.mhd and\n"
                      "<uid>_prob.mhd on its own grid, pictures of the candidates, and a page <uid>.html.\n"
                      "With a network trained on images/ and masks/, segments other images.");
    options.add_settings(settings);
    if (!settings.parse(argc, argv)) return 0;
    if (options.model.empty())
      throw UsageError("--model is missing: a network that ./train wrote, such as runs/laptop/best.safetensors");
    const Device device = options.machine.use();
    const Networks networks = load_networks(options, device);
    options.complete(networks.format());
    const std::vector<std::string> inputs = find_inputs(options.scans, /*pictures=*/!networks.format().lungs);
    const bool is_new = make_output_folder(options, inputs);
    note_signals();
    return Batch(options, networks, is_new).predict(inputs);
  });
}
