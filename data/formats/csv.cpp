#include "data/formats/csv.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

namespace {

constexpr int64_t kFileLimit = int64_t(1) << 28;  // bytes; LUNA16's largest table has 60 million

// Parses the text field by field, counting lines.
struct Parser {
  const std::string& path;
  std::string_view rest;
  char separator;
  int64_t line = 1;

  std::string quoted_field() {
    const int64_t begin = line;
    std::string field;
    for (rest.remove_prefix(1);; rest.remove_prefix(1)) {
      if (rest.empty()) fail(path, ":", begin, ": the quote that begins in this line is never closed");
      if (rest[0] == '\n') line++;
      if (rest[0] != '"')
        field += rest[0];
      else if (rest.substr(1).starts_with('"'))
        field += '"', rest.remove_prefix(1);
      else
        break;
    }
    rest.remove_prefix(1);
    if (!rest.empty() && rest[0] != separator && rest[0] != '\n' && !rest.starts_with("\r\n"))
      fail(path, ":", line, ": '", shown(rest.substr(0, 1)), "' after a closing quote");
    return field;
  }

  // The fields up to the end of the line, which is consumed too.
  std::vector<std::string> row() {
    std::vector<std::string> fields;
    while (true) {
      if (rest.starts_with('"')) {
        fields.push_back(quoted_field());
        if (rest.starts_with('\r')) rest.remove_prefix(1);
      } else {
        const char ends[] = {separator, '\n'};
        const std::string_view plain = rest.substr(0, rest.find_first_of(std::string_view(ends, 2)));
        if (plain.find('"') != plain.npos) fail(path, ":", line, ": a quote within the field '", shown(plain), "'");
        fields.emplace_back(trimmed(plain));
        rest.remove_prefix(plain.size());
      }
      const bool more = rest.starts_with(separator);
      line += rest.starts_with('\n');
      if (!rest.empty()) rest.remove_prefix(1);
      if (!more) return fields;
    }
  }
};

// A tab if the first line has tabs and no commas, outside quotes.
char separator_of(std::string_view text) {
  bool quoted = false, tab = false;
  for (char c : text) {
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == ',') return ',';
    if (c == '\t') tab = true;
    if (c == '\n' && tab) break;
  }
  return tab ? '\t' : ',';
}

bool is_header(const std::vector<std::string>& row, const std::vector<std::string>& names) {
  const auto lower = [](char c) { return std::tolower(uint8_t(c)); };
  const auto is_name = [&](const std::string& field) {
    return std::ranges::any_of(names,
                               [&](const auto& name) { return std::ranges::equal(name, field, {}, lower, lower); });
  };
  const auto is_number = [](const std::string& field) {
    double value;
    return parse(field, value);
  };
  return std::ranges::any_of(row, is_name) || (names.size() > 1 && std::ranges::none_of(row, is_number));
}

}  // namespace

CsvTable read_csv(const std::string& path, const std::vector<std::string>& names) {
  const std::string content = read_file(path, kFileLimit);
  Parser parser{path, content, ','};
  if (parser.rest.starts_with(kByteOrderMark)) parser.rest.remove_prefix(kByteOrderMark.size());
  parser.separator = separator_of(parser.rest);
  CsvTable table;
  table.path = path;
  while (!parser.rest.empty()) {
    const int64_t line = parser.line;
    std::vector<std::string> row = parser.row();
    if (row.size() == 1 && row[0].empty()) continue;
    if (table.names.empty() && !names.empty() && !is_header(row, names)) {
      if (row.size() != names.size())
        fail(path, ":", line, ": ", row.size(), " fields and no header line; without one each line must be ",
             trimmed(csv_line(names)));
      table.names = names;
    }
    if (table.names.empty()) {
      for (const std::string& name : row)
        if (std::ranges::count(row, name) > 1) fail(path, ":", line, ": two columns are called '", shown(name), "'");
      table.names = std::move(row);
      continue;
    }
    if (row.size() != table.names.size())
      fail(path, ":", line, ": ", row.size(), " fields under a header of ", table.names.size());
    table.rows.push_back(std::move(row));
    table.lines.push_back(line);
  }
  if (table.names.empty()) fail(path, ": is empty; it must begin with a line of column names");
  return table;
}

size_t CsvTable::column(const std::string& name) const {
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) fail(path, ":1: there is no column '", name, "' in ", shown(trimmed(csv_line(names))));
  return found - names.begin();
}

double CsvTable::number(size_t row, const std::string& name) const {
  double value;
  if (!parse(text(row, name), value) || !std::isfinite(value))
    fail(path, ":", lines[row], ": ", name, " is '", shown(text(row, name)), "', not a number");
  return value;
}

int64_t CsvTable::integer(size_t row, const std::string& name) const {
  int64_t value;
  if (!parse(text(row, name), value))
    fail(path, ":", lines[row], ": ", name, " is '", shown(text(row, name)), "', not a whole number");
  return value;
}

std::string csv_line(const std::vector<std::string>& fields) {
  std::string line;
  for (const std::string& field : fields) {
    if (&field != &fields.front()) line += ',';
    const bool quote =
        field.find_first_of(",\t\"\r\n") != field.npos || trimmed(field) != field || field.starts_with(kByteOrderMark);
    if (quote) line += '"';
    for (char c : field) line += c == '"' ? "\"\"" : std::string(1, c);
    if (quote) line += '"';
  }
  return line + "\n";
}

}  // namespace acinus
