#include "apps/common/config.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "data/chest/phantom.h"
#include "data/dataset/statistics.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

// The recipe of the Keras tutorial this project replaces (docs/capabilities.md tells what differs on purpose).
void set_seed_recipe(Config& c) {
  c.phantom = {24, 512, 48, 0.7, 2.5, 0};
  c.input.planes = 1, c.input.lungs = false;
  c.net = {32, 4, 8, 0, "nearest", "none", "glorot"};
  c.train.epochs = 20, c.train.steps = 0, c.train.batch = 2, c.train.size = 512, c.train.warmup = 0;
  c.train.lr = 1e-5, c.train.weight_decay = 0, c.train.clip = 0, c.train.ema = 0;
  c.train.whole_slices = true, c.train.foreground = 1, c.train.hard = 0;
  c.train.loss = "dice", c.train.optimizer = "adam", c.train.decay = "constant";
  c.augment = no_augmentation();
}

// For a GPU and LUNA16: a network of 17 million parameters that sees five slices.
void set_gpu_recipe(Config& c) {
  c.machine.precision = "bf16";
  c.phantom = {48, 320, 96, 1, 1.5, 0};
  c.input.planes = 5;
  c.net.width = 48, c.net.depth = 4, c.net.deep_supervision = 2;
  c.train.epochs = 60, c.train.steps = 500, c.train.batch = 32, c.train.size = 128, c.train.warmup = 500;
  c.train.lr = 3e-3, c.train.ema = 0.999, c.train.validate_every = 5;
  c.augment = AugmentOptions();
}

// --task classify: a network as small as that is done in a minute or two, and can do with larger batches.
void set_classifier_recipe(Config& c) {
  c.train.epochs = 10, c.train.steps = 40, c.train.batch = 64, c.train.lr = 3e-3;
  c.augment.rotate.probability = 0.5;
  if (c.preset != "gpu") return;
  c.machine.precision = "fp32";
  c.classify.width = 32, c.classify.blocks = 2;
  c.train.epochs = 20, c.train.steps = 250, c.train.batch = 256, c.train.validate_every = 1;
}

// What --resume takes over: the settings that the run's last state was saved with.
std::string saved_settings(const std::string& folder) {
  const std::string path = folder + "/last.safetensors";
  if (!std::filesystem::exists(path))
    fail("--resume ", folder, ": there is no last.safetensors in it; a run saves its state after each epoch, every",
         " --limits.save_minutes, and when it is stopped");
  const auto metadata = read_safetensors(path).metadata;
  if (!metadata.contains("train.config") || !metadata.contains("train.state"))
    fail(path, ": holds no state of a training run");
  return metadata.at("train.config");
}

std::vector<int64_t> numbers(const std::string& list) {
  std::vector<int64_t> values;
  for (std::string_view rest = list; !rest.empty();) {
    int64_t value;
    const std::string_view word = trimmed(rest.substr(0, rest.find(',')));
    if (!parse(word, value) || value < 0 || value > 255)
      throw UsageError{text("--classes ", list, ": must be numbers from 0 to 255 parted by commas, such as 0,128,255")};
    if (std::count(values.begin(), values.end(), value))
      throw UsageError{text("--classes ", list, ": ", value, " is there twice")};
    values.push_back(value);
    rest.remove_prefix(std::min(rest.find(',') + (rest.find(',') != rest.npos), rest.size()));
  }
  if (values.size() == 1 || values.size() > size_t(kMostClasses))
    throw UsageError{text("--classes ", list, ": must be two numbers at least and ", kMostClasses, " at most")};
  return values;
}

// Phantoms are kept beside the runs and used again: the name says all they depend on.
std::string phantom_folder(const Config& c) {
  const auto& p = c.phantom;
  const std::string folder =
      text("runs/phantoms/", p.scans, "x", p.size, "x", p.size, "x", p.slices, "-", shortest(p.pixel_mm), "mm-",
           shortest(p.slice_mm), "mm-from", shortest(p.min_diameter_mm), "mm-seed", c.seed);
  if (std::filesystem::exists(folder + "/annotations.csv")) return folder;
  if (std::filesystem::exists("runs/phantoms")) remove_leftovers("runs/phantoms");
  const std::string temporary = text(folder, ".tmp-", getpid());  // another ./train may be making the same set
  PhantomSetOptions set;
  set.scans = int(p.scans);
  set.seed = uint64_t(c.seed);
  set.scan.size = {p.size, p.size, p.slices};
  set.scan.spacing = {p.pixel_mm, p.pixel_mm, p.slice_mm};
  set.scan.min_diameter_mm = p.min_diameter_mm;
  Progress progress("making synthetic scans", p.scans);
  try {
    write_phantom_set(temporary, set, [&](int done, int) {
      progress.update(done);
      quit_if_stopped();
    });
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove_all(temporary, ignored);
    throw;
  }
  std::error_code taken;
  std::filesystem::rename(temporary, folder, taken);
  if (taken) std::filesystem::remove_all(temporary);
  if (taken && !std::filesystem::exists(folder + "/annotations.csv"))
    fail("cannot make the folder ", folder, ": ", taken.message());
  return folder;
}

