#include <algorithm>
#include <cmath>

#include "apps/evaluation/evaluation.h"
#include "apps/report/charts.h"
#include "apps/report/html.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {
namespace {

bool has_interval(const Froc& f) { return f.resamples > 0; }

std::string range(const Estimate& e, const char* separator) { return fixed(e.low, 3) + separator + fixed(e.high, 3); }

// ` small` below the number, in the smaller type of intervals and deviations.
std::string number_cell(const std::string& value, const std::string& small) {
  return small.empty() ? value : text(value, "<small>", small, "</small>");
}

std::string key_figures(const Evaluation& e) {
  NamedTexts figures;
  const bool several = e.submissions.size() > 1;
  for (const Submission& s : e.submissions) {
    if (s.froc.defined()) {
      const std::string interval =
          has_interval(s.froc) ? text(" (", percent(e.options.confidence), ": ", range(s.froc.cpm, " to "), ")") : "";
      figures.emplace_back(text("CPM", several ? ", " + s.name : "", interval), fixed(s.froc.cpm.value, 3));
    }
    if (several) continue;
    if (s.froc.defined())
      figures.emplace_back("sensitivity at 1 false positive per scan", fixed(s.froc.at(3).sensitivity.value, 3));
    figures.emplace_back(text("of ", s.matching.nodules, " nodules found by any mark"), text(s.matching.found));
    figures.emplace_back("false positives per scan, in total",
                         number(double(s.matching.false_positives) / double(s.matching.scans.size()), 3));
  }
  double dice = 0;
  int64_t n = 0;
  for (const MaskResult& m : e.masks)
    if (m.has_mask && m.has_nodule) dice += m.dice, n++;
  if (n > 0) figures.emplace_back(text("mean Dice, ", counted(n, "scan"), " with nodules"), fixed(dice / double(n), 4));
  return html_key_figures(figures);
}

HtmlTable froc_table(const Evaluation& e) {
  HtmlTable table{.classes = "numbers named", .columns = {"false positives per scan"}};
  table.columns.insert(table.columns.end(), std::begin(kFrocRateNames), std::end(kFrocRateNames));
  table.columns.push_back("CPM");
  for (const Submission& s : e.submissions) {
    const auto cell = [&](const Estimate& estimate) {
      return number_cell(fixed(estimate.value, 3), has_interval(s.froc) ? range(estimate, "–") : "");
    };
    std::vector<std::string> sensitivities{escaped(s.name)}, thresholds{"probability of at least"};
    for (size_t r = 0; r < std::size(kFrocRates); r++) {
      const FrocPoint& point = s.froc.at(r);
      sensitivities.push_back(cell(point.sensitivity));
      thresholds.push_back(std::isfinite(point.threshold) ? number(point.threshold, 3) : "–");
    }
    sensitivities.push_back(cell(s.froc.cpm)), thresholds.push_back("");
    table.rows.push_back(sensitivities);
    if (e.submissions.size() == 1) table.rows.push_back(thresholds);
  }
  return table;
}

std::string froc_section(const Evaluation& e) {
  if (!e.submissions.front().froc.defined()) return "";
  std::vector<std::pair<std::string, Froc>> curves;
  for (const Submission& s : e.submissions) curves.emplace_back(s.name, s.froc);
  const bool intervals = std::ranges::any_of(curves, [](const auto& curve) { return has_interval(curve.second); });
  std::string out = text(
      "<h2>FROC curve</h2>\n<p class='soft'>The fraction of nodules found, against false positives per scan. Dots: ",
      "the seven rates over which the CPM averages.",
      intervals ? text(" Shaded: ", percent(e.options.confidence), " confidence intervals, from ", e.options.resamples,
                       " bootstrap samples of the scans.")
                : "",
      "</p>\n<figure class='froc'>\n", svg_froc(curves), "</figure>\n", html_table(froc_table(e)));
  const std::string differences = difference_text(e);
  for (std::string_view rest = differences; !rest.empty();)
    out += text("<p>", escaped(std::string(next_line(rest))), "</p>\n");
  return out;
}

HtmlTable localisation_table(const Evaluation& e) {
  const std::vector<std::string> errors = {"x", "y", "z", "distance", "diameter"};
  HtmlTable table{.classes = "numbers named", .columns = {"mm"}};
  table.columns.insert(table.columns.end(), errors.begin(), errors.end());
  table.columns.push_back("nodules");
  for (const Submission& s : e.submissions) {
    const std::vector<Spread> spreads = localisation(s.matching.hits);
    std::vector<std::string> row{escaped(s.name)};
    for (const std::string& name : errors) {
      const auto spread = std::ranges::find(spreads, name, &Spread::name);
      if (spread == spreads.end())
        row.push_back("–");
      else
        row.push_back(number_cell(fixed(spread->mean, 2),
                                  std::isfinite(spread->deviation) ? "± " + fixed(spread->deviation, 2) : ""));
    }
    row.push_back(text(s.matching.hits.size()));
    table.rows.push_back(row);
  }
  return table;
}

std::string localisation_section(const Evaluation& e) {
  std::string out =
      "<h2>Localisation</h2>\n<p class='soft'>Mark minus nodule, mean and standard deviation over the nodules that "
      "were "
      "hit, each with its most probable mark. x runs to the patient's left, y to the back, z to the head. A mark "
      "farther from the centre than the nodule's radius is not a hit.</p>\n" +
      html_table(localisation_table(e));
  const std::vector<Hit>& hits = e.submissions[0].matching.hits;
  if (e.submissions.size() > 1 || hits.empty()) return out;
  out += "<div class='grid curves'>\n";
  for (const Spread& spread : localisation(hits))
    if (spread.name != "diameter")
      out += html_figure(spread.name == "distance" ? "Distance" : "Error in " + spread.name, "",
                         svg_histogram({spread.name, "mm", spread.errors}));
  Values truth{"annotated", "mm", {}}, marked{"marked", "mm", {}};
  for (const Hit& hit : hits)
    if (hit.mark.diameter_mm >= 0 && hit.nodule.diameter_mm >= 0)
      truth.values.push_back(hit.nodule.diameter_mm), marked.values.push_back(hit.mark.diameter_mm);
  if (!truth.values.empty()) out += html_figure("Diameter", "dotted: equal", svg_scatter(truth, marked));
  return out + "</div>\n";
}

std::string scan_section(const Evaluation& e) {
  if (e.masks.empty()) return "";
  const Matching& m = e.submissions.front().matching;
  HtmlTable table{.classes = "numbers named patients",
                  .columns = {"scan", "nodules", "found", "false positives", "Dice", "IoU", "HD95 mm"}};
  for (size_t i = 0; i < e.masks.size(); i++) {
    const MaskResult& mask = e.masks[i];
    const auto value = [&](double v, int decimals) {
      return !mask.has_mask ? "–" : std::isfinite(v) ? fixed(v, decimals) : "∞";
    };
    table.rows.push_back({escaped(mask.id), text(m.scans[i].nodules), text(m.scans[i].found),
                          text(m.scans[i].false_positives), value(mask.dice, 4), value(mask.iou, 4),
                          value(mask.hausdorff_mm, 2)});
  }
  return "<h2>Scans</h2>\n<p class='soft'>Dice and IoU over the whole scan. HD95: the 95th percentile of the distances "
         "between the surfaces of the two masks. If the data have no masks, the true ones are spheres of the annotated "
         "diameters.</p>\n" +
         html_table(table);
}

NamedTexts mark_facts(const Submission& s) {
  const Matching& m = s.matching;
  return {{"marks that count", text(m.marks)},
          {"beyond 100 per scan", text(m.dropped)},
          {"on other scans", text(m.unlisted)},
          {"nodules found (TP)", text(m.found)},
          {"nodules missed (FN)", text(m.missed())},
          {"false positives (FP)", text(m.false_positives)},
          {"ignored, on excluded findings", text(m.ignored)},
          {"duplicates on a nodule", text(m.duplicates)},
          {"CPM", !s.froc.defined()      ? "–"
                  : has_interval(s.froc) ? text(fixed(s.froc.cpm.value, 3), " (", range(s.froc.cpm, " to "), ")")
                                         : fixed(s.froc.cpm.value, 3)}};
}

}  // namespace

std::string evaluation_html(const Evaluation& e) {
  const Matching& first = e.submissions.front().matching;
  std::string facts = html_facts("The scans", {{"scans", text(first.scans.size())},
                                               {"nodules", text(first.nodules)},
                                               {"excluded findings", text(e.excluded)},
                                               {"bootstrap samples", text(e.options.resamples)},
                                               {"seed", text(e.options.seed)}});
  for (const Submission& s : e.submissions)
    facts += html_facts(e.submissions.size() > 1 ? "Marks: " + s.name : "The marks", mark_facts(s));
  return html_page(e.title, key_figures(e),
                   html_warnings(e.notes) + froc_section(e) + localisation_section(e) + scan_section(e) +
                       "<div class='grid'>\n" + facts + "</div>\n" + html_command(e.command));
}

}  // namespace acinus
