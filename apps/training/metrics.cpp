#include "apps/training/metrics.h"

#include "data/formats/csv.h"
#include "tensor/check.h"
#include "tensor/io/file.h"

namespace acinus {

bool is_better(const EpochRow& a, const EpochRow& b, Score score) {
  const double of_a = std::isfinite(a.*score) ? a.*score : -INFINITY,
               of_b = std::isfinite(b.*score) ? b.*score : -INFINITY;
  if (of_a != of_b) return of_a > of_b;
  return a.val_loss < b.val_loss || (std::isinf(of_a) && std::isnan(a.val_loss));
}

std::vector<Metric> metrics_of(Score score) {
  std::vector<Metric> metrics{{"loss", &EpochRow::loss}};
  if (score == kDice) metrics.push_back({"val_dice", kDice});
  if (score == kAuc) metrics.insert(metrics.end(), {{"val_loss", &EpochRow::val_loss}, {"val_auc", kAuc}});
  metrics.insert(metrics.end(), {{"lr", &EpochRow::lr},
                                 {"seconds", &EpochRow::seconds},
                                 {"images_per_second", &EpochRow::images_per_second},
                                 {"loader_wait", &EpochRow::loader_wait},
                                 {"peak_mb", &EpochRow::peak_mb}});
  return metrics;
}

std::string to_csv(const std::vector<EpochRow>& rows, Score score) {
  const std::vector<Metric> metrics = metrics_of(score);
  std::string out = "epoch,step";
  for (const Metric& metric : metrics) out += text(",", metric.name);
  for (const EpochRow& row : rows) {
    out += text("\n", row.epoch, ",", row.step);
    for (const Metric& metric : metrics) out += "," + shortest(row.*metric.value);
  }
  return out + "\n";
}

std::vector<EpochRow> rows_from_csv(const std::string& path) {
  const CsvTable table = read_csv(path);
  std::vector<EpochRow> rows;
  for (size_t i = 0; i < table.rows.size(); i++) {
    EpochRow row;
    row.epoch = table.integer(i, "epoch"), row.step = table.integer(i, "step");
    for (const Metric& metric : metrics_of(kDice)) {
      const std::string& written = table.text(i, metric.name);
      if (!parse(written, row.*metric.value))  // unlike table.number, this takes nan and inf, which to_csv writes
        fail(path, ":", table.lines[i], ": ", metric.name, " is '", shown(written), "', not a number");
    }
    const EpochRow before = rows.empty() ? EpochRow{} : rows.back();
    if (row.epoch <= before.epoch || row.step <= before.step)
      fail(path, ":", table.lines[i], ": epoch ", row.epoch, ", step ", row.step, " after epoch ", before.epoch,
           ", step ", before.step, "; both must rise");
    rows.push_back(row);
  }
  return rows;
}

}  // namespace acinus
