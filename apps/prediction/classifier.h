// The second look at candidates: a small network (nn/resnet.h) sees a crop around each (data/sampling/crops.h) and says how
// likely it is a nodule. Trained by ./train --task classify.
//
//   LoadedClassifier classifier = load_classifier("runs/laptop-classifier/best.safetensors");
//   std::vector<Candidate> found = find_candidates(probability, scan.id, {});
//   classify(classifier, ct, found);                        the same places with other probabilities, sorted by these
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/scoring/candidates.h"
#include "data/sampling/crops.h"
#include "nn/checkpoint.h"

namespace acinus {

// Crops are described in the metadata of the classifier's file, so that nothing else is needed to use it.
std::map<std::string, std::string> to_metadata(const CropOptions& options);
CropOptions crop_options(const std::map<std::string, std::string>& metadata, const std::string& source);

struct LoadedClassifier {
  std::unique_ptr<ResNet> net;  // in eval mode, on the CPU
  CropOptions crop;
  std::map<std::string, std::string> metadata;
};
LoadedClassifier load_classifier(const std::string& path);

// How likely each place (mm) shows a nodule: the mean over the crop as it is and mirrored along each axis. The network
// keeps the mode it is in (eval, that is), and is where its parameters are.
std::vector<double> classify(ResNet& net, const CropOptions& options, const ScanView& image,
                             const std::vector<Vec3>& places);
// Replaces the candidates' probabilities by these, and sorts: the most probable first.
void classify(LoadedClassifier& classifier, const ScanView& image, std::vector<Candidate>& candidates);

}  // namespace acinus
