// Tables as text: a header line of column names, then one line per row, fields separated by commas (or by tabs).
//
//   const CsvTable table = read_csv("metrics.csv");
//   double dice = table.number(/* row */ 3, "val_dice");
//   read_csv("seriesuids.csv", {"seriesuid"});                      the columns of a file without a header line
//
// Reading is strict and follows RFC 4180: a row with too few or too many fields, a missing column or a malformed number
// ("12mm", "nan", "") is an Error "FILE:LINE: what is wrong". Lines may end in CRLF, the file may begin with a byte
// order mark, fields may be "quoted, with ""quotes"" and line ends"; empty lines are skipped.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace acinus {

inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";  // with which some editors begin a text

struct CsvTable {
  std::string path;
  std::vector<std::string> names;              // of the columns
  std::vector<std::vector<std::string>> rows;  // each as long as names
  std::vector<int64_t> lines;                  // the line in the file where each row begins, from 1

  size_t column(const std::string& name) const;
  const std::string& text(size_t row, const std::string& name) const { return rows[row][column(name)]; }
  double number(size_t row, const std::string& name) const;  // finite
  int64_t integer(size_t row, const std::string& name) const;
};

// A file may lack its header line if `names` gives the columns. Then the first line is taken as a header if one of its
// fields is among `names`, or if none is a number.
CsvTable read_csv(const std::string& path, const std::vector<std::string>& names = {});
// The fields as one line, quoted where necessary: {"a", "b,c"} -> a,"b,c" and a line end.
std::string csv_line(const std::vector<std::string>& fields);

}  // namespace acinus
