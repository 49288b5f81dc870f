#include "data/formats/annotations.h"

#include <map>

#include "data/formats/csv.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

std::vector<Annotation> read_annotations(const std::string& path) {
  const CsvTable table = read_csv(path, {"seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"});
  std::vector<Annotation> annotations;
  for (size_t row = 0; row < table.rows.size(); row++)
    annotations.push_back({table.text(row, "seriesuid"),
                           {table.number(row, "coordX"), table.number(row, "coordY"), table.number(row, "coordZ")},
                           table.number(row, "diameter_mm")});
  return annotations;
}

void write_annotations(const std::string& path, const std::vector<Annotation>& annotations) {
  std::string content = csv_line({"seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"});
  for (const Annotation& a : annotations)
    content += csv_line(
        {a.seriesuid, shortest(a.centre[0]), shortest(a.centre[1]), shortest(a.centre[2]), shortest(a.diameter_mm)});
  write_file(path, content);
}

std::vector<std::string> read_seriesuids(const std::string& path) {
  const CsvTable table = read_csv(path, {"seriesuid"});
  std::vector<std::string> uids;
  std::map<std::string, int64_t> line_of;
  for (size_t row = 0; row < table.rows.size(); row++) {
    const std::string& uid = table.text(row, "seriesuid");
    const auto [it, is_new] = line_of.emplace(uid, table.lines[row]);
    if (!is_new) fail(path, ":", table.lines[row], ": ", shown(uid), " occurs twice, first in line ", it->second);
    uids.push_back(uid);
  }
  return uids;
}

}  // namespace acinus
