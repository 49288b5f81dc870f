#include "apps/evaluation/evaluation.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <numeric>

#include "apps/report/html.h"
#include "apps/report/svg_plot.h"
#include "data/formats/csv.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {
namespace {

std::string padded(const std::string& s, size_t width) {
  return s + std::string(width - std::min(width, s.size()), ' ');
}

double mean(const std::vector<double>& values) {  // NaN of none
  return std::accumulate(values.begin(), values.end(), 0.0) / double(values.size());
}

}  // namespace

Submission evaluate_marks(const std::string& name, const Truth& truth, const std::vector<Candidate>& marks,
                          const FrocOptions& options) {
  Submission s{name, match_marks(truth, marks), {}};
  s.froc = froc(s.matching, options);
  return s;
}

std::vector<Spread> localisation(const std::vector<Hit>& hits) {
  std::vector<Spread> all{{"x"}, {"y"}, {"z"}, {"distance"}, {"diameter"}};
  for (const auto& [nodule, mark] : hits) {
    double squared = 0;
    for (size_t k = 0; k < 3; k++) {
      const double error = mark.centre[k] - nodule.centre[k];
      all[k].errors.push_back(error);
      squared += error * error;
    }
    all[3].errors.push_back(std::sqrt(squared));
    if (mark.diameter_mm >= 0 && nodule.diameter_mm >= 0)
      all[4].errors.push_back(mark.diameter_mm - nodule.diameter_mm);
  }
  std::erase_if(all, [](const Spread& s) { return s.errors.empty(); });
  for (Spread& s : all) {
    const auto n = double(s.errors.size());
    for (double e : s.errors) s.mean += e / n;
    for (double e : s.errors) s.deviation += (e - s.mean) * (e - s.mean);
    s.deviation = n < 2 ? NAN : std::sqrt(s.deviation / (n - 1));
  }
  return all;
}

// ---- tables

std::string counts_text(const Evaluation& e) {
  const Matching& first = e.submissions.front().matching;
  std::string out = text(counted(first.scans.size(), "scan"), ", ", counted(first.nodules, "nodule"), ", ",
                         counted(e.excluded, "excluded finding"), "\n");
  for (const Submission& s : e.submissions) {
    const Matching& m = s.matching;
    out += text(s.name, ": ", counted(m.marks, "mark"), "; ", counted(m.found, "nodule"), " found (TP), ", m.missed(),
                " missed (FN), ", counted(m.false_positives, "false positive"), " (FP)\n  not counted: ", m.ignored,
                " on excluded findings, ", counted(m.duplicates, "duplicate"), " on a nodule, ", m.dropped,
                " beyond 100 per scan\n");
  }
  return out;
}

std::string froc_text(const Evaluation& e) {
  size_t width = 24;
  for (const Submission& s : e.submissions) {
    if (!s.froc.defined()) return "";
    width = std::max(width, s.name.size() + 2);
  }
  std::string out = padded("false positives per scan", width);
  for (const char* rate : kFrocRateNames) out += text(std::setw(7), rate);
  out += "    CPM\n";
  for (const Submission& s : e.submissions) {
    const auto row = [&](const std::string& head, double Estimate::*value) {
      out += padded(head, width);
      for (size_t r = 0; r < std::size(kFrocRates); r++)
        out += text(std::setw(7), fixed(s.froc.at(r).sensitivity.*value, 3));
      out += text(std::setw(7), fixed(s.froc.cpm.*value, 3), "\n");
    };
    row(s.name, &Estimate::value);
    if (s.froc.resamples == 0) continue;
    row(text("  ", percent(e.options.confidence), " from"), &Estimate::low);
    row("       to", &Estimate::high);
  }
  return out;
}

std::string difference_text(const Evaluation& e) {
  std::string out;
  for (size_t i = 1; i < e.submissions.size(); i++) {
    const Estimate d = cpm_difference(e.submissions[i].froc, e.submissions[0].froc, e.options.confidence);
    out += text(e.submissions[i].name, " minus ", e.submissions[0].name, ": CPM ", fixed(d.value, 3));
    if (std::isfinite(d.low))
      out += text(" (", percent(e.options.confidence), ": ", fixed(d.low, 3), " to ", fixed(d.high, 3),
                  d.low <= 0 && d.high >= 0 ? "; may be chance)" : ")");
    out += "\n";
  }
  return out;
}

std::string localisation_text(const Evaluation& e) {
  std::string out;
  for (const Submission& s : e.submissions) {
    const std::vector<Spread> spreads = localisation(s.matching.hits);
    if (spreads.empty()) continue;
    out += text(s.name, ": marks minus nodules in mm, over ", counted(s.matching.hits.size(), "nodule"), "\n");
    for (const Spread& spread : spreads)
      out += text("  ", padded(spread.name, 10), "mean ", std::setw(7), fixed(spread.mean, 2), "   deviation ",
                  std::setw(7), std::isfinite(spread.deviation) ? fixed(spread.deviation, 2) : "-", "\n");
  }
  return out;
}

