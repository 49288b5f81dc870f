// A folder of scans in LUNA16 form, ready to train on:
//
//   DIR/annotations.csv                  seriesuid,coordX,coordY,coordZ,diameter_mm
//   DIR/**/<seriesuid>.mhd               the scans, in subset0..9 or any other folders
//   DIR/readers/<seriesuid>_readers.mhd  optional: how many of four readers outlined each voxel
//
// or .mha, .nii, .nii.gz for either.
//
// LUNA16 has one scan a patient, so to split by scan is to split by patient.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "data/csv.h"
#include "data/volume.h"
#include "tensor/random.h"
#include "tensor/tensor.h"

namespace acinus {

enum class MaskSource { automatic, spheres, readers };  // automatic: the readers' outlines where there are any
MaskSource mask_source_named(const std::string& name);

struct Patient {
  std::string seriesuid, path;
  Volume<int16_t> ct;               // HU
  Volume<uint8_t> mask;             // 1 = nodule
  std::vector<Annotation> nodules;  // of this scan, inside it
  int64_t mask_voxels = 0;
};

struct Dataset {
  std::vector<Patient> patients;      // by seriesuid
  std::vector<std::string> warnings;  // one line each: annotations without a scan, nodules outside theirs, ...
};

// Reads all scans and makes their masks. progress(done, of) is called after each scan. Throws Error if there is no
// folder, no annotations.csv, no scan, a scan twice, a scan that cannot be read, or no annotation that belongs to
// any of the scans; and if all scans would take more than `memory_limit` bytes.
Dataset load_dataset(const std::string& folder, MaskSource masks, int64_t memory_limit,
                     const std::function<void(int64_t, int64_t)>& progress);

struct Split {
  std::vector<size_t> train, validation;  // indices into Dataset::patients
};
// Shuffles the patients by `seed` and sets a share of them aside, at least one on each side; where two or more have
// nodules, one of these at least is on either side. `held_out`, if not empty, names the validation patients instead:
// seriesuids, or their last characters, parted by commas.
Split split_patients(const Dataset& dataset, double fraction, const std::string& held_out, uint64_t seed);

// Hounsfield units from low to high become 0 to 1; what lies outside is clamped.
struct HuWindow {
  double low = -1000, high = 400;
  float operator()(int16_t hu) const {
    const double scaled = (double(hu) - low) / (high - low);
    return float(scaled < 0 ? 0 : scaled > 1 ? 1 : scaled);
  }
};

// What the network sees of slice z: the slice and its neighbours as channels, z - planes/2 .. z + planes/2, where
// the nearest slice stands in for one that is missing. Writes rows x cols pixels of `planes` channels, whose upper
// left corner is voxel (left, top) of the scan; outside the scan there is air.
void copy_planes(const Volume<int16_t>& ct, int64_t z, int64_t planes, const HuWindow& window, int64_t left,
                 int64_t top, int64_t cols, int64_t rows, float* out);

struct SamplingOptions {
  int64_t size = 96;          // side of the square pieces of slices, voxels
  int64_t planes = 3;         // odd
  double foreground = 0.6;    // share of pieces around a nodule; most of the others lie in the lungs
  bool whole_slices = false;  // the middle of each slice that holds a nodule, each once a pass, as the seed system
  bool mirror = true;         // left-right and front-back at random
  HuWindow window;
};

// Draws training pieces. Piece `index` is a function of (seed, index) alone, whatever threads do.
class Sampler {
 public:
  Sampler(const Dataset& dataset, std::vector<size_t> patients, SamplingOptions options, uint64_t seed);
  // Pieces in one pass over all slices that hold nodules.
  int64_t nodule_slices() const { return int64_t(slices_.size()); }
  // Pieces index .. index+n-1 -> x (n,size,size,planes) in 0..1, t (n,size,size,1) of 0 and 1
  void draw(int64_t index, int64_t n, Tensor& x, Tensor& t) const;

 private:
  struct Place {
    const Patient* patient;
    int64_t x, y, z;  // the middle of the piece
    bool flip_x, flip_y;
  };
  Place place(int64_t index) const;
  Vec3 outlined_voxel(const Patient& patient, Random& random) const;

  std::vector<const Patient*> patients_;
  std::vector<std::pair<const Patient*, const Annotation*>> nodules_;  // without Annotation: any of the outlines
  std::vector<std::pair<const Patient*, int64_t>> slices_;             // that hold nodules
  SamplingOptions options_;
  uint64_t seed_;
};

}  // namespace acinus
