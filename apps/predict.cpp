// predict: runs trained U-Nets over a scan, or many, and writes what they find: nodules in world millimetres, masks on
// the scans' own grids, pictures and pages. Or over pictures of another task, and writes masks.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <new>
#include <set>

#include "apps/common/cli.h"
#include "apps/common/machine.h"
#include "apps/prediction/classifier.h"
#include "apps/prediction/prediction.h"
#include "data/dataset/source.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

using namespace acinus;

namespace {

namespace fs = std::filesystem;

std::vector<std::string> parted(const std::string& list) {
  std::vector<std::string> parts(1);
  for (const char c : list) c == ',' ? void(parts.emplace_back()) : void(parts.back() += c);
  for (std::string& part : parts) part = std::string(trimmed(part));
  return parts;
}

std::string name_of(const std::string& path) {
  return volume_ending(path).empty() ? fs::path(path).stem().string() : volume_name(path);
}

// A scan, or a picture if the networks take some; not what ./predict itself or the readers wrote.
bool is_input(const std::string& path, bool pictures) {
  if (volume_ending(path).empty() && !(pictures && (path.ends_with(".png") || path.ends_with(".npy")))) return false;
  const std::string name = name_of(path);
  for (const char* kind : {"_mask", "_prob", "_readers"})
    if (name.ends_with(kind)) return false;
  return true;
}

// The files that SCANs name: themselves, those below a folder, or the lines of a .txt file.
std::vector<std::string> find_inputs(const std::vector<std::string>& scans, bool pictures) {
  std::vector<std::string> paths;
  for (const std::string& scan : scans) {
    const size_t before = paths.size();
    if (!fs::exists(scan)) fail(scan, ": No such file or directory");
    if (fs::is_directory(scan)) {
      for (const std::string& path : files_below(holds_pairs(scan) ? scan + "/images" : scan))
        if (is_input(path, pictures)) paths.push_back(path);
      if (paths.size() == before)
        fail(scan, ": there is no scan in it or below it (", kVolumeEndingsText, pictures ? ", .png or .npy" : "", ")");
    } else if (scan.ends_with(".txt")) {
      const std::string list = read_file(scan, int64_t(1) << 26);
      for (std::string_view rest = list; !rest.empty();) {
        const std::string path(trimmed(next_line(rest)));
        if (path.empty() || path[0] == '#') continue;
        // As it is, or beside the list.
        const fs::path beside = fs::path(scan).parent_path() / path;
        paths.push_back(!fs::exists(path) && fs::exists(beside) ? beside.string() : path);
      }
      if (paths.size() == before) fail(scan, ": names no scan; one path a line is wanted");
    } else {
      paths.push_back(scan);
    }
  }
  // Results are named after their scans.
  std::map<std::string, std::string> by_name;
  std::vector<std::string> once;
  for (const std::string& path : paths) {
    const auto [it, is_new] = by_name.emplace(name_of(path), path);
    if (is_new) once.push_back(path);
    if (!is_new && it->second != path)
      fail("two scans are called ", name_of(path), ": ", it->second, " and ", path,
           "; results are named after their scans, so predict them into different folders (--out)");
  }
  return once;
}

// The networks of an ensemble, and what each was trained to see.
struct Networks {
  std::vector<LoadedUNet> loaded;
  std::vector<Segmenter> segmenters;

  Networks(const std::string& list, const Machine& machine, Device device) {
    for (const std::string& path : parted(list)) {
      if (!fs::exists(path)) fail("cannot read ", path, ": there is no such network; ./train makes one");
      LoadedUNet& one = loaded.emplace_back(load_unet(path));
      one.net->to(device);
      const InputFormat format = input_format(one.metadata, path);
      if (!segmenters.empty()) {
        const Segmenter& first = segmenters[0];
        if (format.lungs != first.format.lungs || format.channels != first.format.channels ||
            one.net->options().out != first.net->options().out)
          fail(path, ": does not go together with ", parted(list)[0],
               ": channels, classes or whether they keep to the lungs differ");
      }
      segmenters.push_back({one.net.get(), format});
    }
  }
};

// The candidates of a call, and those of scans that earlier calls left in the same folder.
class Lists {
 public:
  explicit Lists(const std::string& folder) : folder_(folder) {
    const std::string path = folder + "/nodules.csv";
    if (!fs::exists(path)) return;
    for (Candidate& candidate : read_candidates(path)) of_scan_[candidate.seriesuid].push_back(std::move(candidate));
  }
  // A scan's candidates take the place of its earlier ones.
  void set(const std::string& id, const std::vector<Candidate>& candidates) {
    of_scan_[id] = candidates;
    these_.insert(id);
    if (seconds_now() - written_ > 30) write();  // so that little is lost if the program is killed
  }
  void write() {
    if (these_.empty()) return;
    std::vector<Candidate> all;
    for (const auto& [id, candidates] : of_scan_) all.insert(all.end(), candidates.begin(), candidates.end());
    write_candidates(folder_ + "/nodules.csv", all);
    write_submission(folder_ + "/submission.csv", all);
    written_ = seconds_now();
  }
  void describe() const {
    if (these_.empty()) return;
    std::printf("%s/nodules.csv", folder_.c_str());
    if (of_scan_.size() > these_.size())
      std::printf(", with those of %zu other scans, of earlier calls", of_scan_.size() - these_.size());
    std::printf("\n%s/submission.csv\n", folder_.c_str());
  }

