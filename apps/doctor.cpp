// doctor: checks data, a run, or a prediction, and says what is wrong and what to do about it.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "apps/checks/checks.h"
#include "apps/training/validation.h"
#include "data/dataset/statistics.h"
#include "data/formats/volume_io.h"
#include "nn/inspect.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

using namespace acinus;

namespace {

namespace fs = std::filesystem;

Findings check_data_set(const Config& c, const std::string& json) {
  std::vector<std::pair<Source, std::string>> failed;
  Dataset data;
  {
    Progress progress("reading scans", 1);
    data = load_dataset(
        c.data, cache_options(c, c.data), int64_t(c.memory_gb * (1 << 30)),
        [&](int64_t done, int64_t of) {
          progress.update(done, of);
          throw_if_interrupted();
        },
        &failed);
  }
  Findings findings = check_failures(failed);
  if (data.scans.empty()) return findings;
  const DatasetStatistics statistics = dataset_statistics(data);
  std::printf("%s\n%s\n", c.data.c_str(), to_text(statistics).c_str());
  if (!json.empty()) write_file(json, statistics.json);
  findings.append(check_data(data));
  return findings;
}

// `count` slices of a scan around the one with the largest foreground: a scan of its own, which points into the same
// memory.
Scan slices_of(const Scan& scan, int64_t count) {
  const auto fullest = std::ranges::max_element(scan.slices, {}, &SliceCount::foreground);
  const int64_t slices = scan.image.grid.size[2], n = std::min(count, slices),
                first = std::clamp<int64_t>(fullest - scan.slices.begin() - n / 2, 0, slices - n);
  Scan part = scan;
  part.image.grid.size[2] = n;
  const int64_t voxels = scan.image.grid.offset(0, 0, first);
  part.image.values = static_cast<const char*>(scan.image.values) + scan.image.bytes(voxels);
  part.labels += voxels;
  part.count_labels();
  return part;
}

// A few slices of up to three held-out scans, those with nodules first.
Dataset held_out_slices(const Dataset& data, const Split& split) {
  Dataset few;
  few.kind = data.kind, few.classes = data.classes;
  for (const bool with_nodules : {true, false})
    for (size_t i : split.validation)
      if (few.scans.size() < 3 && (data.scans[i].foreground > 0) == with_nodules)
        few.scans.push_back(slices_of(data.scans[i], 5));
  return few;
}

// Runs the best network on held-out slices.
Findings check_network(const std::string& run, Config c, Device device) {
  Findings findings;
  const std::string path = run + "/best.safetensors";
  if (!fs::exists(path)) return findings;
  if (!c.data.empty() && !fs::exists(c.data)) {
    findings.note(text("the data are no longer at ", c.data, ", so the network was not run"),
                  "put them back, or start in the folder where the run was started");
    return findings;
  }
  std::string folder;
  const Dataset data = load_data(c, folder);
  const Split split = split_patients(data, c.split);
  findings = check_split(data, split);

  const LoadedUNet loaded = load_unet(path);
  UNet& net = *loaded.net;
  net.to(device);
  const Dataset few = held_out_slices(data, split);
  std::vector<size_t> all;
  for (size_t i = 0; i < few.scans.size(); i++) all.push_back(i);
  const InputFormat format = input_format(loaded.metadata, path);
  const Validation v = validate(net, few, all, {format, 1}, [](int64_t, int64_t) {
    throw_if_interrupted();
    return true;
  });
  std::printf("run on 5 slices of each of %zu held-out scans: hard Dice %.4f\n\n", few.scans.size(), v.dice);
  Findings outputs = check_outputs(v, c);
  if (!std::isfinite(v.mean_probability)) {
    const Scan& scan = few.scans[0];
    const std::string layer = first_not_finite(
        net, [&] { segment_slices(net, scan.image, scan.labels, format, [](int64_t, const float*) { return true; }); });
    outputs[0].cure = text("the first value that is not finite: ", layer.empty() ? "not found" : layer,
                           "; train again with a lower --train.lr, --train.clip 1, or --precision fp32");
  }
  findings.append(outputs);
  return findings;
}

// Prints the findings, the worst first; returns the exit code.
int print(Findings findings) {
  std::ranges::stable_sort(findings, std::greater<>(), &Finding::level);
  for (const Finding& finding : findings) std::printf("%s", shown(finding).c_str());
  std::printf("%s%s\n", findings.empty() ? "" : "\n", tally(findings).c_str());
  std::fflush(stdout);
  return findings.has_errors() ? 1 : 0;
}

int doctor(int argc, char** argv) {
  Config config;
  std::string run, prediction, scan, annotations, json;
  Settings settings("doctor",
                    "Checks one of three things and says what is wrong:\n"
                    "  --data DIR                        scans in LUNA16 form, or images/ and masks/\n"
                    "  --run runs/laptop                 what ./train left\n"
                    "  --prediction MASK --scan SCAN     a mask, and the scan it is of\n"
                    "The exit code is 1 if there is an error.");
  settings.add("data", config.data, "scans in LUNA16 form, or images/ and masks/");
  settings.add("run", run, "folder of a run");
  settings.add("prediction", prediction, text("a mask: ", kVolumeEndingsText, ", .npy, .png"));
  settings.add("scan", scan, "for --prediction: the scan");
  settings.add("annotations", annotations,
               "for --prediction: annotations.csv, to check whether the mask hits the nodules");
  settings.add("json", json, "for --data: a file for its statistics, such as fingerprint.json");
  add_data_settings(settings, config);
  settings.add("input.lungs", config.input_lungs, "in CT scans: find the lungs");
  config.machine.add_settings(settings);
  if (!settings.parse(argc, argv)) return 0;
  if (int(!config.data.empty()) + int(!run.empty()) + int(!prediction.empty()) != 1)
    throw UsageError("one of --data, --run and --prediction is needed");
  if (!prediction.empty() && scan.empty()) throw UsageError("--prediction needs --scan, the scan that the mask is of");
  const Device device = config.machine.use();
  note_signals();

  if (!config.data.empty()) return print(check_data_set(config, json));
  if (!prediction.empty()) return print(check_prediction(prediction, scan, annotations));
  Findings findings = read_config(run, config);
  if (findings.empty()) {
    findings = check_run(run, config);
    findings.append(check_network(run, config, device));
  }
  return print(findings);
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] { return doctor(argc, argv); });
}