// The 0.5 and 99.5 percentiles of some slices of each scan (as nnU-Net has it; Isensee et al. 2021).
HuWindow percentiles(const Dataset& data) {
  std::vector<double> values;
  for (const Scan& scan : data.scans) {
    const Index3 size = scan.image.grid.size;
    const int64_t step = std::max<int64_t>(1, scan.image.grid.voxels() / 20000);
    for (int64_t i = 0; i < scan.image.grid.voxels(); i += step)
      values.push_back(scan.image.at(i % size[0], i / size[0] % size[1], i / (size[0] * size[1])));
  }
  const auto value_at = [&](double share) {
    const auto at = values.begin() + int64_t(share * double(values.size() - 1));
    std::nth_element(values.begin(), at, values.end());
    return *at;
  };
  const double low = value_at(0.005), high = value_at(0.995);
  return {low, high > low ? high : low + 1};
}

}  // namespace

void add_cache_settings(Settings& s, Config& c) {
  s.add("cache", c.cache, "folder for the scans made ready; empty: one below runs/cache, named after the data");
  s.add("cache_bits", c.cache_bits,
        "16: HU as they are; 8: steps between input.hu_low and input.hu_high, half as large")
      .between(8, 16);
  s.add("masks", c.masks, "spheres (from annotations.csv), readers (outlines), auto: outlines where there are any")
      .one_of({"auto", "spheres", "readers"});
}

void add_data_settings(Settings& s, Config& c) {
  add_cache_settings(s, c);
  s.add("classes", c.classes, "of images/ and masks/: the values in masks of class 0, 1, ...: 0,128,255");
  s.add("memory_gb", c.memory_gb, "for the scans that are made ready at once").between(0, 1e6);
}

