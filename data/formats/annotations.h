// LUNA16's tables: annotations.csv, a nodule a line, and seriesuids.csv, a scan a line.
#pragma once
#include <string>
#include <vector>

#include "data/volume/annotation.h"

namespace acinus {

// With or without a line of names; other columns are passed over.
std::vector<Annotation> read_annotations(const std::string& path);
void write_annotations(const std::string& path, const std::vector<Annotation>& annotations);

// LUNA16's seriesuids.csv, a scan a line; also the column of that name of another table. One that is there twice is an
// Error.
std::vector<std::string> read_seriesuids(const std::string& path);

}  // namespace acinus
