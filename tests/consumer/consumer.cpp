// A program outside of acinus, built against an installed one: takes one training step of a small U-Net and writes a
// compressed volume, so that every part of the library is linked. Exit code 0 if the loss fell.
#include <cstdio>

#include "data/formats/metaimage.h"
#include "data/formats/volume_io.h"
#include "nn/unet.h"
#include "optim/sgd.h"
#include "tensor/ops.h"

int main() {
  using namespace acinus;
  UNet net({.width = 4, .depth = 2}, /* seed */ 1);
  Sgd optimizer(net.parameters());
  const Tensor image = Tensor::full({1, 16, 16, 1}, 0.5), target = Tensor::full({1, 16, 16, 1}, 1);
  double losses[2];
  for (double& loss_value : losses) {
    const Tensor loss = bce_with_logits(net(image), target);
    loss_value = loss.item();
    loss.backward();
    optimizer.step(/* lr */ 0.01);
  }
  write_volume("consumer.mhd", Volume<uint8_t>(Grid{.size = {4, 4, 4}}), /* compressed */ true);
  std::printf("loss %.4f -> %.4f\n", losses[0], losses[1]);
  return losses[1] < losses[0] ? 0 : 1;
}