void add_settings(Settings& s, Config& c) {
  s.add("task", c.task, "segment: a U-Net finds candidates; classify: a second network tells nodules from the others")
      .one_of({"segment", "classify"});
  s.add("segmenter", c.segmenter,
        "for --task classify: the U-Net, RUN/best.safetensors, whose candidates it learns from");
  s.add("preset", c.preset, "gpu: for LUNA16 on a GPU; seed: the recipe of the original system, 512x512 pixels")
      .one_of({"laptop", "gpu", "seed"});
  s.add("out", c.out, "folder for the run; empty: runs/<preset>, of a classifier runs/<preset>-classifier");
  s.add("resume", c.resume, "the folder of a run that was stopped: goes on where it was last saved, with its settings");
  s.add("seed", c.seed, "the same seed on the same machine gives the same numbers; of the phantoms, too");
  c.machine.add_settings(s);
  s.add("data", c.data, "scans in LUNA16 form, or images/ and masks/; empty: synthetic scans are made");
  add_data_settings(s, c);
  s.add("validation", c.validation, "share of the patients held out, at least one").between(0, 0.9);
  s.add("held_out", c.held_out, "or which: ends of their seriesuids, parted by commas");
  s.add("fold", c.fold, "or, of --folds equal parts, this one, from 0; LUNA16's own, subset0..9, for 10")
      .between(0, 999);
  s.add("folds", c.folds, "0: no folds").between(0, 1000);
  s.add("recompute", c.recompute, "activations are computed again instead of kept: less memory, more time");
  s.retire("seed_bug", "none", "the original system's bugs are diffs in docs/museum now; see docs/museum.md");
  s.add("phantom.scans", c.phantom.scans, "synthetic scans to make").between(2, 100000);
  s.add("phantom.size", c.phantom.size, "their voxels along x and y").between(16, 2048);
  s.add("phantom.slices", c.phantom.slices, "their slices").between(1, 2048);
  s.add("phantom.pixel_mm", c.phantom.pixel_mm, "mm between voxels").between(0.05, 100);
  s.add("phantom.slice_mm", c.phantom.slice_mm, "mm between slices").between(0.05, 100);
  s.add("phantom.min_diameter_mm", c.phantom.min_diameter_mm, "no nodule smaller than this").between(0, 32);
  s.add("input.planes", c.input.planes, "neighbouring slices the network sees: 1, 3, 5, 7").between(1, 31);
  s.add("input.window", c.input.window, "auto: for images/ and masks/, hu_low and hu_high are chosen by the data")
      .one_of({"auto", "fixed"});
  s.add("input.hu_low", c.input.hu.low, "HU that become 0").between(-1e9, 1e9);
  s.add("input.hu_high", c.input.hu.high, "HU that become 1").between(-1e9, 1e9);
  s.add("input.lungs", c.input.lungs, "of a CT: find the lungs, draw pieces there, predict nothing outside");
  s.add("input.threshold", c.input.threshold, "of the probability, for masks").between(0, 1);
  s.add("net.width", c.net.width, "channels of the first block").between(1, 4096);
  s.add("net.depth", c.net.depth, "how often the image is halved").between(0, 8);
  s.add("net.up", c.net.up, "how the image is doubled").one_of({"nearest", "bilinear", "transpose"});
  s.add("net.norm", c.net.norm, "normalisation after each convolution").one_of({"none", "batch", "group", "instance"});
  s.add("net.norm_groups", c.net.norm_groups, "for group; must divide the width").between(1, 4096);
  s.add("net.init", c.net.init, "what the weights start as").one_of({"he", "glorot"});
  s.add("net.deep_supervision", c.net.deep_supervision, "coarser scales that are judged, too: net.depth - 1 at most")
      .between(0, 7);
  s.add("train.epochs", c.train.epochs, "the network is validated and saved after each").between(1, 1e6);
  s.add("train.steps", c.train.steps, "steps an epoch; 0: every slice with a nodule once").between(0, 1e9);
  s.add("train.batch", c.train.batch, "pieces at once").between(1, 4096);
  s.add("train.accumulate", c.train.accumulate, "batches a step, whose gradients are added up").between(1, 4096);
  s.add("train.size", c.train.size, "side of a piece, voxels").between(8, 4096);
  s.add("train.foreground", c.train.foreground, "share of pieces around nodules").between(0, 1);
  s.add("train.hard", c.train.hard, "share of pieces on what looks like one").between(0, 1);
  s.add("train.whole_slices", c.train.whole_slices, "the middle of slices instead of pieces");
  s.add("train.loss", c.train.loss, "what training makes small").one_of({"dice", "bce", "dice+bce"});
  s.add("train.smooth", c.train.smooth, "of the Dice loss").between(0, 1e9);
  s.add("train.optimizer", c.train.optimizer, "sgd is with Nesterov's momentum").one_of({"adam", "adamw", "sgd"});
  s.add("train.lr", c.train.lr, "learning rate").between(1e-12, INFINITY);
  s.add("train.momentum", c.train.momentum, "for sgd").between(0, 0.9999);
  s.add("train.weight_decay", c.train.weight_decay, "pulls weights towards 0").between(0, 1);
  s.add("train.warmup", c.train.warmup, "steps over which the learning rate rises").between(0, 1e9);
  s.add("train.decay", c.train.decay, "how it falls then").one_of({"constant", "cosine", "polynomial"});
  s.add("train.clip", c.train.clip, "largest norm of the gradient; 0: no limit").between(0, INFINITY);
  s.add("train.ema", c.train.ema, "the network judged and saved is a running mean of the weights; 0: the latest ones")
      .between(0, 0.999999);
  s.add("train.patience", c.train.patience, "stop after so many validations without a better one; 0: never")
      .between(0, 1e6);
  s.add("train.validate_every", c.train.validate_every, "epochs").between(1, 1e6);
  s.add("train.loaders", c.train.loaders,
        "threads that draw batches; 0: one for each eight cores, beside a GPU one a core, up to eight")
      .between(0, 256);
  s.add("classify.width", c.classify.width, "channels of the classifier's first stage").between(1, 1024);
  s.add("classify.stages", c.classify.stages, "the crop is halved between two").between(1, 6);
  s.add("classify.blocks", c.classify.blocks, "residual blocks a stage").between(1, 16);
  s.add("classify.size", c.classify.size, "side of a crop, pixels").between(4, 256);
  s.add("classify.pixel_mm", c.classify.pixel_mm, "mm between its pixels").between(0.05, 100);
  s.add("classify.planes", c.classify.planes, "planes of a crop").between(1, 64);
  s.add("classify.plane_mm", c.classify.plane_mm, "mm between them").between(0.05, 100);
  s.add("classify.shift_mm", c.classify.shift_mm, "crops are moved by up to so much along each axis").between(0, 100);
  s.add("classify.hard", c.classify.hard, "share of the others that are no candidates, only dense").between(0, 1);
  s.add("classify.threshold", c.classify.threshold, "of the U-Net's probability, for candidates").between(0, 1);
  const auto share = [&](const char* name, double& probability, const char* help) {
    s.add(name, probability, help).between(0, 1);
  };
  share("augment.mirror", c.augment.mirror, "share of pieces that are mirrored left-right, and front-back");
  share("augment.rotate", c.augment.rotate.probability, "... turned");
  share("augment.zoom", c.augment.zoom.probability, "... made larger or smaller");
  share("augment.elastic", c.augment.elastic.probability, "... bent");
  share("augment.noise", c.augment.noise.probability, "... made noisier");
  share("augment.blur", c.augment.blur.probability, "... blurred");
  share("augment.brightness", c.augment.brightness.probability, "... made brighter or darker");
  share("augment.contrast", c.augment.contrast.probability, "... given more or less contrast");
  share("augment.low_resolution", c.augment.low_resolution.probability, "... made coarser");
  share("augment.gamma", c.augment.gamma.probability, "... given another gamma");
  share("augment.gamma_of_inverse", c.augment.gamma_of_inverse.probability, "... the same, of the negative");
  s.add("limits.minutes", c.limits.minutes, "save and stop after so long; 0: no limit").between(0, 1e9);
  s.add("limits.steps", c.limits.steps, "save and stop after this step; 0: no limit").between(0, 1e18);
  s.add("limits.save_minutes", c.limits.save_minutes, "the state is saved at least so often").between(0, 1e9);
  s.on_defaults([&s, &c] {
    if (!c.resume.empty()) {
      const std::string folder = c.resume;
      s.set(saved_settings(folder), folder + "/last.safetensors");
      c.out = c.resume = folder;
      c.limits.minutes = 0, c.limits.steps = 0;  // those of the part that is over
      return;
    }
    if (c.preset == "seed") set_seed_recipe(c);
    if (c.preset == "gpu") set_gpu_recipe(c);
    if (c.task == "classify") set_classifier_recipe(c);
  });
}

