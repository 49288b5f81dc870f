// LUNA16's tables: annotations.csv, a nodule a line, and seriesuids.csv, a scan a line.
#pragma once
#include <string>
#include <vector>

#include "data/volume/mask.h"

namespace acinus {

// Both tables may lack a header line; other columns are ignored.
std::vector<Annotation> read_annotations(const std::string& path);
void write_annotations(const std::string& path, const std::vector<Annotation>& annotations);

// The column seriesuid of this or another table. A value that occurs twice is an Error.
std::vector<std::string> read_seriesuids(const std::string& path);

}  // namespace acinus
