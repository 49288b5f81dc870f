// predict: runs trained U-Nets over a scan, or many, and writes what they find: nodules in world millimetres, masks on
// the scans' own grids, pictures and pages. Or over pictures of another task, and writes masks.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <new>
#include <set>

#include "apps/classifier.h"
#include "apps/cli.h"
#include "apps/prediction.h"
#include "data/source.h"
#include "tensor/file.h"

using namespace acinus;

namespace {

namespace fs = std::filesystem;

std::vector<std::string> parted(const std::string& list) {
  std::vector<std::string> parts(1);
  for (const char c : list) c == ',' ? void(parts.emplace_back()) : void(parts.back() += c);
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

// The files that SCAN names: itself, those below a folder, or the lines of a .txt file.
std::vector<std::string> find_inputs(const std::string& scan, bool pictures) {
  std::vector<std::string> paths;
  if (fs::is_directory(scan)) {
    for (const std::string& path : files_below(scan))
      if (is_input(path, pictures)) paths.push_back(path);
    if (paths.empty())
      fail(scan, ": there is no scan in it or below it (", kVolumeEndingsText, pictures ? ", .png or .npy" : "", ")");
  } else if (scan.ends_with(".txt")) {
    const std::string list = read_file(scan, int64_t(1) << 26);
    for (std::string_view rest = list; !rest.empty();) {
      const std::string path(trimmed(next_line(rest)));
      if (path.empty()) continue;
      // As it is, or beside the list.
      const fs::path beside = fs::path(scan).parent_path() / path;
      paths.push_back(!fs::exists(path) && fs::exists(beside) ? beside.string() : path);
    }
    if (paths.empty()) fail(scan, ": names no scan; one path a line is wanted");
  } else {
    paths.push_back(scan);
  }
  // Results are named after their scans.
  std::map<std::string, std::string> by_name;
  for (const std::string& path : paths) {
    const auto [it, is_new] = by_name.emplace(name_of(path), path);
    if (!is_new)
      fail("two scans are called ", name_of(path), ": ", it->second, " and ", path,
           "; results are named after their scans, so predict them into different folders (--out)");
  }
  return paths;
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
      one.net->set_activations(machine.activations());
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

// The candidates of a call, and those of other scans that earlier calls left in the same folder.
class Lists {
 public:
  Lists(const std::string& folder, const std::vector<std::string>& inputs) : folder_(folder) {
    const std::string path = folder + "/nodules.csv";
    if (!fs::exists(path)) return;
    std::set<std::string> these;
    for (const std::string& input : inputs) these.insert(name_of(input));
    for (Candidate& candidate : read_candidates(path))
      if (!these.contains(candidate.seriesuid)) all_.push_back(std::move(candidate));
    others_ = all_.size();
  }
  void add(const std::vector<Candidate>& candidates) {
    all_.insert(all_.end(), candidates.begin(), candidates.end());
    any_ = true;
    if (seconds_now() - written_ > 30) write();  // so that little is lost if the program is killed
  }
  void write() {
    if (!any_) return;
    write_candidates(folder_ + "/nodules.csv", all_);
    write_submission(folder_ + "/submission.csv", all_);
    written_ = seconds_now();
  }
  void describe() const {
    if (!any_) return;
    std::printf("%s/nodules.csv", folder_.c_str());
    if (others_ > 0) std::printf(", with %zu candidates of other scans, of earlier calls", others_);
    std::printf("\n%s/submission.csv\n", folder_.c_str());
  }

 private:
  std::string folder_;
  std::vector<Candidate> all_;
  size_t others_ = 0;
  bool any_ = false;
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
    std::string scan, model, classifier, out;
    Machine machine;
    PredictionOptions options;
    options.threshold = 0, options.segment.batch = 0;
    Settings settings("predict",
                      "Finds nodules in CT scans: writes nodules.csv, and of each scan <uid>_mask.mhd and "
                      "<uid>_prob.mhd, on its own\n"
                      "grid, pictures of the candidates, and a page <uid>.html. Or, with a network trained on images/ "
                      "and masks/, the\n"
                      "classes in other images.");
    settings.add_argument("SCAN", scan,
                          text("a scan in Hounsfield units: ", kVolumeEndingsText,
                               "; or an image; a folder of them; or a .txt file with a path a line"));
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
    if (!settings.parse(argc, argv)) return;
    if (model.empty())
      throw UsageError{"--model is missing: a network that ./train wrote, such as runs/laptop/best.safetensors"};

    const Device device = machine.use();
    Networks networks(model, machine, device);
    LoadedClassifier second;
    std::function<void(const ScanView&, std::vector<Candidate>&)> score;
    if (!classifier.empty()) {
      if (!networks.segmenters[0].format.of_scans())
        throw UsageError{"--classifier looks at nodules in scans; --model was trained on images and masks"};
      second = load_classifier(classifier);
      second.net->to(device);
      score = [&](const ScanView& image, std::vector<Candidate>& candidates) { classify(second, image, candidates); };
    }
    if (options.segment.batch == 0) options.segment.batch = device == Device::cuda ? 8 : 1;
    if (options.threshold == 0) options.threshold = networks.segmenters[0].format.threshold;
    const std::vector<std::string> inputs = find_inputs(scan, !networks.segmenters[0].format.lungs);
    if (out.empty()) out = fresh_folder("predictions");
    const bool is_new = !fs::exists(out);
    for (const std::string& input : inputs)
      if (!is_new && fs::exists(input) && fs::equivalent(fs::absolute(input).parent_path(), out))
        throw UsageError{"--out " + out + " is where " + input + " lies; results need another folder"};
    make_folder(out);
    note_signals();

    Lists lists(out, inputs);
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
      row.seconds = seconds_now() - start;
      for (const std::string& warning : p.warnings) std::printf("%s: warning: %s\n", p.id.c_str(), warning.c_str());
      const Grid& grid = p.mask.grid;
      const auto voxels = p.mask.voxels.size() - size_t(std::count(p.mask.voxels.begin(), p.mask.voxels.end(), 0));
      std::printf("%s%s: ", place.c_str(), path.c_str());
      if (!p.probability.voxels.empty()) {
        row.page = true;
        row.nodules = p.nodules(options.threshold), row.candidates = int64_t(p.candidates.size());
        row.most_probable = p.candidates.empty() ? 0 : p.candidates[0].probability;
        std::printf("%lld nodule%s among %lld candidates, %.0f mm3", static_cast<long long>(row.nodules),
                    row.nodules == 1 ? "" : "s", static_cast<long long>(row.candidates),
                    double(voxels) * grid.spacing[0] * grid.spacing[1] * grid.spacing[2]);
        lists.add(p.candidates);
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
      write_file(out + "/index.html", batch_html(text(scan, ", ", inputs.size(), " scans"), rows));
      std::printf("%s/index.html\n", out.c_str());
    }
    if (failed > 0) std::printf("%lld of %zu scans failed\n", static_cast<long long>(failed), inputs.size());
    std::fflush(stdout);
    if (failed > 0) throw Quit{1};
  });
}