void check_config(const Config& c) {
  const auto need = [](bool holds, const char* message) {
    if (!holds) throw UsageError{message};
  };
  need(c.input.planes % 2 == 1, "--input.planes must be odd: 1, 3, 5, ...");
  need(c.input.hu.high > c.input.hu.low, "--input.hu_high must be above --input.hu_low");
  need(c.cache_bits == 8 || c.cache_bits == 16, "--cache_bits is 8 or 16");
  need(c.train.steps > 0 || c.train.whole_slices, "--train.steps 0 goes with --train.whole_slices true");
  need(c.train.foreground + c.train.hard <= 1, "--train.foreground and --train.hard are shares: together 1 at most");
  need(c.folds == 0 || c.fold < c.folds, "--fold counts from 0 to one less than --folds");
  need(c.folds == 0 || c.held_out.empty(), "--held_out or --folds, not both");
  need(c.folds != 1, "--folds 1 leaves nothing to train on; 2 at least");
  need(c.folds > 0 || c.fold == 0, "--fold needs --folds, such as --fold 3 --folds 10");
  const bool classifies = c.task == "classify";
  need(c.net.norm != "group" || (classifies ? c.classify.width : c.net.width) % c.net.norm_groups == 0,
       classifies ? "--net.norm_groups must divide --classify.width" : "--net.norm_groups must divide --net.width");
  need(!classifies || !c.segmenter.empty(), "--task classify needs --segmenter RUN/best.safetensors");
  need(classifies || c.segmenter.empty(), "--segmenter is for --task classify");
  need(!classifies || c.train.steps > 0, "--train.steps 0 is for --task segment");
  need(!classifies || c.machine.precision != "bf16", "--precision bf16 is for --task segment");
  std::error_code ignored;
  need(c.resume.empty() || std::filesystem::equivalent(c.out, c.resume, ignored),
       "--resume goes on in the run's own folder: leave out --out, or copy the folder and resume the copy");
  if (!c.classes.empty()) numbers(c.classes);
  if (c.resume.empty() && !c.out.empty() && std::filesystem::exists(c.out) &&
      (!std::filesystem::is_directory(c.out) || !std::filesystem::is_empty(c.out)))
    fail(c.out, ": is there already and not an empty folder; name another with --out, or go on with --resume ", c.out);
}

