#include "apps/report/report.h"

#include <algorithm>
#include <cmath>

#include "apps/report/svg_plot.h"
#include "data/formats/csv.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {

bool is_better(const EpochRow& a, const EpochRow& b, Score score) {
  const double of_a = std::isfinite(a.*score) ? a.*score : -INFINITY,
               of_b = std::isfinite(b.*score) ? b.*score : -INFINITY;
  if (of_a != of_b) return of_a > of_b;
  return a.val_loss < b.val_loss || (std::isinf(of_a) && std::isnan(a.val_loss));
}

std::vector<Metric> metrics_of(Score score) {
  std::vector<Metric> metrics{
      {"loss", &EpochRow::loss, "loss/train", "Loss"},
      {"val_dice", kDice, "dice/validation", "Validation Dice"},
      {"val_loss", &EpochRow::val_loss, "loss/validation", "Validation loss"},
      {"val_auc", kAuc, "auc/validation", "Validation AUC"},
      {"lr", &EpochRow::lr, "lr", "Learning rate"},
      {"seconds", &EpochRow::seconds},
      {"images_per_second", &EpochRow::images_per_second, "speed/images_per_second", "Images per second"},
      {"loader_wait", &EpochRow::loader_wait, "speed/loader_wait", "Waiting for data", "% of the time", 100},
      {"peak_mb", &EpochRow::peak_mb, "memory/peak_mb", "Peak memory", "MB"}};
  std::erase_if(metrics, [score](const Metric& m) {  // those of the other task
    return score == kDice ? m.value == &EpochRow::val_loss || m.value == kAuc : m.value == kDice;
  });
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

// ---- report.html

namespace {

constexpr int64_t kMaxTableRows = 200;  // about, of the table of epochs

// "running: ...", "finished" or "stopped ...", with a coloured dot.
std::string state_line(const std::string& state) {
  if (state.empty()) return "";
  const char* kind = state.starts_with("running") ? " running" : state.starts_with("finished") ? " finished" : "";
  return text("<div class='state", kind, "'>", escaped(state), "</div>\n");
}

// Index of the best epoch; -1 if none has a score.
int64_t best_row(const Report& r) {
  const auto best =
      std::ranges::max_element(r.rows, [&](const EpochRow& a, const EpochRow& b) { return is_better(b, a, r.score); });
  return best != r.rows.end() && std::isfinite((*best).*r.score) ? best - r.rows.begin() : -1;
}

const char* score_title(const Report& r) { return r.score == kDice ? "validation Dice" : "validation AUC"; }

std::string key_figures(const Report& r, int64_t best) {
  if (r.rows.empty()) return "";
  NamedTexts figures;
  if (best >= 0)
    figures.emplace_back(text("best ", score_title(r), ", in epoch ", r.rows[best].epoch),
                         fixed(r.rows[best].*r.score, 4));
  const EpochRow& last = r.rows.back();
  double seconds = 0;
  for (const EpochRow& row : r.rows) seconds += row.seconds;
  figures.emplace_back("loss in the last epoch", number(last.loss, 4));
  figures.emplace_back(text("epochs, ", last.step, " steps"), text(last.epoch));
  if (r.seconds > 0)
    figures.emplace_back(text("seconds, ", fixed(seconds, 0), " of them in training steps"), fixed(r.seconds, 0));
  return html_key_figures(figures);
}

std::string curves(const Report& r, int64_t best) {
  std::string out = "<h2>Curves</h2>\n";
  if (r.rows.empty()) return out + "<p>The first epoch has not finished yet.</p>\n";
  if (best >= 0)
    out += text("<p class='soft'>Dotted: the epoch with the best ", score_title(r),
                ". A cross: a value that is not finite. Values show where the pointer rests.</p>\n");
  out += "<div class='grid curves'>\n";
  for (const Metric& metric : metrics_of(r.score)) {
    if (!metric.title) continue;
    Curve curve{.title = metric.title,
                .unit = metric.unit,
                .from_zero = metric.value != &EpochRow::loss,
                .logarithmic = metric.value == &EpochRow::lr,
                .best = best,
                .show_best = metric.value == r.score};
    for (const EpochRow& row : r.rows) {
      curve.x.push_back(double(row.epoch));
      curve.y.push_back(row.*metric.value * metric.factor);
    }
    const std::string last = text("last ", number(curve.y.back(), 4), curve.unit.empty() ? "" : " ", curve.unit);
    out += html_figure(curve.title, last, svg_curve(curve));
  }
  return out + "</div>\n";
}

std::string epoch_table(const Report& r, int64_t best) {
  if (r.rows.empty()) return "";
  const auto n = int64_t(r.rows.size()), step = (n + kMaxTableRows - 1) / kMaxTableRows;
  const std::vector<Metric> metrics = metrics_of(r.score);
  HtmlTable table{.classes = "numbers", .columns = {"epoch", "step"}};
  if (step > 1) table.caption = text("One epoch in ", step, ", the best and the last; metrics.csv has them all.");
  for (const Metric& metric : metrics) table.columns.push_back(metric.name);
  for (int64_t i = 0; i < n; i++) {
    if (i % step != 0 && i != best && i + 1 != n) continue;
    if (i == best) table.best = int64_t(table.rows.size());
    std::vector<std::string>& cells = table.rows.emplace_back();
    cells = {text(r.rows[i].epoch), text(r.rows[i].step)};
    for (const Metric& metric : metrics) cells.push_back(number(r.rows[i].*metric.value));
  }
  return "<details><summary>The epochs as a table</summary>\n" + html_table(table) + "</details>\n";
}

std::string patient_table(const Report& r) {
  if (r.patients.empty()) return "";
  double sum = 0;
  int64_t n = 0;
  HtmlTable table{.classes = "numbers named patients dice", .columns = {"patient", "Dice", ""}};
  for (const auto& [name, dice] : r.patients) {
    const bool known = std::isfinite(dice);
    if (known) sum += dice, n++;
    table.rows.push_back({escaped(name), known ? fixed(dice, 4) : "–",
                          text("<span class='bar' style='width:",
                               known ? number(100 * std::clamp(dice, 0.0, 1.0), 4) : "0", "%'></span>")});
  }
  if (n > 0) {
    const int64_t without = int64_t(r.patients.size()) - n;
    table.caption = text("Mean Dice ", fixed(sum / double(n), 4), " over ", counted(n, "patient"),
                         without > 0 ? text("; ", without, " without foreground") : "", ".");
  }
  return "<h2>Held-out patients</h2>\n" + html_table(table);
}

}  // namespace

std::string report_html(const Report& r) {
  const int64_t best = best_row(r);
  return html_page(r.title, state_line(r.state) + key_figures(r, best),
                   html_warnings(r.findings) + curves(r, best) + epoch_table(r, best) + patient_table(r) +
                       html_pictures(r.pictures) +
                       text("<div class='grid'>\n", html_facts("Held-out patients", r.results),
                            html_facts("The run", r.facts), html_facts("The data", r.fingerprint), "</div>\n",
                            html_command(r.command), "<details><summary>Settings (config.json)</summary>\n<pre>",
                            escaped(r.config_json), "</pre></details>\n"));
}

}  // namespace acinus
