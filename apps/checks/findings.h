// What is wrong with data, a batch, a network's results, a run or a prediction, and what to do about it. ./doctor
// prints these; ./train looks at its data and at its first results with the same eyes.
//
//   for (const Finding& f : examine_data(data)) std::printf("%s", shown(f).c_str());
//     ✗ 14 of 15 annotated centres are not denser than what is around them; with x and y of the other sign 14 are
//       the list holds RAS coordinates; negate coordX and coordY (annotations.csv is in LPS, see data/volume/geometry.h)
//
// A note is nothing wrong: something to know. A warning may be right in rare data. An error is never.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "apps/common/config.h"
#include "apps/report/report.h"
#include "apps/training/validation.h"

namespace acinus {

struct Finding {
  enum Level { note, warning, error } level = note;
  std::string what, cure;  // with numbers and names; what to do about it
};
using Findings = std::vector<Finding>;

std::string shown(const Finding& finding);     // two lines, in colours on a terminal
std::string one_line(const Finding& finding);  // for Report::findings
// "2 findings: 1 error, 1 note"
std::string tally(const Findings& findings);
bool has_errors(const Findings& findings);
void append(Findings& to, const Findings& more);

// Files that could not be read (load_dataset's `failed`), those with the same flaw together.
Findings examine_failures(const std::vector<std::pair<Source, std::string>>& failed);
// Encodings, densities, spacings, places of nodules, doubles, names. Looks at three slices of each scan.
Findings examine_data(const Dataset& data);
Findings examine_split(const Dataset& data, const Split& split);

// Pieces as the sampler draws them: x in 0..1, t of 0 and 1. Give it 32 or so: one may well hold no nodule.
Findings examine_batch(const Tensor& x, const Tensor& t, const Config& config);
// What a network puts out on scans that were held out.
Findings examine_outputs(const Validation& validation, const Config& config);
// The numbers of the epochs so far.
Findings examine_rows(const std::vector<EpochRow>& rows, const Config& config);
// The folder of a run, without its data: metrics.csv, the networks. Its settings are read first; what is found then
// says why they could not be.
Findings read_config(const std::string& folder, Config& config);
Findings examine_run(const std::string& folder, const Config& config);

// A mask, or what should be one, on the grid of its scan; annotations.csv may be "".
Findings examine_prediction(const std::string& mask, const std::string& scan, const std::string& annotations);

}  // namespace acinus
