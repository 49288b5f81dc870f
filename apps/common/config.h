// The settings of a training run: what --help lists, a run's config.json holds, and what the parts of a run are made
// of.
#pragma once
#include <string>

#include "apps/common/cli.h"
#include "apps/common/input_format.h"
#include "data/dataset/dataset.h"
#include "data/sampling/crop_sampler.h"
#include "data/sampling/sampler.h"
#include "nn/loss.h"
#include "nn/resnet.h"
#include "nn/unet.h"

namespace acinus {

// Little is changed in a run of some minutes: mirrored, sometimes turned, another brightness, contrast or noise.
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
  bool recompute = false;

  std::string data, cache, masks = "auto", classes, held_out;
  int64_t cache_bits = 16, fold = 0, folds = 0;
  double validation = 0.2, memory_gb = 4;
  struct {
    int64_t scans = 24, size = 160, slices = 48;
    double pixel_mm = 2, slice_mm = 3, min_diameter_mm = 8;
  } phantom;
  struct {
    int64_t planes = 3;
    std::string window = "auto";
    HuWindow hu;
    bool lungs = true;
    double threshold = 0.5;
  } input;
  struct {
    int64_t width = 16, depth = 3, norm_groups = 8, deep_supervision = 2;
    std::string up = "nearest", norm = "batch", init = "he";
  } net;
  struct {
    int64_t epochs = 12, steps = 100, batch = 16, accumulate = 1, size = 64, warmup = 20, patience = 0,
            validate_every = 1, loaders = 0;
    double foreground = 0.5, hard = 0.1, lr = 1e-2, weight_decay = 1e-4, clip = 1, smooth = 1, momentum = 0.9,
           ema = 0.99;
    bool whole_slices = false;
    std::string loss = "dice+bce", optimizer = "adamw", decay = "cosine";
  } train;
  struct {
    int64_t width = 16, stages = 3, blocks = 1, size = 32, planes = 7;
    double pixel_mm = 1, plane_mm = 2, shift_mm = 2, hard = 0.25, threshold = 0.1;
  } classify;
  AugmentOptions augment = light_augmentation();
  struct {
    double minutes = 0, save_minutes = 5;
    int64_t steps = 0;
  } limits;
};

// Adds all settings, and what --preset and --resume do to their defaults.
void add_settings(Settings& settings, Config& config);
// Those that say where scans made ready are kept, for ./evaluate; and what data there are, for ./prepare and ./doctor.
void add_cache_settings(Settings& settings, Config& config);
void add_data_settings(Settings& settings, Config& config);
void check_config(const Config& config);  // what one setting's limits cannot say
// Refuses names of the command line that are for the other task: nobody is to wait for an effect that cannot come.
void check_task(const std::string& task, const std::vector<std::string>& given);

CacheOptions cache_options(const Config& config, const std::string& folder);
SplitOptions split_options(const Config& config);
SamplingOptions sampling_options(const Config& config);
UNetOptions net_options(const Config& config, const Dataset& data);
InputFormat input_format(const Config& config, const Dataset& data);
ResNetOptions classifier_options(const Config& config);
CropSamplingOptions crop_sampling_options(const Config& config);

// Reads the data set, or makes it where --data is not given, with a progress line; and chooses the window where that is
// left to the data. `folder` becomes the data's.
Dataset load_data(Config& config, std::string& folder);

}  // namespace acinus
