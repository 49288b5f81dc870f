// train: teaches a U-Net to find nodules. Without arguments it makes its own data; see README.md.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "apps/cli.h"
#include "apps/report.h"
#include "apps/segment.h"
#include "data/overlay.h"
#include "data/phantom.h"
#include "nn/inspect.h"
#include "optim/adam.h"
#include "optim/schedule.h"
#include "optim/sgd.h"
#include "tensor/device.h"
#include "tensor/file.h"
#include "tensor/memory.h"

using namespace acinus;

namespace {

struct Config {
  std::string preset = "laptop", out;
  int64_t seed = 1;
  Machine machine;
  std::string data, masks = "auto", held_out;
  double validation = 0.2, memory_gb = 8;
  bool recompute = false;
  struct {
    int64_t scans = 24, size = 160, slices = 48;
    double pixel_mm = 2, slice_mm = 3, min_diameter_mm = 8;
  } phantom;
  struct {
    int64_t planes = 3;
    HuWindow window;
    double threshold = 0.5;
  } input;
  struct {
    int64_t width = 16, depth = 3, norm_groups = 8;
    std::string up = "nearest", norm = "batch", init = "he";
  } net;
  struct {
    int64_t epochs = 12, steps = 100, batch = 16, size = 64, warmup = 20;
    double foreground = 0.5, lr = 1e-2, weight_decay = 1e-4, clip = 1, smooth = 1, momentum = 0.9;
    bool whole_slices = false, mirror = true;
    std::string loss = "dice+bce", optimizer = "adamw", decay = "cosine";
  } train;
};

// The recipe of the Keras tutorial this project replaces (docs/capabilities.md tells what differs on purpose).
void set_seed_recipe(Config& c) {
  c.phantom = {24, 512, 48, 0.7, 2.5, 0};
  c.input.planes = 1;
  c.net = {32, 4, 8, "nearest", "none", "glorot"};
  c.train.epochs = 20, c.train.steps = 0, c.train.batch = 2, c.train.size = 512, c.train.warmup = 0;
  c.train.lr = 1e-5, c.train.weight_decay = 0, c.train.clip = 0;
  c.train.whole_slices = true, c.train.mirror = false;
  c.train.loss = "dice", c.train.optimizer = "adam", c.train.decay = "constant";
}

void add_settings(Settings& s, Config& c) {
  s.add("preset", c.preset, "seed is the recipe of the original system: 512x512, 7.8 million parameters")
      .one_of({"laptop", "seed"});
  s.add("out", c.out, "folder for the run; empty: runs/<preset>");
  s.add("seed", c.seed, "the same seed on the same machine gives the same numbers");
  c.machine.add_settings(s);
  s.add("data", c.data, "scans in LUNA16 form; empty: synthetic scans are made");
  s.add("masks", c.masks, "spheres (from annotations.csv), readers (outlines), auto: outlines where there are any")
      .one_of({"auto", "spheres", "readers"});
  s.add("validation", c.validation, "share of the patients held out, at least one").between(0, 0.9);
  s.add("held_out", c.held_out, "or which: ends of their seriesuids, parted by commas");
  s.add("memory_gb", c.memory_gb, "refuse to load more than this").between(0, 1e6);
  s.add("recompute", c.recompute, "activations are computed again instead of kept: less memory, more time");
  s.add("phantom.scans", c.phantom.scans, "synthetic scans to make").between(2, 100000);
  s.add("phantom.size", c.phantom.size, "their voxels along x and y").between(16, 2048);
  s.add("phantom.slices", c.phantom.slices, "their slices").between(1, 2048);
  s.add("phantom.pixel_mm", c.phantom.pixel_mm, "mm between voxels").between(0.05, 100);
  s.add("phantom.slice_mm", c.phantom.slice_mm, "mm between slices").between(0.05, 100);
  s.add("phantom.min_diameter_mm", c.phantom.min_diameter_mm, "no nodule smaller than this").between(0, 32);
  s.add("input.planes", c.input.planes, "neighbouring slices the network sees: 1, 3, 5, 7").between(1, 31);
  s.add("input.hu_low", c.input.window.low, "HU that become 0").between(-32768, 32767);
  s.add("input.hu_high", c.input.window.high, "HU that become 1").between(-32768, 32767);
  s.add("input.threshold", c.input.threshold, "of the probability, for masks").between(0, 1);
  s.add("net.width", c.net.width, "channels of the first block").between(1, 4096);
  s.add("net.depth", c.net.depth, "how often the image is halved").between(0, 8);
  s.add("net.up", c.net.up, "how the image is doubled").one_of({"nearest", "bilinear", "transpose"});
  s.add("net.norm", c.net.norm, "normalisation after each convolution").one_of({"none", "batch", "group", "instance"});
  s.add("net.norm_groups", c.net.norm_groups, "for group; must divide the width").between(1, 4096);
  s.add("net.init", c.net.init, "what the weights start as").one_of({"he", "glorot"});
  s.add("train.epochs", c.train.epochs, "the network is validated and saved after each").between(1, 1e6);
  s.add("train.steps", c.train.steps, "steps an epoch; 0: every slice with a nodule once").between(0, 1e9);
  s.add("train.batch", c.train.batch, "pieces a step").between(1, 4096);
  s.add("train.size", c.train.size, "side of a piece, voxels").between(8, 4096);
  s.add("train.foreground", c.train.foreground, "share of pieces around nodules").between(0, 1);
  s.add("train.whole_slices", c.train.whole_slices, "the middle of each slice with a nodule instead of pieces");
  s.add("train.mirror", c.train.mirror, "mirror pieces at random");
  s.add("train.loss", c.train.loss, "what training makes small").one_of({"dice", "bce", "dice+bce"});
  s.add("train.smooth", c.train.smooth, "of the Dice loss").between(0, 1e9);
  s.add("train.optimizer", c.train.optimizer, "sgd is with Nesterov's momentum").one_of({"adam", "adamw", "sgd"});
  s.add("train.lr", c.train.lr, "learning rate").between(1e-12, INFINITY);
  s.add("train.momentum", c.train.momentum, "for sgd").between(0, 0.9999);
  s.add("train.weight_decay", c.train.weight_decay, "pulls weights towards 0").between(0, 1);
  s.add("train.warmup", c.train.warmup, "steps over which the learning rate rises").between(0, 1e9);
  s.add("train.decay", c.train.decay, "how it falls then").one_of({"constant", "cosine", "polynomial"});
  s.add("train.clip", c.train.clip, "largest norm of the gradient; 0: no limit").between(0, INFINITY);
}

// What one setting's limits cannot say.
void check_config(const Config& c) {
  const auto need = [](bool holds, const char* message) {
    if (!holds) throw UsageError{message};
  };
  need(c.input.planes % 2 == 1, "--input.planes must be odd: 1, 3, 5, ...");
  need(c.input.window.high > c.input.window.low, "--input.hu_high must be above --input.hu_low");
  need(c.train.steps > 0 || c.train.whole_slices, "--train.steps 0 goes with --train.whole_slices true");
  need(c.net.norm != "group" || c.net.width % c.net.norm_groups == 0, "--net.norm_groups must divide --net.width");
  if (!c.out.empty() && std::filesystem::exists(c.out) &&
      (!std::filesystem::is_directory(c.out) || !std::filesystem::is_empty(c.out)))
    fail(c.out, ": is there already and not an empty folder; name another with --out");
}

// ---- data -----------------------------------------------------------------------------------------------------

// Phantoms are kept beside the runs and used again: the name says all they depend on.
std::string phantom_folder(const Config& c) {
  const auto& p = c.phantom;
  const std::string folder =
      text("runs/phantoms/", p.scans, "x", p.size, "x", p.size, "x", p.slices, "-", shortest(p.pixel_mm), "mm-",
           shortest(p.slice_mm), "mm-from", shortest(p.min_diameter_mm), "mm-seed", c.seed);
  if (std::filesystem::exists(folder + "/annotations.csv")) return folder;
  const std::string temporary = text(folder, ".tmp-", getpid());  // another ./train may be making the same set
  PhantomSetOptions set;
  set.scans = int(p.scans);
  set.seed = uint64_t(c.seed);
  set.scan.size = {p.size, p.size, p.slices};
  set.scan.spacing = {p.pixel_mm, p.pixel_mm, p.slice_mm};
  set.scan.min_diameter_mm = p.min_diameter_mm;
  Progress progress("making synthetic scans", p.scans);
  write_phantom_set(temporary, set, [&](int done, int) { progress.update(done); });
  std::error_code taken;
  std::filesystem::rename(temporary, folder, taken);
  if (taken) std::filesystem::remove_all(temporary);
  if (taken && !std::filesystem::exists(folder + "/annotations.csv"))
    fail("cannot make the folder ", folder, ": ", taken.message());
  return folder;
}

Dataset load(const Config& c, const std::string& folder) {
  Progress progress("reading scans", 1);
  return load_dataset(folder, mask_source_named(c.masks), int64_t(c.memory_gb * (1 << 30)),
                      [&](int64_t done, int64_t of) { progress.update(done, of); });
}

// ---- training -------------------------------------------------------------------------------------------------

std::unique_ptr<Optimizer> make_optimizer(const Config& c, const UNet& net) {
  const auto& t = c.train;
  AdamOptions adam;
  adam.weight_decay = t.weight_decay;
  adam.decoupled = t.optimizer == "adamw";
  if (t.optimizer != "sgd") return std::make_unique<Adam>(net.parameters(), adam);
  return std::make_unique<Sgd>(net.parameters(), SgdOptions{t.momentum, /*nesterov=*/t.momentum > 0, t.weight_decay});
}

Schedule make_schedule(const Config& c, int64_t steps) {
  Schedule s;
  s.lr = c.train.lr;
  s.warmup = c.train.warmup;
  s.steps = steps;
  if (c.train.decay == "cosine") s.decay = Schedule::Decay::cosine;
  if (c.train.decay == "polynomial") s.decay = Schedule::Decay::polynomial;
  return s;
}

Tensor loss_of(const Config& c, const Tensor& logits, const Tensor& t) {
  if (c.train.loss == "bce") return bce_with_logits(logits, t);
  const Tensor dice = dice_loss(sigmoid(logits), t, c.train.smooth);
  return c.train.loss == "dice" ? dice : add(dice, bce_with_logits(logits, t));
}

// Training, step by step. On the GPU a step is recorded as a graph, in two parts: between them the CPU looks at the
// loss.
class Training {
 public:
  Training(const Config& config, UNet& net, Device device)
      : config_(config),
        net_(net),
        device_(device),
        optimizer_(make_optimizer(config, net)),
        in_graphs_(device == Device::cuda && !Observing::anybody()) {}

