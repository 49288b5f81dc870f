#include <algorithm>
#include <cmath>

#include "apps/evaluation/evaluation.h"
#include "apps/report/charts.h"
#include "apps/report/curve.h"
#include "apps/report/page.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {
namespace {

bool has_interval(const Froc& f) { return f.resamples > 0; }

std::string with_interval(const Estimate& e, bool known) {
  return fixed(e.value, 3) + (known ? text(" (", fixed(e.low, 3), " to ", fixed(e.high, 3), ")") : "");
}

std::string key_figures(const Evaluation& e) {
  std::vector<std::pair<std::string, std::string>> figures;
  for (const Submission& s : e.submissions) {
    const std::string of = e.submissions.size() > 1 ? ", " + s.name : "";
    if (s.froc.defined())
      figures.emplace_back(
          text("CPM", of,
               has_interval(s.froc) ? text(" (", number(100 * e.options.confidence, 3),
                                           " %: ", fixed(s.froc.cpm.low, 3), " to ", fixed(s.froc.cpm.high, 3), ")")
                                    : ""),
          fixed(s.froc.cpm.value, 3));
    if (e.submissions.size() > 1) continue;
    if (s.froc.defined())
      figures.emplace_back("sensitivity at 1 false positive a scan", fixed(s.froc.at(3).sensitivity.value, 3));
    figures.emplace_back(text("of ", s.matching.nodules, " nodules found by any mark"), text(s.matching.found));
    figures.emplace_back("false positives a scan, in all",
                         number(double(s.matching.false_positives) / double(s.matching.scans.size()), 3));
  }
  double dice = 0;
  int64_t judged = 0;
  for (const MaskResult& m : e.masks)
    if (m.has_mask && m.has_nodule) dice += m.dice, judged++;
  if (judged > 0)
    figures.emplace_back(text("mean Dice, ", counted(judged, "scan"), " with nodules"),
                         fixed(dice / double(judged), 4));
  return page_key_figures(figures);
}

std::string froc_section(const Evaluation& e) {
  std::vector<std::pair<std::string, Froc>> curves;
  bool intervals = false;
  if (!e.submissions.front().froc.defined()) return "";
  for (const Submission& s : e.submissions) curves.emplace_back(s.name, s.froc), intervals |= has_interval(s.froc);
  std::string out =
      "<h2>FROC curve</h2>\n<p class='soft'>The share of nodules that is found, at so many false positives a scan. "
      "Dots: "
      "the seven rates whose mean is the CPM.";
  if (intervals)
    out += text(" Shaded: ", number(100 * e.options.confidence, 3), " % of ", e.options.resamples,
                " sets of scans drawn from these.");
  out += text("</p>\n<figure class='froc'>\n", svg_froc(curves),
              "</figure>\n<div class='scroll'><table class='numbers named'>\n<thead><tr><th scope='col'>false "
              "positives a scan</th>");
  for (const char* rate : kFrocRateNames) out += text("<th scope='col'>", rate, "</th>");
  out += "<th scope='col'>CPM</th></tr></thead>\n<tbody>\n";
  for (const Submission& s : e.submissions) {
    const auto cell = [&](const Estimate& estimate) {
      return text("<td>", fixed(estimate.value, 3),
                  has_interval(s.froc)
                      ? text("<small>", fixed(estimate.low, 3), "\xE2\x80\x93", fixed(estimate.high, 3), "</small>")
                      : "",
                  "</td>");
    };
    out += text("<tr><th scope='row'>", escaped(s.name), "</th>");
    for (size_t r = 0; r < std::size(kFrocRates); r++) out += cell(s.froc.at(r).sensitivity);
    out += cell(s.froc.cpm) + "</tr>\n";
    if (e.submissions.size() > 1) continue;
    out += "<tr><th scope='row'>marks of at least</th>";
    for (size_t r = 0; r < std::size(kFrocRates); r++) {
      const double threshold = s.froc.at(r).threshold;
      out += text("<td>", std::isfinite(threshold) ? number(threshold, 3) : "\xE2\x80\x93", "</td>");
    }
    out += "<td></td></tr>\n";
  }
  out += "</tbody></table></div>\n";
  const std::string differences = difference_text(e);
  for (std::string_view rest = differences; !rest.empty();)
    out += text("<p>", escaped(std::string(next_line(rest))), "</p>\n");
  return out;
}

std::string localisation_table(const Evaluation& e) {
  const char* const columns[] = {"x", "y", "z", "distance", "diameter"};
  std::string out = "<div class='scroll'><table class='numbers named'>\n<thead><tr><th scope='col'>mm</th>";
  for (const char* column : columns) out += text("<th scope='col'>", column, "</th>");
  out += "<th scope='col'>nodules</th></tr></thead>\n<tbody>\n";
  for (const Submission& s : e.submissions) {
    const std::vector<Spread> spreads = localisation(s.matching.hits);
    out += text("<tr><th scope='row'>", escaped(s.name), "</th>");
    for (const char* column : columns) {
      const auto of = std::ranges::find(spreads, std::string(column), &Spread::name);
      out +=
          of == spreads.end()
              ? "<td>\xE2\x80\x93</td>"
              : text("<td>", fixed(of->mean, 2),
                     std::isfinite(of->deviation) ? text("<small>\xC2\xB1 ", fixed(of->deviation, 2), "</small>") : "",
                     "</td>");
    }
    out += text("<td>", s.matching.hits.size(), "</td></tr>\n");
  }
  return out + "</tbody></table></div>\n";
}

std::string localisation_section(const Evaluation& e) {
  std::string out =
      "<h2>Where the marks lie</h2>\n<p class='soft'>Mark minus nodule, mean and standard deviation over the nodules "
      "that "
      "were met, each with its most probable mark. x runs to the patient's left, y to the back, z to the head. A mark "
      "further away than the nodule's radius has not met it.</p>\n" +
      localisation_table(e);
  if (e.submissions.size() > 1 || e.submissions[0].matching.hits.empty()) return out;
  const std::vector<Hit>& hits = e.submissions[0].matching.hits;
  out += "<div class='grid curves'>\n";
  for (const Spread& spread : localisation(hits))
    if (spread.name != "diameter")
      out += text("<figure><figcaption><strong>", spread.name == "distance" ? "Distance" : "Error in " + spread.name,
                  "</strong></figcaption>\n", svg_histogram({spread.name, "mm", spread.errors}), "</figure>\n");
  Values truth{"annotated", "mm", {}}, marked{"marked", "mm", {}};
  for (const Hit& hit : hits)
    if (hit.mark.diameter_mm >= 0 && hit.nodule.diameter_mm >= 0)
      truth.values.push_back(hit.nodule.diameter_mm), marked.values.push_back(hit.mark.diameter_mm);
  if (!truth.values.empty())
    out += text("<figure><figcaption><strong>Diameter</strong><span>dotted: equal</span></figcaption>\n",
                svg_scatter(truth, marked), "</figure>\n");
  return out + "</div>\n";
}

std::string mask_table(const Evaluation& e) {
  if (e.masks.empty()) return "";
  const Matching& m = e.submissions.front().matching;
  std::string out =
      "<h2>Scans</h2>\n<p class='soft'>Dice and IoU over the whole scan. HD95: how far apart the surfaces of the two "
      "masks "
      "lie, in 95 of 100 places at most. Where the truth is a sphere of the annotated diameter, so is what is measured "
      "against.</p>\n<div class='scroll'><table class='numbers named patients'>\n<thead><tr><th scope='col'>scan</th>";
  for (const char* name : {"nodules", "found", "false positives", "Dice", "IoU", "HD95 mm"})
    out += text("<th scope='col'>", name, "</th>");
  out += "</tr></thead>\n<tbody>\n";
  for (size_t i = 0; i < e.masks.size(); i++) {
    const MaskResult& mask = e.masks[i];
    const auto value = [&](double v, int decimals) {
      return !mask.has_mask ? "\xE2\x80\x93" : std::isfinite(v) ? fixed(v, decimals) : "\xE2\x88\x9E";
    };
    out += text("<tr><th scope='row'>", escaped(mask.id), "</th><td>", m.scans[i].nodules, "</td><td>",
                m.scans[i].found, "</td><td>", m.scans[i].false_positives, "</td><td>", value(mask.dice, 4),
                "</td><td>", value(mask.iou, 4), "</td><td>", value(mask.hausdorff_mm, 2), "</td></tr>\n");
  }
  return out + "</tbody></table></div>\n";
}

}  // namespace

