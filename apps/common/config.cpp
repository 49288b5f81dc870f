#include "apps/common/config.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "data/volume/mask.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/io/safetensors.h"
#include "tensor/text.h"

namespace acinus {

namespace {

// The recipe of the Keras tutorial that this project replaces (docs/capabilities.md tells what differs on purpose).
void set_seed_recipe(Config& c) {
  c.phantom.scan.size = {512, 512, 48}, c.phantom.scan.spacing = {0.7, 0.7, 2.5}, c.phantom.scan.min_diameter_mm = 0;
  c.input.planes = 1, c.input_lungs = false;
  c.net.width = 32, c.net.depth = 4, c.net.norm = NormKind::none, c.net.init = Init::glorot, c.net.deep_supervision = 0;
  c.sampling.size = 512, c.sampling.whole_slices = true, c.sampling.foreground = 1, c.sampling.hard = 0;
  c.sampling.augment = no_augmentation();
  c.train.epochs = 20, c.train.steps = 0, c.train.batch = 2;
  c.train.loss = LossKind::dice, c.train.optimizer = OptimizerKind::adam;
  c.train.weight_decay = 0, c.train.clip = 0, c.train.ema = 0;
  c.schedule.lr = 1e-5, c.schedule.warmup = 0, c.schedule.decay = Schedule::Decay::constant;
}

// For a GPU and LUNA16: a network of 17 million parameters that sees five slices.
void set_gpu_recipe(Config& c) {
  c.machine.precision = Precision::bf16;
  c.phantom.scans = 48, c.phantom.scan.size = {320, 320, 96};
  c.phantom.scan.spacing = {1, 1, 1.5}, c.phantom.scan.min_diameter_mm = 0;
  c.input.planes = 5;
  c.net.width = 48, c.net.depth = 4, c.net.deep_supervision = 2;
  c.sampling.size = 128, c.sampling.augment = AugmentOptions();
  c.train.epochs = 60, c.train.steps = 500, c.train.batch = 32, c.train.ema = 0.999, c.train.validate_every = 5;
  c.schedule.lr = 3e-3, c.schedule.warmup = 500;
}

// --task classify: a network this small trains in a minute or two, and allows larger batches.
void set_classifier_recipe(Config& c) {
  c.train.epochs = 10, c.train.steps = 40, c.train.batch = 64, c.schedule.lr = 3e-3;
  c.sampling.augment.rotate.probability = 0.5;
  if (c.preset != "gpu") return;
  c.machine.precision = Precision::fp32;
  c.classifier.width = 32, c.classifier.blocks = 2;
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

// ---- the settings, by subject

void add_run_settings(Settings& s, Config& c) {
  s.add("task", c.task, "train a U-Net that finds candidates, or a classifier that tells the nodules among them")
      .one_of({"segment", "classify"});
  s.add("segmenter", c.segmenter, "for --task classify: the U-Net that finds the candidates, RUN/best.safetensors");
  s.add("preset", c.preset, "gpu: for LUNA16 on a GPU; seed: the recipe of the original system, 512x512 pixels")
      .one_of({"laptop", "gpu", "seed"});
  s.add("out", c.out, "folder for the run; default runs/<preset>, or runs/<preset>-classifier");
  s.add("resume", c.resume, "folder of a stopped run: continues from its last saved state, with its settings");
  s.add("seed", c.seed, "of all random numbers: the same seed on the same machine gives the same results");
  c.machine.add_settings(s);
  s.add("recompute", c.net.gradient_checkpointing, "gradient checkpointing: less memory, one more forward pass a step");
  s.add("limits.minutes", c.limits.minutes, "save and stop after this many minutes; 0: no limit").between(0, 1e9);
  s.add("limits.steps", c.limits.steps, "save and stop after this step; 0: no limit").between(0, 1e18);
  s.add("limits.save_minutes", c.limits.save_minutes, "minutes between saves within an epoch").between(0, 1e9);
}

void add_split_settings(Settings& s, Config& c) {
  s.add("validation", c.split.fraction, "fraction of the patients that is held out, at least one").between(0, 0.9);
  s.add("held_out", c.split.held_out, "the patients held out instead: ends of their seriesuids, comma-separated");
  s.add("fold", c.split.fold, "cross-validation: which of the --folds parts is held out, from 0").between(0, 999);
  s.add("folds", c.split.folds, "number of parts; 10: LUNA16's subset0..9; 0: no cross-validation").between(0, 1000);
}

void add_phantom_settings(Settings& s, Config& c) {
  PhantomOptions& scan = c.phantom.scan;
  s.add("phantom.scans", c.phantom.scans, "number of synthetic scans to make").between(2, 100000);
  s.add("phantom.size", scan.size[0], "their voxels along x and along y").between(16, 2048);
  s.add("phantom.slices", scan.size[2], "their number of slices").between(1, 2048);
  s.add("phantom.pixel_mm", scan.spacing[0], "mm between voxels within a slice").between(0.05, 100);
  s.add("phantom.slice_mm", scan.spacing[2], "mm between slices").between(0.05, 100);
  s.add("phantom.min_diameter_mm", scan.min_diameter_mm, "diameter of the smallest nodules").between(0, 32);
}

void add_input_settings(Settings& s, Config& c) {
  s.add("input.planes", c.input.planes, "neighbouring slices that the network sees as channels, odd").between(1, 31);
  s.add("input.window", c.input_window, "auto: for images/ and masks/, hu_low and hu_high are percentiles of the data")
      .one_of({"auto", "fixed"});
  s.add("input.hu_low", c.input.window.low, "HU mapped to 0; darker voxels become 0, too").between(-1e9, 1e9);
  s.add("input.hu_high", c.input.window.high, "HU mapped to 1; brighter voxels become 1, too").between(-1e9, 1e9);
  s.add("input.lungs", c.input_lungs, "in CT scans: find the lungs, sample patches there, predict nothing outside");
  s.add("input.threshold", c.input.threshold, "probability above which a voxel is foreground").between(0, 1);
}

void add_network_settings(Settings& s, Config& c) {
  s.add("net.width", c.net.width, "channels of the first block; they double with each halving").between(1, 4096);
  s.add("net.depth", c.net.depth, "how often the encoder halves the image").between(0, 8);
  s.add("net.up", c.net.up, "how the decoder doubles the image");
  s.add("net.norm", c.net.norm, "normalisation after each convolution");
  s.add("net.norm_groups", c.net.norm_groups, "groups of group norm; must divide the width").between(1, 4096);
  s.add("net.init", c.net.init, "distribution of the initial weights");
  s.add("net.deep_supervision", c.net.deep_supervision, "coarser scales with a loss of their own").between(0, 7);
}

void add_training_settings(Settings& s, Config& c) {
  s.add("train.epochs", c.train.epochs, "the network is validated and saved after each").between(1, 1e6);
  s.add("train.steps", c.train.steps, "optimizer steps per epoch; 0: every slice with a nodule once").between(0, 1e9);
  s.add("train.batch", c.train.batch, "patches (crops of a classifier) per batch").between(1, 4096);
  s.add("train.accumulate", c.train.accumulate, "batches per step, whose gradients are averaged").between(1, 4096);
  s.add("train.size", c.sampling.size, "side of a patch, pixels").between(8, 4096);
  s.add("train.foreground", c.sampling.foreground, "fraction of patches around nodules").between(0, 1);
  s.add("train.hard", c.sampling.hard, "fraction of patches around dense voxels that are not nodules").between(0, 1);
  s.add("train.whole_slices", c.sampling.whole_slices, "sample the centre of whole slices instead of patches");
  s.add("train.loss", c.train.loss, "the loss function");
  s.add("train.smooth", c.train.smooth, "constant added to numerator and denominator of the Dice loss").between(0, 1e9);
  s.add("train.optimizer", c.train.optimizer, "sgd uses Nesterov momentum");
  s.add("train.lr", c.schedule.lr, "peak learning rate").between(1e-12, INFINITY);
  s.add("train.momentum", c.train.momentum, "momentum of sgd").between(0, 0.9999);
  s.add("train.weight_decay", c.train.weight_decay, "L2 penalty; decoupled with adamw").between(0, 1);
  s.add("train.warmup", c.schedule.warmup, "steps of linear learning-rate warm-up").between(0, 1e9);
  s.add("train.decay", c.schedule.decay, "learning-rate schedule after the warm-up");
  s.add("train.clip", c.train.clip, "gradients are scaled down to this norm; 0: no limit").between(0, INFINITY);
  s.add("train.ema", c.train.ema, "decay of the moving average of the weights; 0: off").between(0, 0.999999);
  s.add("train.patience", c.train.patience, "validations without improvement before it ends; 0: never").between(0, 1e6);
  s.add("train.validate_every", c.train.validate_every, "epochs from one validation to the next").between(1, 1e6);
  s.add("train.loaders", c.train.loaders, "threads that prepare batches; 0: by the number of cores").between(0, 256);
}

void add_classifier_settings(Settings& s, Config& c) {
  CropOptions& crop = c.crops.crop;
  s.add("classify.width", c.classifier.width, "channels of the first stage; they double with each").between(1, 1024);
  s.add("classify.stages", c.classifier.stages, "stages; the crop is halved between two").between(1, 6);
  s.add("classify.blocks", c.classifier.blocks, "residual blocks per stage").between(1, 16);
  s.add("classify.size", crop.size, "side of a crop, pixels").between(4, 256);
  s.add("classify.pixel_mm", crop.pixel_mm, "mm between pixels of a crop").between(0.05, 100);
  s.add("classify.planes", crop.planes, "planes of a crop").between(1, 64);
  s.add("classify.plane_mm", crop.plane_mm, "mm between planes").between(0.05, 100);
  s.add("classify.shift_mm", c.crops.shift_mm, "largest random shift of a crop, mm per axis").between(0, 100);
  s.add("classify.hard", c.crops.hard, "fraction of negatives that are dense voxels, not candidates").between(0, 1);
  s.add("classify.threshold", c.candidates.threshold, "the U-Net's probability for a candidate").between(0, 1);
}

void add_augmentation_settings(Settings& s, Config& c) {
  AugmentOptions& a = c.sampling.augment;
  const auto add = [&](const char* name, double& probability, const char* done) {
    s.add(text("augment.", name), probability, text("fraction of patches ", done)).between(0, 1);
  };
  add("mirror", a.mirror, "mirrored left-right, and as many front-back");
  add("rotate", a.rotate.probability, "rotated");
  add("zoom", a.zoom.probability, "scaled up or down");
  add("elastic", a.elastic.probability, "elastically deformed");
  add("noise", a.noise.probability, "given Gaussian noise");
  add("blur", a.blur.probability, "blurred");
  add("brightness", a.brightness.probability, "made brighter or darker");
  add("contrast", a.contrast.probability, "given more or less contrast");
  add("low_resolution", a.low_resolution.probability, "downsampled, and upsampled again");
  add("gamma", a.gamma.probability, "gamma-corrected");
  add("gamma_of_inverse", a.gamma_of_inverse.probability, "gamma-corrected as negatives");
}

}  // namespace

void add_cache_settings(Settings& s, Config& c) {
  s.add("cache", c.cache.folder, "folder of the prepared scans; default runs/cache/<name of the data>");
  s.add("cache_bits", c.cache_bits, "bits per voxel: 16: HU; 8: grey levels of the input window").one_of({"8", "16"});
  s.add("masks", c.cache.masks, "spheres of annotations.csv, or readers' outlines; auto: outlines if there are any");
  s.on_read([&c] { c.share(); });
}

void add_data_settings(Settings& s, Config& c) {
  add_cache_settings(s, c);
  s.add("classes", c.cache.classes, "for images/ and masks/: mask values of class 0, 1, ..., such as 0,128,255");
  s.add("memory_gb", c.memory_gb, "memory for preparing scans in parallel, GB").between(0, 1e6);
}

void add_settings(Settings& s, Config& c) {
  add_run_settings(s, c);
  s.add("data", c.data, "scans in LUNA16 form, or images/ and masks/; default: synthetic scans are made");
  add_data_settings(s, c);
  add_split_settings(s, c);
  add_phantom_settings(s, c);
  add_input_settings(s, c);
  add_network_settings(s, c);
  add_training_settings(s, c);
  add_classifier_settings(s, c);
  add_augmentation_settings(s, c);
  s.retire("seed_bug", "none", "the original system's bugs are diffs in docs/museum now; see docs/museum.md");
  s.on_defaults([&s, &c] {
    if (!c.resume.empty()) {
      const std::string folder = c.resume;
      s.set(saved_settings(folder), folder + "/last.safetensors");
      c.out = c.resume = folder;
      c.limits.minutes = 0, c.limits.steps = 0;  // they were for the part of the run that is over
      return;
    }
    if (c.preset == "seed") set_seed_recipe(c);
    if (c.preset == "gpu") set_gpu_recipe(c);
    if (c.task == "classify") set_classifier_recipe(c);
  });
}

void Config::share() {
  split.seed = phantom.seed = uint64_t(seed);
  phantom.scan.size[1] = phantom.scan.size[0], phantom.scan.spacing[1] = phantom.scan.spacing[0];
  cache.bytes = cache_bits == 8, cache.lungs = input_lungs;
  cache.window = sampling.window = crops.crop.window = input.window;
  sampling.planes = input.planes;
  crops.augment = sampling.augment;
  classifier.in = crops.crop.planes, classifier.norm = net.norm, classifier.norm_groups = net.norm_groups;
}

UNetOptions Config::unet() const {
  UNetOptions options = net;
  options.deep_supervision = std::min(net.deep_supervision, std::max<int64_t>(net.depth - 1, 0));
  return options;
}

void check_config(const Config& c) {
  const auto need = [](bool holds, const char* message) {
    if (!holds) throw UsageError(message);
  };
  need(c.input.planes % 2 == 1, "--input.planes must be odd: 1, 3, 5, ...");
  need(c.input.window.high > c.input.window.low, "--input.hu_high must be above --input.hu_low");
  need(c.train.steps > 0 || c.sampling.whole_slices, "--train.steps 0 goes with --train.whole_slices true");
  need(c.sampling.foreground + c.sampling.hard <= 1,
       "--train.foreground and --train.hard are fractions: together 1 at most");
  need(c.split.folds == 0 || c.split.fold < c.split.folds, "--fold counts from 0 to one less than --folds");
  need(c.split.folds == 0 || c.split.held_out.empty(), "--held_out or --folds, not both");
  need(c.split.folds != 1, "--folds 1 leaves nothing to train on; it must be at least 2");
  need(c.split.folds > 0 || c.split.fold == 0, "--fold needs --folds, such as --fold 3 --folds 10");
  const bool classifies = c.task == "classify";
  need(c.net.norm != NormKind::group || (classifies ? c.classifier.width : c.net.width) % c.net.norm_groups == 0,
       classifies ? "--net.norm_groups must divide --classify.width" : "--net.norm_groups must divide --net.width");
  need(!classifies || !c.segmenter.empty(), "--task classify needs --segmenter RUN/best.safetensors");
  need(classifies || c.segmenter.empty(), "--segmenter is for --task classify");
  need(!classifies || c.train.steps > 0, "--train.steps 0 is for --task segment");
  need(!classifies || c.machine.precision != Precision::bf16, "--precision bf16 is for --task segment");
  std::error_code ignored;
  need(c.resume.empty() || std::filesystem::equivalent(c.out, c.resume, ignored),
       "--resume continues in the run's own folder: leave out --out, or copy the folder and resume the copy");
  const std::vector<int64_t>& classes = c.cache.classes;
  need(classes.size() != 1 && int64_t(classes.size()) <= kMaxClasses, "--classes: from two to 32 values are needed");
  need(std::ranges::all_of(classes, [](int64_t value) { return value >= 0 && value <= 255; }),
       "--classes: values of a mask lie between 0 and 255");
  need(std::set(classes.begin(), classes.end()).size() == classes.size(), "--classes: a value occurs twice");
  if (c.resume.empty() && !c.out.empty() && is_taken(c.out))
    fail(c.out, ": exists and is not an empty folder; name another with --out, or continue with --resume ", c.out);
}

void check_task(const std::string& task, const std::vector<std::string>& given) {
  const std::set<std::string> of_segmenter = {
      "net.width",          "net.depth",       "net.up",       "net.init",         "net.deep_supervision",
      "input.planes",       "input.threshold", "train.size",   "train.foreground", "train.hard",
      "train.whole_slices", "train.loss",      "train.smooth", "recompute",        "augment.elastic",
      "input.window",       "classes"};
  for (const std::string& name : given) {
    if (task == "classify" && of_segmenter.contains(name)) throw UsageError("--" + name + " is for --task segment");
    if (task == "segment" && name.starts_with("classify.")) throw UsageError("--" + name + " is for --task classify");
  }
}

}  // namespace acinus
