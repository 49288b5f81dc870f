// step: times training steps, or the forward passes of inference, of a U-Net on random data. dev/bench/bench.py lets
// it take turns with torch_step.py, which does the same with PyTorch; dev/gpu_check.sh with torch_gpu.py. Prints one
// "ms <number>" a repetition, then "mb <number>": by how much the process grew at most, or on the GPU, what memory it
// took from there.
#include <sys/resource.h>

#include <cstdio>

#include "apps/common/cli.h"
#include "apps/common/machine.h"
#include "nn/deep_supervision.h"
#include "nn/fold.h"
#include "nn/loss.h"
#include "optim/adam.h"
#include "optim/ema.h"
#include "tensor/cuda/device.h"
#include "tensor/cuda/graph.h"
#include "tensor/memory.h"

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
    int64_t size = 512, batch = 2, repeat = 3;
    bool train = true, ema = false, graph = true, turns = false;
    Machine machine;
    machine.device = "cpu";
    Settings settings("step", "Times training steps or forward passes of a U-Net on random data.");
    settings.add("in", net_options.in, "channels of the image");
    settings.add("width", net_options.width, "");
    settings.add("depth", net_options.depth, "");
    settings.add("norm", net_options.norm, "normalisation after each convolution");
    settings.add("deep_supervision", net_options.deep_supervision, "heads at coarser scales");
    settings.add("size", size, "rows and columns of the image");
    settings.add("batch", batch, "images a step");
    settings.add("train", train, "true: a training step (Dice, Adam); false: forward only");
    settings.add("recompute", net_options.gradient_checkpointing, "gradient checkpointing: less memory, more time");
    settings.add("ema", ema, "averages of the weights are kept");
    machine.add_settings(settings);
    settings.add("graph", graph, "on the GPU: the step is recorded once and then replayed");
    settings.add("repeat", repeat, "timed repetitions, after one that is not; on the GPU after three")
        .between(1, 1000000);
    settings.add("turns", turns, "a repetition for each line of the input, the first one counts too (bench.py)");
    settings.on_defaults([&] {
      if (machine.device == "cuda") repeat = 20;
    });
    if (!settings.parse(argc, argv)) return 0;
    const Device device = machine.use();
    const bool gpu = device == Device::cuda;
    const double before = peak_mb();
    auto made = make_unet(net_options, /*seed=*/1);
    if (!train) made = folded(*made);
    UNet& net = *made;
    net.to(device);
    Adam adam(net.parameters());
    const auto averages = ema ? std::make_unique<Ema>(net.state(), /*decay=*/0.999) : nullptr;
    Random random(2);
    Tensor x({batch, size, size, net_options.in}), t({batch, size, size, 1});
    for (int64_t i = 0; i < x.elements(); i++) x.data<float>()[i] = float(random.normal());
    for (int64_t i = 0; i < t.elements(); i++) t.data<float>()[i] = random.uniform() < 0.05;
    x = cast(x.to(device), machine.activations()), t = t.to(device);
    const auto work = [&] {
      if (train) {
        net.zero_grad();
        segmentation_loss(net.all_scales(x), t, LossKind::dice).backward();
        adam.step(1e-5);
        if (averages) averages->update();
      } else {
        NoGrad no_grad;
        sigmoid(cast(net(x), DType::f32));
      }
    };
    cuda::Graph recorded;
    // A Graph only begins to replay at its second run, and a GPU takes a moment to come up to speed.
    for (int64_t i = gpu ? -3 : -1; turns ? std::getchar() != EOF : i < repeat; i++) {
      const double start = seconds_now();
      if (gpu && graph)
        recorded.run(work);
      else
        work();
      cuda::synchronize();
      if (i >= 0 || turns) std::printf("ms %.*f\n", /*digits=*/gpu ? 4 : 2, (seconds_now() - start) * 1e3);
      std::fflush(stdout);
    }
    const double gpu_mb = double(memory::stats(Device::cuda).reserved) / (1 << 20);
    std::printf("mb %.0f\n", gpu ? gpu_mb : peak_mb() - before);
    return 0;
  });
}
