#include "apps/report/report.h"

#include <algorithm>
#include <cmath>

#include "apps/report/curve.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {
namespace {

struct CurveStyle {
  double EpochRow::*value;
  const char *title, *unit = "";
  bool from_zero = true;
  double factor = 1;
};
constexpr CurveStyle kCurves[] = {{&EpochRow::loss, "Loss", "", /*from_zero=*/false},
                                  {&EpochRow::val_loss, "Validation loss"},
                                  {kDice, "Validation Dice"},
                                  {kAuc, "Validation AUC"},
                                  {&EpochRow::lr, "Learning rate"},
                                  {&EpochRow::images_per_second, "Images per second"},
                                  {&EpochRow::loader_wait, "Waiting for data", "% of the time", true, 100},
                                  {&EpochRow::peak_mb, "Peak memory", "MB"}};

const char* name_of(Score score) { return score == kAuc ? "validation AUC" : "validation Dice"; }

constexpr size_t kTableRows = 200;  // of the table of epochs

// The row with the best score, the first of several; -1 if there is none.
int64_t best_of(const std::vector<EpochRow>& rows, Score score) {
  int64_t best = -1;
  for (size_t i = 0; i < rows.size(); i++)
    if (std::isfinite(rows[i].*score) && (best < 0 || is_better(rows[i], rows[size_t(best)], score))) best = int64_t(i);
  return best;
}

std::string key_figures(const std::vector<EpochRow>& rows, Score score, int64_t best) {
  std::vector<std::pair<std::string, std::string>> figures;
  double seconds = 0;
  for (const EpochRow& row : rows) seconds += row.seconds;
  if (best >= 0) {
    const EpochRow& row = rows[size_t(best)];
    figures.emplace_back(text("best ", name_of(score), ", in epoch ", row.epoch), fixed(row.*score, 4));
  }
  figures.emplace_back("loss in the last epoch", number(rows.back().loss, 4));
  figures.emplace_back(text("epochs, ", rows.back().step, " steps"), text(rows.back().epoch));
  figures.emplace_back("seconds of training", number(seconds, 4));
  return page_key_figures(figures);
}

std::string curves(const std::vector<EpochRow>& rows, Score score, int64_t best) {
  std::string out = "<h2>Curves</h2>\n";
  if (rows.empty()) return out + "<p>The first epoch is not over yet.</p>\n";
  if (best >= 0)
    out += text("<p class='soft'>Dotted: the epoch with the best ", name_of(score),
                ". A cross: a value that is no finite number. Values show where the pointer rests.</p>\n");
  out += "<div class='grid curves'>\n";
  std::vector<double> epochs;
  for (const EpochRow& row : rows) epochs.push_back(double(row.epoch));
  const std::vector<Metric> metrics = metrics_of(score);
  for (const CurveStyle& style : kCurves) {
    if (std::ranges::none_of(metrics, [&](const Metric& metric) { return metric.value == style.value; })) continue;
    Curve curve{style.title, style.unit, epochs, {}, style.from_zero};
    for (const EpochRow& row : rows) curve.y.push_back(row.*style.value * style.factor);
    curve.decades = style.value == &EpochRow::lr;
    curve.mark = best;
    curve.mark_value = style.value == score;
    out += text("<figure><figcaption><strong>", style.title, "</strong><span>last ", number(curve.y.back(), 4),
                *style.unit ? " " : "", style.unit, "</span></figcaption>\n", svg_curve(curve), "</figure>\n");
  }
  return out + "</div>\n";
}

std::string epoch_table(const std::vector<EpochRow>& rows, Score score, int64_t best) {
  if (rows.empty()) return "";
  const std::vector<Metric> columns = metrics_of(score);
  const size_t every = (rows.size() + kTableRows - 1) / kTableRows;
  std::string out = "<details><summary>The epochs as a table</summary>\n<div class='scroll'><table class='numbers'>\n";
  if (every > 1)
    out += text("<caption>One epoch in ", every, ", the best and the last; metrics.csv has all.</caption>\n");
  out += "<thead><tr><th scope='col'>epoch</th><th scope='col'>step</th>";
  for (const Metric& column : columns) out += text("<th scope='col'>", column.name, "</th>");
  out += "</tr></thead>\n<tbody>\n";
  for (size_t i = 0; i < rows.size(); i++) {
    if (i % every != 0 && int64_t(i) != best && i + 1 != rows.size()) continue;
    out += text(int64_t(i) == best ? "<tr class='best'>" : "<tr>", "<th scope='row'>", rows[i].epoch, "</th><td>",
                rows[i].step, "</td>");
    for (const Metric& column : columns) out += text("<td>", number(rows[i].*column.value), "</td>");
    out += "</tr>\n";
  }
  return out + "</tbody></table></div></details>\n";
}

std::string patient_table(const std::vector<std::pair<std::string, double>>& patients) {
  double sum = 0;
  int64_t judged = 0;
  for (const auto& [name, dice] : patients)
    if (std::isfinite(dice)) sum += dice, judged++;
  std::string out = "<h2>Held-out patients</h2>\n<table class='patients'>\n";
  if (judged > 0)
    out += text("<caption>Mean Dice ", fixed(sum / double(judged), 4), " over ", counted(judged, "patient"),
                judged < int64_t(patients.size()) ? text("; ", int64_t(patients.size()) - judged, " without one") : "",
                ".</caption>\n");
  out +=
      "<thead><tr><th scope='col'>patient</th><th scope='col' class='right'>Dice</th><td class='bar'></td></tr>"
      "</thead>\n<tbody>\n";
  for (const auto& [name, dice] : patients)
    out += text("<tr><th scope='row'>", escaped(name), "</th><td class='right'>",
                std::isfinite(dice) ? fixed(dice, 4) : "\xE2\x80\x93", "</td><td class='bar'><span style='width:",
                std::isfinite(dice) ? number(100 * std::clamp(dice, 0.0, 1.0), 4) : "0", "%'></span></td></tr>\n");
  return out + "</tbody></table>\n";
}

}  // namespace

std::string report_html(const Report& r) {
  const int64_t best = best_of(r.rows, r.score);
  std::string page = page_begin(r.title);
  page += page_state(r.state);
  if (!r.rows.empty()) page += key_figures(r.rows, r.score, best);
  page += "</header>\n<main>\n";
  page += page_findings(r.findings);
  page += curves(r.rows, r.score, best) + epoch_table(r.rows, r.score, best);
  if (!r.patients.empty()) page += patient_table(r.patients);
  if (!r.pictures.empty()) page += page_pictures(r.pictures);
  page += text("<div class='grid'>\n", page_facts("Held-out patients", r.results), page_facts("The run", r.facts),
               page_facts("The data", r.fingerprint), "</div>\n");
  page +=
      text("<h2>The same again</h2>\n<pre class='command'>", escaped(r.command), "</pre>\n",
           "<details><summary>Settings (config.json)</summary>\n<pre>", escaped(r.config_json), "</pre></details>\n");
  return page + page_end();
}

}  // namespace acinus
