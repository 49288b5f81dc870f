#include <algorithm>
#include <tuple>

#include "data/formats/csv.h"
#include "data/scoring/candidates.h"
#include "data/scoring/matching.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

void write_candidates(const std::string& path, const std::vector<Candidate>& candidates) {
  std::string content = csv_line({"seriesuid", "coordX", "coordY", "coordZ", "diameter_mm", "probability"});
  for (const Candidate& c : candidates)
    content += csv_line({c.seriesuid, fixed(c.centre[0], 3), fixed(c.centre[1], 3), fixed(c.centre[2], 3),
                         fixed(c.diameter_mm, 3), shortest(c.probability)});
  write_file(path, content);
}

std::vector<Candidate> read_candidates(const std::string& path, std::vector<int64_t>* lines) {
  const CsvTable table = read_csv(path, {"seriesuid", "coordX", "coordY", "coordZ", "probability"});
  for (const char* name : {"seriesuid", "coordX", "coordY", "coordZ", "probability"}) table.column(name);
  const bool with_diameter = std::ranges::count(table.names, "diameter_mm") > 0;
  std::vector<Candidate> candidates;
  for (size_t row = 0; row < table.rows.size(); row++) {
    if (table.text(row, "seriesuid").empty()) fail(path, ":", table.lines[row], ": the seriesuid is missing");
    candidates.push_back({table.text(row, "seriesuid"),
                          {table.number(row, "coordX"), table.number(row, "coordY"), table.number(row, "coordZ")},
                          with_diameter ? table.number(row, "diameter_mm") : -1,
                          table.number(row, "probability")});
  }
  if (lines) *lines = table.lines;
  return candidates;
}

void write_submission(const std::string& path, std::vector<Candidate> candidates, int64_t max_marks) {
  std::ranges::stable_sort(candidates, [](const Candidate& a, const Candidate& b) {
    return std::tie(a.seriesuid, b.probability) < std::tie(b.seriesuid, a.probability);
  });
  std::string content = csv_line({"seriesuid", "coordX", "coordY", "coordZ", "probability"});
  for (size_t begin = 0, end; begin < candidates.size(); begin = end) {
    std::vector<double> probabilities;
    for (end = begin; end < candidates.size() && candidates[end].seriesuid == candidates[begin].seriesuid; end++)
      probabilities.push_back(candidates[end].probability);
    const double above = counted_above(probabilities, max_marks);
    for (size_t i = begin; i < end && candidates[i].probability > above; i++) {
      const Candidate& c = candidates[i];
      content += csv_line(
          {c.seriesuid, fixed(c.centre[0], 3), fixed(c.centre[1], 3), fixed(c.centre[2], 3), shortest(c.probability)});
    }
  }
  write_file(path, content);
}

}  // namespace acinus