void check_task(const std::string& task, const std::vector<std::string>& given) {
  const std::set<std::string> of_segmenter = {
      "net.width",          "net.depth",       "net.up",       "net.init",         "net.deep_supervision",
      "input.planes",       "input.threshold", "train.size",   "train.foreground", "train.hard",
      "train.whole_slices", "train.loss",      "train.smooth", "recompute",        "augment.elastic",
      "input.window",       "classes"};
  for (const std::string& name : given) {
    if (task == "classify" && of_segmenter.contains(name)) throw UsageError{"--" + name + " is for --task segment"};
    if (task == "segment" && name.starts_with("classify.")) throw UsageError{"--" + name + " is for --task classify"};
  }
}

CacheOptions cache_options(const Config& c, const std::string& folder) {
  CacheOptions o;
  o.folder = c.cache.empty() ? default_cache(folder) : c.cache;
  o.masks = mask_source_named(c.masks);
  o.lungs = c.input.lungs;
  o.bytes = c.cache_bits == 8;
  o.window = c.input.hu;
  o.classes = numbers(c.classes);
  return o;
}

SplitOptions split_options(const Config& c) { return {c.validation, c.held_out, c.fold, c.folds, uint64_t(c.seed)}; }

SamplingOptions sampling_options(const Config& c) {
  SamplingOptions o;
  o.size = c.train.size;
  o.planes = c.input.planes;
  o.foreground = c.train.foreground;
  o.hard = c.train.hard;
  o.whole_slices = c.train.whole_slices;
  o.window = c.input.hu;
  o.augment = c.augment;
  return o;
}

UNetOptions net_options(const Config& c, const Dataset& data) {
  UNetOptions o;
  o.in = c.input.planes * data.scans[0].image.channels;
  o.out = data.classes;
  o.width = c.net.width;
  o.depth = c.net.depth;
  o.norm_groups = int(c.net.norm_groups);
  o.up = named<Up>(c.net.up);
  o.norm = named<NormKind>(c.net.norm);
  o.init = named<Init>(c.net.init);
  o.deep_supervision = std::clamp<int64_t>(c.net.deep_supervision, 0, std::max<int64_t>(c.net.depth - 1, 0));
  return o;
}

ResNetOptions classifier_options(const Config& c) {
  ResNetOptions o;
  o.in = c.classify.planes;
  o.width = c.classify.width;
  o.stages = c.classify.stages;
  o.blocks = c.classify.blocks;
  o.norm = named<NormKind>(c.net.norm);
  o.norm_groups = int(c.net.norm_groups);
  return o;
}

CropSamplingOptions crop_sampling_options(const Config& c) {
  CropSamplingOptions o;
  o.crop = {c.classify.size, c.classify.pixel_mm, c.classify.planes, c.classify.plane_mm, c.input.hu};
  o.hard = c.classify.hard;
  o.shift_mm = c.classify.shift_mm;
  o.augment = c.augment;
  return o;
}

InputFormat input_format(const Config& c, const Dataset& data) {
  InputFormat format{c.input.planes, data.scans[0].image.channels, c.input.hu, c.input.threshold,
                     c.input.lungs && !data.pairs};
  if (data.pairs) return format;
  std::vector<double> pixels, slices;
  for (const Scan& scan : data.scans)
    pixels.push_back(scan.image.grid.spacing[0]), slices.push_back(scan.image.grid.spacing[2]);
  format.pixel_mm = spread_of(pixels).median, format.slice_mm = spread_of(slices).median;
  return format;
}

Dataset load_data(Config& c, std::string& folder) {
  folder = c.data.empty() ? phantom_folder(c) : c.data;
  const CacheOptions options = cache_options(c, folder);
  Progress progress("reading scans", 1);
  const Dataset data = load_dataset(folder, options, int64_t(c.memory_gb * (1 << 30)), [&](int64_t done, int64_t of) {
    progress.update(done, of);
    quit_if_stopped();
  });
  if (data.pairs && c.input.window == "auto") {
    const bool bytes = std::all_of(data.scans.begin(), data.scans.end(), [](const Scan& s) { return s.image.bytes; });
    c.input.hu = bytes ? HuWindow{0, 255} : percentiles(data);
    c.input.window = "fixed";
  }
  return data;
}

}  // namespace acinus
