// tiny: the whole idea on one page. A U-Net learns to find nodules in synthetic chest scans, is scored on patients it
// has never seen, and draws what it found. About a minute on two cores; ./train is the same loop for real scans.
#include <cstdio>

#include "data/chest/lungs.h"
#include "data/chest/phantom.h"
#include "data/dataset/overlay.h"
#include "data/sampling/sampler.h"
#include "nn/loss.h"
#include "nn/unet.h"
#include "optim/adam.h"
#include "optim/schedule.h"

using namespace acinus;

// A synthetic patient: the scan in HU, and of each voxel its class (1: nodule) and whether it lies in the lungs.
static Scan make_patient(uint64_t seed) {
  const Phantom phantom = make_phantom({.size = {96, 96, 32}, .spacing = {3.2, 3.2, 4.5}, .min_diameter_mm = 10}, seed);
  Volume<uint8_t> labels = find_lungs(phantom.ct).mask;
  for (int64_t i = 0; i < labels.grid.voxels(); i++)
    labels.voxels[i] = phantom.mask.voxels[i] | (labels.voxels[i] ? kLungs : 0);
  const std::string id = "patient " + std::to_string(seed);
  std::vector<Annotation> nodules;
  for (const PhantomNodule& nodule : phantom.nodules) nodules.push_back({id, nodule.centre, nodule.diameter_mm});
  return make_scan(id, phantom.ct, labels, nodules);
}

// The mask of slice z: 1 where the network finds a nodule more likely than not, which is where its logit is above 0.
static std::vector<uint8_t> predict(UNet& net, const Scan& scan, int64_t z) {
  const NoGrad no_grad;
  const EvalMode eval_mode(net);
  const int64_t columns = scan.image.grid.size[0], rows = scan.image.grid.size[1];
  Tensor x({1, rows, columns, 3});
  copy_planes(scan.image, z, /*planes=*/3, HuWindow{}, 0, 0, columns, rows, x.data<float>());
  std::vector<uint8_t> mask;
  for (double logit : net(x).to_vector()) mask.push_back(logit > 0);
  return mask;
}

int main() {
  const int64_t train_patients = 16, test_patients = 4, steps = 400, batch = 16;
  Dataset patients;
  std::vector<size_t> train;
  for (int64_t i = 0; i < train_patients + test_patients; i++) patients.scans.push_back(make_patient(i + 1));
  for (int64_t i = 0; i < train_patients; i++) train.push_back(i);
  const Sampler sampler(patients, train, {.size = 48, .planes = 3}, /*seed=*/1);

  UNet net({.in = 3, .out = 1, .width = 12, .depth = 3, .norm = NormKind::batch}, /*seed=*/1);
  Adam optimizer(net.parameters());
  const Schedule schedule{.lr = 1e-2, .warmup = 20, .steps = steps, .decay = Schedule::Decay::cosine};
  Tensor x, t;  // a batch: patches (16,48,48,3) of 0 to 1, and their true classes (16,48,48,1)
  for (int64_t step = 0; step < steps; step++) {
    sampler.draw(step * batch, batch, x, t);
    net.zero_grad();
    const Tensor loss = segmentation_loss({net(x)}, t, LossKind::dice_bce);
    loss.backward();
    optimizer.step(schedule.at(step));
    if ((step + 1) % 50 == 0) std::printf("step %3d  loss %7.4f\n", int(step + 1), loss.item());
  }

  int64_t both = 0, sum = 0;  // Dice = 2 |truth and prediction| / (|truth| + |prediction|), over all held-out voxels
  std::vector<Picture> pictures;
  for (int64_t i = train_patients; i < train_patients + test_patients; i++) {
    const Scan& scan = patients.scans[i];
    const Volume<uint8_t> truth = scan.mask();
    Volume<uint8_t> found(truth.grid);
    for (int64_t z = 0; z < truth.grid.size[2]; z++) std::ranges::copy(predict(net, scan, z), found.slice(z));
    for (int64_t k = 0; k < truth.grid.voxels(); k++) {
      both += truth.voxels[k] && found.voxels[k];
      sum += truth.voxels[k] + found.voxels[k];
    }
    pictures.push_back(overlay(scan.image, &truth, &found, densest_point(truth)[2], /*zoom=*/3));
  }
  write_png("tiny.png", montage(pictures, 2));
  std::printf("held-out Dice %.4f; tiny.png shows a slice of each: truth green, prediction red, both yellow\n",
              2.0 * double(both) / double(sum));
}