std::string evaluation_html(const Evaluation& e) {
  std::string page = page_begin(e.title) + key_figures(e) + "</header>\n<main>\n" + page_findings(e.notes);
  page += froc_section(e) + localisation_section(e) + mask_table(e);
  const Matching& first = e.submissions.front().matching;
  page += "<div class='grid'>\n" + page_facts("The scans", {{"scans", text(first.scans.size())},
                                                            {"nodules", text(first.nodules)},
                                                            {"excluded findings", text(e.excluded)},
                                                            {"resamples", text(e.options.resamples)},
                                                            {"seed", text(e.options.seed)}});
  for (const Submission& s : e.submissions) {
    const Matching& m = s.matching;
    page += page_facts(e.submissions.size() > 1 ? "Marks: " + s.name : "The marks",
                       {{"marks that count", text(m.marks)},
                        {"beyond 100 a scan", text(m.beyond)},
                        {"of other scans", text(m.elsewhere)},
                        {"nodules found (TP)", text(m.found)},
                        {"nodules missed (FN)", text(m.missed())},
                        {"false positives (FP)", text(m.false_positives)},
                        {"ignored, on excluded findings", text(m.ignored)},
                        {"more than one on a nodule", text(m.doubles)},
                        {"CPM", s.froc.defined() ? with_interval(s.froc.cpm, has_interval(s.froc)) : "\xE2\x80\x93"}});
  }
  page += "</div>\n<h2>The same again</h2>\n<pre class='command'>" + escaped(e.command) + "</pre>\n";
  return page + page_end();
}

}  // namespace acinus
