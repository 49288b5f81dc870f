// step: times training steps, or forward passes, of a U-Net on random data. bench/run.sh runs it in turn with
// torch_step.py, which does the same with PyTorch. Prints one "ms <number>" a repetition, then "mb <number>": by how
// much the process grew at most.
#include <sys/resource.h>

#include <cstdio>

#include "apps/cli.h"
#include "nn/unet.h"
#include "optim/adam.h"
#include "tensor/file.h"

using namespace acinus;

static double peak_mb() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  return double(usage.ru_maxrss) / (1 << 20);  // bytes there
#else
  return double(usage.ru_maxrss) / (1 << 10);
#endif
}

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    UNetOptions net_options{.width = 32, .depth = 4};
    int64_t size = 512, batch = 2, repeat = 3, threads = 0, norm_groups = 8;
    bool train = true, recompute = false;
    std::string norm = "none";
    Settings settings("step", "Times training steps or forward passes of a U-Net on random data.");
    settings.add("in", net_options.in, "channels of the image");
    settings.add("width", net_options.width, "");
    settings.add("depth", net_options.depth, "");
    settings.add("norm", norm, "none, batch, group, instance");
    settings.add("size", size, "rows and columns of the image");
    settings.add("batch", batch, "images a step");
    settings.add("train", train, "true: a training step (Dice, Adam); false: forward only");
    settings.add("recompute", recompute, "activations are computed again instead of kept");
    settings.add("repeat", repeat, "timed repetitions, after one that is not");
    settings.add("threads", threads, "0: all cores");
    if (!settings.parse(argc, argv)) return;
    use_threads(threads);
    net_options.norm = norm_named(norm);
    net_options.norm_groups = int(norm_groups);
    const double before = peak_mb();
    UNet net(net_options, /*seed=*/1);
    net.set_recompute(recompute);
    Adam adam(net.parameters());
    Random random(2);
    Tensor x({batch, size, size, net_options.in}), t({batch, size, size, 1});
    for (int64_t i = 0; i < x.elements(); i++) x.data<float>()[i] = float(random.normal());
    for (int64_t i = 0; i < t.elements(); i++) t.data<float>()[i] = random.uniform() < 0.05;
    for (int64_t i = 0; i <= repeat; i++) {
      const double start = seconds_now();
      if (train) {
        net.zero_grad();
        dice_loss(sigmoid(net(x)), t).backward();
        adam.step(1e-5);
      } else {
        NoGrad no_grad;
        sigmoid(net(x));
      }
      if (i > 0) std::printf("ms %.2f\n", (seconds_now() - start) * 1e3);
    }
    std::printf("mb %.0f\n", peak_mb() - before);
  });
}
