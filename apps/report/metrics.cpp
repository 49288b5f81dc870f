#include "apps/report/metrics.h"

#include "data/formats/csv.h"
#include "tensor/check.h"
#include "tensor/io/file.h"
#include "tensor/text.h"

namespace acinus {

bool is_better(const EpochRow& a, const EpochRow& b, Score score) {
  const double of_a = std::isfinite(a.*score) ? a.*score : -INFINITY,
               of_b = std::isfinite(b.*score) ? b.*score : -INFINITY;
  if (of_a != of_b) return of_a > of_b;
  return a.val_loss < b.val_loss || (std::isinf(of_a) && std::isnan(a.val_loss));
}

std::vector<Metric> metrics_of(Score score) {
  std::vector<Metric> metrics{{"loss", &EpochRow::loss, "loss/train", "Loss"}};
  if (score == kDice) metrics.push_back({"val_dice", kDice, "dice/validation", "Validation Dice"});
  if (score == kAuc) {
    metrics.push_back({"val_loss", &EpochRow::val_loss, "loss/validation", "Validation loss"});
    metrics.push_back({"val_auc", kAuc, "auc/validation", "Validation AUC"});
  }
  metrics.push_back({"lr", &EpochRow::lr, "lr", "Learning rate"});
  metrics.push_back({"seconds", &EpochRow::seconds});
  metrics.push_back(
      {"images_per_second", &EpochRow::images_per_second, "speed/images_per_second", "Images per second"});
  metrics.push_back(
      {"loader_wait", &EpochRow::loader_wait, "speed/loader_wait", "Waiting for data", "% of the time", 100});
  metrics.push_back({"peak_mb", &EpochRow::peak_mb, "memory/peak_mb", "Peak memory", "MB"});
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

void add_epochs(Report& report, const std::vector<EpochRow>& rows, Score score) {
  for (const EpochRow& row : rows) report.epochs.push_back(row.epoch), report.steps.push_back(row.step);
  for (const Metric& metric : metrics_of(score)) {
    ReportMetric& added = report.metrics.emplace_back(ReportMetric{metric.name, {}});
    for (const EpochRow& row : rows) added.values.push_back(row.*metric.value);
    if (metric.title) added.title = metric.title;
    added.unit = metric.unit, added.factor = metric.factor;
    added.from_zero = metric.value != &EpochRow::loss;
    added.logarithmic = metric.value == &EpochRow::lr;
    if (metric.value == score) report.score = metric.name;
  }
  for (size_t i = 0; i < rows.size(); i++)
    if (std::isfinite(rows[i].*score) && (report.best < 0 || is_better(rows[i], rows[report.best], score)))
      report.best = int64_t(i);
}

}  // namespace acinus