  // Asks for the loss of a batch and its gradients. The GPU is at it when this returns.
  void begin(const Tensor& x, const Tensor& t) {
    check(!x_ || x_.shape() == x.shape(), "train: a batch ", x.shape(), " after batches ", x_.shape());  // the graph's
    if (!x_) x_ = Tensor(x.shape(), x.dtype(), device_), t_ = Tensor(t.shape(), t.dtype(), device_);
    x_.copy_from(x);
    t_.copy_from(t);
    run(*loss_graph_, [&] { forward_backward(); });
  }
  double loss() const { return loss_.item(); }
  double gradient_norm() const { return norm_.item(); }
  void update(double lr) {
    optimizer_->prepare(lr);
    run(*update_graph_, [&] { optimizer_->apply(); });
  }
  std::string find_not_finite() try {
    loss_graph_.reset(), update_graph_.reset();  // their memory is needed
    return first_not_finite(net_, [&] { forward_backward(); });
  } catch (const Error& error) {
    return text("not found (", error.what(), ")");
  }
  const Optimizer& optimizer() const { return *optimizer_; }

 private:
  void forward_backward() {
    net_.zero_grad();
    loss_ = loss_of(config_, net_(x_), t_);
    loss_.backward();
    norm_ = clip_grad_norm(net_.parameters(), config_.train.clip > 0 ? config_.train.clip : INFINITY);
  }
  void run(cuda::Graph& graph, const std::function<void()>& work) { in_graphs_ ? graph.run(work) : work(); }