std::string masks_text(const Evaluation& e) {
  if (e.masks.empty()) return "";
  std::string out = padded("scan", 70) + "   Dice    IoU  HD95 mm\n";
  const auto add = [&](const std::string& name, double dice, double iou, double hausdorff_mm, const std::string& note) {
    out += text(padded(name, 70), std::setw(7), fixed(dice, 4), std::setw(7), fixed(iou, 4));
    out += text(std::isnan(hausdorff_mm) ? "" : text(std::setw(9), fixed(hausdorff_mm, 2)), note, "\n");
  };
  std::vector<double> dice, iou, distances;
  for (const MaskResult& m : e.masks) {
    if (!m.has_mask) continue;
    add(m.id, m.dice, m.iou, m.hausdorff_mm, m.has_nodule ? "" : "  no nodule");
    if (!m.has_nodule) continue;
    dice.push_back(m.dice), iou.push_back(m.iou);
    if (std::isfinite(m.hausdorff_mm)) distances.push_back(m.hausdorff_mm);
  }
  const size_t n = dice.size(), infinite = n - distances.size();
  if (n > 0)
    add(text("mean over ", n, " with nodules"), mean(dice), mean(iou), mean(distances),
        infinite > 0 ? text("  without ", infinite, " where nothing was predicted") : "");
  return out;
}

std::string froc_csv(const Evaluation& e) {
  std::string out = "submission,false_positives_per_scan,sensitivity,low,high,threshold\n";
  const auto end = [](double value) { return std::isnan(value) ? "" : shortest(value); };  // of an interval
  for (const Submission& s : e.submissions)
    for (const FrocPoint& p : s.froc.curve)
      out += csv_line({s.name, shortest(p.rate), shortest(p.sensitivity.value), end(p.sensitivity.low),
                       end(p.sensitivity.high), shortest(p.threshold)});
  return out;
}

std::string scans_csv(const Evaluation& e) {
  const Matching& m = e.submissions.front().matching;
  check(e.masks.size() == m.scans.size(), "scans_csv: ", e.masks.size(), " masks of ", m.scans.size(), " scans");
  std::string out = "seriesuid,nodules,found,false_positives,dice,iou,hd95_mm\n";
  for (size_t i = 0; i < e.masks.size(); i++) {
    const MaskResult& mask = e.masks[i];
    const auto shown = [&](double value) { return mask.has_mask ? shortest(value) : ""; };
    out += csv_line({mask.id, text(m.scans[i].nodules), text(m.scans[i].found), text(m.scans[i].false_positives),
                     shown(mask.dice), shown(mask.iou), shown(mask.hausdorff_mm)});
  }
  return out;
}

// ---- the page

std::string froc_plot(const Evaluation& e) {
  std::vector<std::pair<std::string, Froc>> curves;
  for (const Submission& s : e.submissions)
    if (s.froc.defined()) curves.emplace_back(s.name, s.froc);
  return curves.empty() ? "" : svg_froc(curves);
}

namespace {

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
          s.froc.resamples > 0 ? text(" (", percent(e.options.confidence), ": ", range(s.froc.cpm, " to "), ")") : "";
      figures.emplace_back(text("CPM", several ? ", " + s.name : "", interval), fixed(s.froc.cpm.value, 3));
    }
    if (several) continue;
    if (s.froc.defined())
      figures.emplace_back("sensitivity at 1 false positive per scan", fixed(s.froc.at(3).sensitivity.value, 3));
    figures.emplace_back(text("of ", s.matching.nodules, " nodules found by any mark"), text(s.matching.found));
    figures.emplace_back("false positives per scan, in total",
                         number(double(s.matching.false_positives) / double(s.matching.scans.size()), 3));
  }
  std::vector<double> dice;
  for (const MaskResult& m : e.masks)
    if (m.has_mask && m.has_nodule) dice.push_back(m.dice);
  if (!dice.empty())
    figures.emplace_back(text("mean Dice, ", counted(dice.size(), "scan"), " with nodules"), fixed(mean(dice), 4));
  return html_key_figures(figures);
}

HtmlTable froc_table(const Evaluation& e) {
  HtmlTable table{.classes = "numbers named", .columns = {"false positives per scan"}};
  table.columns.insert(table.columns.end(), std::begin(kFrocRateNames), std::end(kFrocRateNames));
  table.columns.push_back("CPM");
  for (const Submission& s : e.submissions) {
    const auto cell = [&](const Estimate& estimate) {
      return number_cell(fixed(estimate.value, 3), s.froc.resamples > 0 ? range(estimate, "–") : "");
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
  const std::string plot = froc_plot(e);
  if (plot.empty()) return "";
  std::string out = text(
      "<h2>FROC curve</h2>\n<p class='soft'>The fraction of nodules found, against false positives per scan. Dots: ",
      "the seven rates over which the CPM averages.",
      e.options.resamples > 0 ? text(" Shaded: ", percent(e.options.confidence), " confidence intervals, from ",
                                     e.options.resamples, " bootstrap samples of the scans.")
                              : "",
      "</p>\n<figure class='froc'>\n", plot, "</figure>\n", html_table(froc_table(e)));
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
      "were hit, each with its most probable mark. x runs to the patient's left, y to the back, z to the head. A mark "
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
                  : s.froc.resamples > 0 ? text(fixed(s.froc.cpm.value, 3), " (", range(s.froc.cpm, " to "), ")")
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
