// The settings of a training run: the library's options structs, each bound to the names that --help lists and a run's
// config.json holds.
#pragma once
#include <string>

#include "apps/common/cli.h"
#include "apps/common/input_format.h"
#include "apps/common/machine.h"
#include "data/chest/phantom.h"
#include "data/dataset/dataset.h"
#include "data/sampling/crop_sampler.h"
#include "data/sampling/sampler.h"
#include "data/scoring/candidates.h"
#include "nn/loss.h"
#include "nn/resnet.h"
#include "nn/unet.h"
#include "optim/schedule.h"

namespace acinus {

enum class OptimizerKind { adam, adamw, sgd };
inline EnumNames<OptimizerKind> enum_names(OptimizerKind) {
  return {"optimizer", {{"adam", OptimizerKind::adam}, {"adamw", OptimizerKind::adamw}, {"sgd", OptimizerKind::sgd}}};
}

// For runs of some minutes: only mirroring, some rotation, brightness, contrast and noise.
inline AugmentOptions light_augmentation() {
  AugmentOptions light = no_augmentation(), whole;
  light.mirror = whole.mirror, light.rotate = whole.rotate;
  light.noise = whole.noise, light.brightness = whole.brightness, light.contrast = whole.contrast;
  return light;
}

struct Config {
  std::string task = "segment", preset = "laptop", out, resume, segmenter;
  int64_t seed = 1;
  Machine machine;

  std::string data;
  double memory_gb = 4;
  int64_t cache_bits = 16;
  CacheOptions cache;
  SplitOptions split;
  PhantomSetOptions phantom{.scans = 24, .scan = {.size = {160, 160, 48}, .spacing = {2, 2, 3}, .min_diameter_mm = 8}};
  bool input_lungs = true;  // as set; input.lungs is true only if the data are also CT scans
  std::string input_window = "auto";
  InputFormat input{.lungs = true};
  UNetOptions net{.norm = NormKind::batch, .deep_supervision = 2};
  SamplingOptions sampling{.size = 64, .hard = 0.1, .augment = light_augmentation()};
  Schedule schedule{.lr = 1e-2, .warmup = 20, .decay = Schedule::Decay::cosine};
  struct {
    int64_t epochs = 12, steps = 100, batch = 16, accumulate = 1, patience = 0, validate_every = 1, loaders = 0;
    LossKind loss = LossKind::dice_bce;
    OptimizerKind optimizer = OptimizerKind::adamw;
    double smooth = 1, momentum = 0.9, weight_decay = 1e-4, clip = 1, ema = 0.99;
  } train;
  ResNetOptions classifier;
  CropSamplingOptions crops;
  CandidateOptions candidates;  // of the U-Net, for the classifier to learn from
  struct {
    double minutes = 0, save_minutes = 5;
    int64_t steps = 0;
  } limits;

  // Some settings are fields of several options structs, or of one in another form. Each is read into one of them; this
  // copies it to the others.
  void share();

  UNetOptions unet() const;  // net, but with no more heads than its depth allows
};

// Adds all settings, and what --preset and --resume do to their defaults.
void add_settings(Settings& settings, Config& config);
// Those that say where prepared scans are kept, for ./evaluate; and which data there are, for ./prepare and ./doctor.
void add_cache_settings(Settings& settings, Config& config);
void add_data_settings(Settings& settings, Config& config);
void check_config(const Config& config);  // UsageError on settings that contradict each other
// Refuses settings of the command line that are for the other task, where they would have no effect.
void check_task(const std::string& task, const std::vector<std::string>& given);

CacheOptions cache_options(const Config& config, const std::string& folder);  // with the cache of a data folder

// Reads the data set, or makes phantoms if --data is not given, with a progress line. Completes what depends on the data:
// the input format and its window, and the network's channels. `folder` becomes that of the data.
Dataset load_data(Config& config, std::string& folder);

}  // namespace acinus
