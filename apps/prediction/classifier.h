// The second stage: a small network (nn/resnet.h) classifies a crop around each candidate (data/sampling/crops.h) as a
// nodule or not. Trained by ./train --task classify.
//
//   LoadedClassifier classifier = load_classifier("runs/laptop-classifier/best.safetensors");
//   std::vector<Candidate> found = find_candidates(probability, scan.id, {});
//   classify(classifier, ct, found);                        new probabilities, and sorted by these
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "apps/common/input_format.h"
#include "data/sampling/crops.h"
#include "data/scoring/candidates.h"
#include "nn/checkpoint.h"

namespace acinus {

// Crops are described in the metadata of the classifier's file, so that it can be used on its own.
Metadata to_metadata(const CropOptions& options);

struct LoadedClassifier {
  std::unique_ptr<ResNet> net;  // in eval mode, on the CPU
  CropOptions crop;
  Metadata metadata;
};
LoadedClassifier load_classifier(const std::string& path);

// The probability that each point (mm) is in a nodule: the mean over the crop as it is and mirrored along each axis. The
// network keeps its mode, which should be eval; it runs on the device of its parameters.
std::vector<double> classify(ResNet& net, const CropOptions& options, const ScanView& image,
                             const std::vector<Vec3>& points);
// Replaces the candidates' probabilities by these, and sorts them, the most probable first.
void classify(const LoadedClassifier& classifier, const ScanView& image, std::vector<Candidate>& candidates);

}  // namespace acinus