  const Config& config_;
  UNet& net_;
  Device device_;
  std::unique_ptr<Optimizer> optimizer_;
  bool in_graphs_;
  Tensor x_, t_, loss_, norm_;
  std::unique_ptr<cuda::Graph> loss_graph_ = std::make_unique<cuda::Graph>(),
                               update_graph_ = std::make_unique<cuda::Graph>();
};

struct Validation {
  double dice = 0;  // mean over the patients that have nodules
  std::vector<std::pair<const Patient*, double>> patients;
  std::vector<Volume<uint8_t>> masks;  // predicted, one a patient
};

Validation validate(UNet& net, const Dataset& data, const std::vector<size_t>& patients, const InputFormat& format,
                    const std::string& label) {
  Validation v;
  int64_t slices = 0, done = 0, with_nodules = 0;
  for (size_t i : patients) slices += data.patients[i].ct.grid.size[2];
  Progress progress(label, slices);
  for (size_t i : patients) {
    const Patient& p = data.patients[i];
    v.masks.push_back(
        thresholded(segment(net, p.ct, format, [&](int64_t, int64_t) { progress.update(++done); }), format.threshold));
    v.patients.emplace_back(&p, dice(v.masks.back(), p.mask));
    if (p.mask_voxels == 0) continue;
    v.dice += v.patients.back().second;
    with_nodules++;
  }
  v.dice /= double(std::max<int64_t>(with_nodules, 1));
  return v;
}

// Of each validation patient, up to four: the slice with most nodule in it, and a close-up of 60 mm around that
// nodule without and with the outlines.
Picture overlay_of(const Validation& v) {
  std::vector<Picture> pictures;
  for (size_t i = 0; i < v.patients.size() && i < 4; i++) {
    const Patient& p = *v.patients[i].first;
    const Index3 middle = as_drawn(p.ct.grid, densest_place(p.mask_voxels > 0 ? p.mask : v.masks[i]));
    const int64_t half = std::clamp<int64_t>(int64_t(30 / p.ct.grid.spacing[0]), 4, 100);
    const int zoom = picture_zoom(p.ct.grid),
              close_zoom = std::max<int>(int(p.ct.grid.size[0]) * zoom / int(2 * half), 1);
    pictures.push_back(overlay(p.ct, &p.mask, &v.masks[i], middle[2], zoom));
    for (const bool outlines : {false, true})
      pictures.push_back(
          close_up(overlay(p.ct, outlines ? &p.mask : nullptr, outlines ? &v.masks[i] : nullptr, middle[2], close_zoom),
                   (middle[0] - half) * close_zoom, (middle[1] - half) * close_zoom, 2 * half * close_zoom));
  }
  return montage(pictures, 3);
}

void train(Config& c, const Settings& settings, const std::string& command) {
  const Device device = c.machine.use();
  const double start = seconds_now();
  InputFormat format{c.input.planes, c.input.window, c.input.threshold};
  UNetOptions net_options;
  net_options.in = c.input.planes;
  net_options.width = c.net.width;
  net_options.depth = c.net.depth;
  net_options.norm_groups = int(c.net.norm_groups);
  net_options.up = up_named(c.net.up);
  net_options.norm = norm_named(c.net.norm);
  net_options.init = init_named(c.net.init);
  UNet net(net_options, uint64_t(c.seed));
  net.set_recompute(c.recompute);
  net.set_activations(c.machine.activations());
  net.to(device);
  Training training(c, net, device);

  const std::string folder = c.data.empty() ? phantom_folder(c) : c.data;
  const Dataset data = load(c, folder);
  const Split split = split_patients(data, c.validation, c.held_out, uint64_t(c.seed));
  SamplingOptions sampling;
  sampling.size = c.train.size;
  sampling.planes = c.input.planes;
  sampling.foreground = c.train.foreground;
  sampling.whole_slices = c.train.whole_slices;
  sampling.mirror = c.train.mirror;
  sampling.window = c.input.window;
  const Sampler sampler(data, split.train, sampling, uint64_t(c.seed));

  if (c.out.empty()) c.out = fresh_folder("runs/" + c.preset);
  make_folder(c.out);
  write_file(c.out + "/config.json", settings.to_json());

  std::printf("settings\n");
  settings.print();
  std::printf("\nnetwork\n%s",
              summary(net, [&] {
                net(Tensor::zeros({1, c.train.size, c.train.size, c.input.planes}, DType::f32, device));
              }).c_str());
  std::printf("\ndata: %s\n  %zu patients to train on, %zu held out\n", folder.c_str(), split.train.size(),
              split.validation.size());
  for (const std::string& warning : data.warnings) std::printf("  warning: %s\n", warning.c_str());
  const int64_t steps =
      c.train.steps > 0 ? c.train.steps : (sampler.nodule_slices() + c.train.batch - 1) / c.train.batch;
  std::printf("  %lld steps an epoch, run folder %s\n%s\n\n", static_cast<long long>(steps), c.out.c_str(),
              c.machine.description().c_str());
  std::fflush(stdout);

  const Schedule schedule = make_schedule(c, c.train.epochs * steps);
  Tensor x, t;
  const auto draw = [&](int64_t step) {
    const Work work("draw a batch");
    sampler.draw(step * c.train.batch, c.train.batch, x, t);
  };
  draw(0);
  std::vector<EpochRow> rows;
  std::vector<std::string> overlays;
  double best = -1;
  Validation validation;
  for (int64_t epoch = 1; epoch <= c.train.epochs; epoch++) {
    memory::reset_peak(device);
    const double epoch_start = seconds_now();
    double loss_sum = 0, lr = 0;
    {
      Progress progress(text("epoch ", epoch, "/", c.train.epochs), steps);
      for (int64_t i = 0; i < steps; i++) {
        const int64_t step = (epoch - 1) * steps + i;
        training.begin(x, t);
        if (step + 1 < c.train.epochs * steps) draw(step + 1);  // while the GPU works
        const double loss = training.loss(), norm = training.gradient_norm();
        if (!std::isfinite(loss) || !std::isfinite(norm))
          fail("step ", step + 1, ": the loss is ", loss, " and the gradient's norm ", norm,
               "; the first number that is not finite: ", training.find_not_finite(),
               ". A lower --train.lr or --train.clip 1 may help. ",
               rows.empty() ? "Nothing was saved" : "The last good state is in " + c.out + "/last.safetensors");
        lr = schedule.at(step);
        training.update(lr);
        loss_sum += loss;
        const double rate = double((i + 1) * c.train.batch) / (seconds_now() - epoch_start);
        char note[96];
        std::snprintf(note, sizeof note, "loss %.4f  %.0f images/s", loss_sum / double(i + 1), rate);
        progress.update(i + 1, note);
      }
    }
    const double seconds = seconds_now() - epoch_start;
    validation = validate(net, data, split.validation, format, text("epoch ", epoch, " validation"));

    rows.push_back({epoch, epoch * steps, loss_sum / double(steps), validation.dice, lr, seconds,
                    double(steps * c.train.batch) / seconds, double(memory::stats(device).peak >> 20)});
    const EpochRow& row = rows.back();
    auto metadata = to_metadata(format);
    metadata["format"] = "pt";
    metadata["unet.config"] = to_json(net_options);
    metadata["train.config"] = settings.to_json();
    metadata["epoch"] = std::to_string(epoch);
    metadata["val_dice"] = shortest(validation.dice);
    const NamedTensors state = state_dict(net);
    NamedTensors all = state;
    for (const auto& [name, tensor] : training.optimizer().state()) all.emplace_back("optimizer." + name, tensor);
    write_safetensors(c.out + "/last.safetensors", all, metadata);
    const bool is_best = validation.dice > best;
    if (is_best) write_safetensors(c.out + "/best.safetensors", state, metadata), best = validation.dice;
    if (epoch == 1 || epoch == c.train.epochs || epoch % std::max<int64_t>(c.train.epochs / 4, 1) == 0) {
      make_folder(c.out + "/overlays");
      overlays.push_back(text("overlays/epoch_", epoch < 10 ? "00" : epoch < 100 ? "0" : "", epoch, ".png"));
      write_png(c.out + "/" + overlays.back(), overlay_of(validation));
    }
    write_file(c.out + "/metrics.csv", to_csv(rows));
    write_file(c.out + "/report.html", report_html("acinus: " + c.out, command, settings.to_json(), rows, overlays));
    std::printf("epoch %3lld/%lld | loss %8.4f | val dice %.4f%s | lr %.1e | %6.1f images/s | %s\n",
                static_cast<long long>(epoch), static_cast<long long>(c.train.epochs), row.loss, row.val_dice,
                is_best ? " *" : "  ", row.lr, row.images_per_second, minutes(seconds_now() - start).c_str());
    std::fflush(stdout);
  }

  LoadedUNet loaded = load_unet(c.out + "/best.safetensors");
  loaded.net->to(device);
  loaded.net->set_activations(c.machine.activations());
  validation = validate(*loaded.net, data, split.validation, format, "best network");
  std::printf("\nheld-out patients, best network (hard Dice over the whole scan)\n");
  for (const auto& [patient, value] : validation.patients)
    std::printf("  %-70s %.4f%s\n", patient->seriesuid.c_str(), value, patient->mask_voxels ? "" : "  (no nodule)");
  std::printf("  mean over those with nodules %.4f\n\n", validation.dice);
  std::printf("in %s: best.safetensors  last.safetensors  metrics.csv  report.html  overlays/\n", c.out.c_str());
  std::string predict = command.substr(0, command.find(' '));  // ./train -> ./predict
  if (predict.ends_with("train")) predict.replace(predict.size() - 5, 5, "predict");
  std::printf("next: %s %s --model %s/best.safetensors\n", predict.c_str(), validation.patients[0].first->path.c_str(),
              c.out.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    Config config;
    Settings settings("train",
                      "Trains a U-Net to find lung nodules. Without arguments on synthetic scans, which it makes.");
    add_settings(settings, config);
    settings.on_defaults([&] {
      if (config.preset == "seed") set_seed_recipe(config);
    });
    if (!settings.parse(argc, argv)) return;
    check_config(config);
    std::string command;
    for (int i = 0; i < argc; i++) command += std::string(i ? " " : "") + argv[i];
    train(config, settings, command);
  });
}
