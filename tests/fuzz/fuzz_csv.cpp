// The reader of tables.
#include "data/formats/annotations.h"
#include "data/formats/csv.h"
#include "data/scoring/candidates.h"
#include "tests/fuzz/fuzz.h"

using namespace acinus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  return fuzz("x.csv", bytes, size, [](const std::string& path) {
    const CsvTable table = read_csv(path);
    std::string content = csv_line(table.names);
    for (const auto& row : table.rows) {
      must_hold(row.size() == table.names.size(), "every row as long as the header");
      content += csv_line(row);
    }
    const std::string copy = fuzz_file("copy.csv", content.data(), content.size());
    const CsvTable again = must_work("written and read again", [&] { return read_csv(copy); });
    must_hold(again.names == table.names && again.rows == table.rows, "the same table");
    const auto attempt = [](auto read) {  // what one refuses another may accept
      try {
        read();
      } catch (const Error&) {
      }
    };
    attempt([&] { read_candidates(path); });
    attempt([&] { read_seriesuids(path); });
    read_annotations(path);
  });
}
