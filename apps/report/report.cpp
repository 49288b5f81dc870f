#include "apps/report/report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "apps/report/charts.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {
namespace {

constexpr int64_t kMaxTableRows = 200;  // about, of the table of epochs

const ReportMetric* find_metric(const Report& r, const std::string& name) {
  const auto metric = std::ranges::find(r.metrics, name, &ReportMetric::name);
  return metric == r.metrics.end() ? nullptr : &*metric;
}

std::string score_title(const Report& r) {  // "validation Dice"
  std::string title = find_metric(r, r.score)->title;
  title[0] = char(std::tolower(title[0]));
  return title;
}

std::string key_figures(const Report& r) {
  NamedTexts figures;
  if (r.best >= 0)
    figures.emplace_back(text("best ", score_title(r), ", in epoch ", r.epochs[r.best]),
                         fixed(find_metric(r, r.score)->values[r.best], 4));
  if (const ReportMetric* loss = find_metric(r, "loss"))
    figures.emplace_back("loss in the last epoch", number(loss->values.back(), 4));
  figures.emplace_back(text("epochs, ", r.steps.back(), " steps"), text(r.epochs.back()));
  if (const ReportMetric* seconds = find_metric(r, "seconds"))
    figures.emplace_back("seconds of training",
                         number(std::accumulate(seconds->values.begin(), seconds->values.end(), 0.0), 4));
  return html_key_figures(figures);
}

std::string curves(const Report& r) {
  std::string out = "<h2>Curves</h2>\n";
  if (r.epochs.empty()) return out + "<p>The first epoch has not finished yet.</p>\n";
  if (r.best >= 0)
    out += text("<p class='soft'>Dotted: the epoch with the best ", score_title(r),
                ". A cross: a value that is not finite. Values show where the pointer rests.</p>\n");
  out += "<div class='grid curves'>\n";
  for (const ReportMetric& metric : r.metrics) {
    if (metric.title.empty()) continue;
    Curve curve{.title = metric.title,
                .unit = metric.unit,
                .x = {r.epochs.begin(), r.epochs.end()},
                .y = metric.values,
                .from_zero = metric.from_zero,
                .logarithmic = metric.logarithmic,
                .best = r.best,
                .show_best = metric.name == r.score};
    for (double& value : curve.y) value *= metric.factor;
    out +=
        html_figure(metric.title, text("last ", number(curve.y.back(), 4), metric.unit.empty() ? "" : " ", metric.unit),
                    svg_curve(curve));
  }
  return out + "</div>\n";
}

std::string epoch_table(const Report& r) {
  if (r.epochs.empty()) return "";
  const auto n = int64_t(r.epochs.size()), step = (n + kMaxTableRows - 1) / kMaxTableRows;
  HtmlTable table{.classes = "numbers", .columns = {"epoch", "step"}};
  if (step > 1) table.caption = text("One epoch in ", step, ", the best and the last; metrics.csv has them all.");
  for (const ReportMetric& metric : r.metrics) table.columns.push_back(metric.name);
  for (int64_t i = 0; i < n; i++) {
    if (i % step != 0 && i != r.best && i + 1 != n) continue;
    if (i == r.best) table.best = int64_t(table.rows.size());
    std::vector<std::string>& row = table.rows.emplace_back();
    row = {text(r.epochs[i]), text(r.steps[i])};
    for (const ReportMetric& metric : r.metrics) row.push_back(number(metric.values[i]));
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
                         without > 0 ? text("; ", without, " without one") : "", ".");
  }
  return "<h2>Held-out patients</h2>\n" + html_table(table);
}

}  // namespace

std::string report_html(const Report& r) {
  return html_page(r.title, html_state(r.state) + (r.epochs.empty() ? "" : key_figures(r)),
                   html_warnings(r.findings) + curves(r) + epoch_table(r) + patient_table(r) +
                       html_pictures(r.pictures) +
                       text("<div class='grid'>\n", html_facts("Held-out patients", r.results),
                            html_facts("The run", r.facts), html_facts("The data", r.fingerprint), "</div>\n",
                            html_command(r.command), "<details><summary>Settings (config.json)</summary>\n<pre>",
                            escaped(r.config_json), "</pre></details>\n"));
}

}  // namespace acinus