 private:
  std::string folder_;
  std::map<std::string, std::vector<Candidate>> of_scan_;
  std::set<std::string> these_;
  double written_ = seconds_now();
};

std::string in_words(const std::vector<std::pair<std::string, double>>& seconds) {
  std::string out;
  for (const auto& [stage, time] : seconds) {
    char one[96];
    std::snprintf(one, sizeof one, "%s%s %.1f s", out.empty() ? "" : ", ", stage.c_str(), time);
    out += one;
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    std::vector<std::string> scans;
    std::string model, classifier, out;
    Machine machine;
    PredictionOptions options;
    options.threshold = 0, options.segment.batch = 0;
    Settings settings("predict",
                      "Finds nodules in CT scans: writes nodules.csv, and of each scan <uid>_mask.mhd and "
                      "<uid>_prob.mhd, on its own\n"
                      "grid, pictures of the candidates, and a page <uid>.html. Or, with a network trained on images/ "
                      "and masks/, the\n"
                      "classes in other images.");
    settings.add_argument(
        "SCAN", scans,
        text("a scan in Hounsfield units: ", kVolumeEndingsText,
             "; or an image; a folder of them; or a .txt file with a path a line; or several of these"));
    settings.add("model", model,
                 "a network, such as runs/laptop/best.safetensors; several, parted by commas, are averaged");
    settings.add("classifier", classifier,
                 "a network of ./train --task classify, whose probabilities take the place of the model's");
    settings.add("out", out, "folder for the results; default predictions, or predictions-2, ...");
    settings.add("threshold", options.threshold, "of the probability, for the mask; 0: as the network was trained")
        .between(0, 1);
    settings.add("mirror", options.segment.mirror, "the mean over mirrored slices, in four times the time");
    settings.add("batch", options.segment.batch, "slices at once; 0: 1 on the CPU, 8 on a GPU").between(0, 256);
    settings.add("candidates.threshold", options.candidates.threshold, "voxels more probable than that are candidates")
        .between(0, 1);
    settings
        .add("candidates.min_diameter_mm", options.candidates.min_diameter_mm,
             "of a ball of the same volume: smaller ones are left out")
        .between(0, 1000);
    settings.add("candidates.most", options.candidates.most, "a scan").between(1, 100000);
    settings.add("pictures", options.pictures, "at most this many a scan, of the most probable candidates")
        .between(0, 1000);
    settings.add("probability", options.probability, "write <uid>_prob.mhd");
    settings.add("rle", options.rle, "write <uid>_rle.csv: slice,class,rle (Kaggle's run-length encoding)");
    machine.add_settings(settings);
    if (!settings.parse(argc, argv)) return 0;
    if (model.empty())
      throw UsageError("--model is missing: a network that ./train wrote, such as runs/laptop/best.safetensors");

    const Device device = machine.use();
    Networks networks(model, machine, device);
    LoadedClassifier second;
    std::function<void(const ScanView&, std::vector<Candidate>&)> score;
    if (!classifier.empty()) {
      if (!networks.segmenters[0].format.of_scans())
        throw UsageError("--classifier looks at nodules in scans; --model was trained on images and masks");
      second = load_classifier(classifier);
      second.net->to(device);
      score = [&](const ScanView& image, std::vector<Candidate>& candidates) { classify(second, image, candidates); };
    }
    options.segment.activations = machine.activations();
    if (options.segment.batch == 0) options.segment.batch = device == Device::cuda ? 8 : 1;
    if (options.threshold == 0) options.threshold = networks.segmenters[0].format.threshold;
    const std::vector<std::string> inputs = find_inputs(scans, !networks.segmenters[0].format.lungs);
    if (out.empty()) out = fresh_folder("predictions");
    const bool is_new = !fs::exists(out);
    for (const std::string& input : inputs)
      if (!is_new && fs::exists(input) && fs::equivalent(fs::absolute(input).parent_path(), out))
        throw UsageError("--out " + out + " is where " + input + " lies; results need another folder");
    make_folder(out);
    if (access(out.c_str(), W_OK) != 0) fail("cannot write into the folder ", out, ": ", std::strerror(errno));
    options.about = {{"network", model}, {"threshold of the mask", text(options.threshold)}};
    if (!classifier.empty()) options.about.emplace_back("probabilities by the classifier", classifier);
    note_signals();

    Lists lists(out);
    std::vector<BatchRow> rows;
    const auto one = [&](const std::string& path, const std::string& place, BatchRow& row) {
      const double start = seconds_now();
      Prediction p;
      {
        Progress progress(place + "slices", 1);
        p = predict_scan(path, networks.segmenters, options, score, [&](int64_t done, int64_t of) {
          progress.update(done, of);
          quit_if_stopped();
        });
      }
      const std::vector<std::string> files = write_prediction(p, out, options);
      row.seconds = seconds_now() - start, row.warnings = p.warnings;
      for (const std::string& warning : p.warnings) std::printf("%s: warning: %s\n", p.id.c_str(), warning.c_str());
      const Grid& grid = p.mask.grid;
      const auto voxels = p.mask.voxels.size() - size_t(std::count(p.mask.voxels.begin(), p.mask.voxels.end(), 0));
      std::printf("%s%s: ", place.c_str(), path.c_str());
      if (!p.probability.voxels.empty()) {
        row.page = true;
        row.nodules = p.nodules(options.threshold), row.candidates = int64_t(p.candidates.size());
        row.most_probable = p.candidates.empty() ? 0 : p.candidates[0].probability;
        std::printf("%s among %s, %.0f mm3", counted(row.nodules, "nodule").c_str(),
                    counted(row.candidates, "candidate").c_str(),
                    double(voxels) * grid.spacing[0] * grid.spacing[1] * grid.spacing[2]);
        lists.set(p.id, p.candidates);
      } else {
        std::printf("%zu voxels of foreground", voxels);
      }
      std::printf("; %lld slices, %.1f s (%s)\n", static_cast<long long>(grid.size[2]), row.seconds,
                  in_words(p.seconds).c_str());
      if (inputs.size() == 1)
        for (const std::string& file : files) std::printf("%s/%s\n", out.c_str(), file.c_str());
    };
    try {
      for (size_t i = 0; i < inputs.size(); i++) {
        BatchRow& row = rows.emplace_back();
        row.id = name_of(inputs[i]);
        const std::string place = inputs.size() > 1 ? text("[", i + 1, "/", inputs.size(), "] ") : "";
        try {
          one(inputs[i], place, row);
        } catch (const std::bad_alloc&) {
          row.error = text(inputs[i], ": there is not enough memory for it");
        } catch (const std::exception& error) {  // an Error; or what the file system says
          row.error = error.what();
        }
        if (!row.error.empty() && inputs.size() > 1)
          std::fprintf(stderr, "%sfailed: %s\n", place.c_str(), row.error.c_str());
        std::fflush(stdout);
      }
    } catch (const Quit&) {
      lists.write();
      std::error_code ignored;
      const bool nothing = is_new && fs::remove(out, ignored);  // where it is empty
      std::printf("stopped after %zu of %zu scans; %s\n", rows.size() - 1, inputs.size(),
                  nothing ? "nothing was written" : ("what was done is in " + out).c_str());
      std::fflush(stdout);
      throw;
    }
    lists.write();
    lists.describe();
    if (inputs.size() == 1 && !rows[0].error.empty()) {
      std::error_code ignored;
      if (is_new) fs::remove(out, ignored);  // where it is empty
      fail(rows[0].error);
    }
    const auto failed = std::count_if(rows.begin(), rows.end(), [](const BatchRow& row) { return !row.error.empty(); });
    if (inputs.size() > 1) {
      write_file(out + "/index.html", batch_html(text(out, ": ", inputs.size(), " scans"), rows));
      std::printf("%s/index.html\n", out.c_str());
    }
    if (failed > 0) std::printf("%lld of %zu scans failed\n", static_cast<long long>(failed), inputs.size());
    std::fflush(stdout);
    return failed > 0 ? 1 : 0;
  });
}
