#include "apps/evaluation/evaluation.h"

#include <algorithm>
#include <cmath>

#include "data/formats/csv.h"
#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {
namespace {

std::string padded(const std::string& s, size_t width) {
  return s + std::string(width - std::min(width, s.size()), ' ');
}
std::string right_aligned(const std::string& s, size_t width) {
  return std::string(width - std::min(width, s.size()), ' ') + s;
}

Spread spread(const std::string& name, std::vector<double> errors) {
  Spread s{name, std::move(errors)};
  const auto n = double(s.errors.size());
  for (double e : s.errors) s.mean += e / n;
  for (double e : s.errors) s.deviation += (e - s.mean) * (e - s.mean);
  s.deviation = s.errors.size() < 2 ? NAN : std::sqrt(s.deviation / (n - 1));
  return s;
}

}  // namespace

Submission evaluate_marks(const std::string& name, const Truth& truth, const std::vector<Candidate>& marks,
                          const FrocOptions& options) {
  Submission s{name, match_marks(truth, marks), {}};
  s.froc = froc(s.matching, options);
  return s;
}

std::vector<Spread> localisation(const std::vector<Hit>& hits) {
  std::vector<double> along[3], distances, diameters;
  for (const Hit& hit : hits) {
    double sum = 0;
    for (size_t k = 0; k < 3; k++) {
      const double error = hit.mark.centre[k] - hit.nodule.centre[k];
      along[k].push_back(error);
      sum += error * error;
    }
    distances.push_back(std::sqrt(sum));
    if (hit.mark.diameter_mm >= 0 && hit.nodule.diameter_mm >= 0)
      diameters.push_back(hit.mark.diameter_mm - hit.nodule.diameter_mm);
  }
  std::vector<Spread> all;
  if (hits.empty()) return all;
  for (size_t k = 0; k < 3; k++) all.push_back(spread(std::string(1, char('x' + k)), along[k]));
  all.push_back(spread("distance", distances));
  if (!diameters.empty()) all.push_back(spread("diameter", diameters));
  return all;
}

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
  for (const char* rate : kFrocRateNames) out += right_aligned(rate, 7);
  out += "    CPM\n";
  for (const Submission& s : e.submissions) {
    const auto row = [&](const std::string& head, double Estimate::*value) {
      out += padded(head, width);
      for (size_t r = 0; r < std::size(kFrocRates); r++)
        out += right_aligned(fixed(s.froc.at(r).sensitivity.*value, 3), 7);
      out += right_aligned(fixed(s.froc.cpm.*value, 3), 7) + "\n";
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
      out += text("  ", padded(spread.name, 10), "mean ", right_aligned(fixed(spread.mean, 2), 7), "   deviation ",
                  right_aligned(std::isfinite(spread.deviation) ? fixed(spread.deviation, 2) : "-", 7), "\n");
  }
  return out;
}

std::string masks_text(const Evaluation& e) {
  if (e.masks.empty()) return "";
  std::string out = padded("scan", 70) + "   Dice    IoU  HD95 mm\n";
  double dice = 0, iou = 0, distance = 0;
  int64_t n = 0, infinite = 0;
  for (const MaskResult& m : e.masks) {
    if (!m.has_mask) continue;
    out += padded(m.id, 70) + right_aligned(fixed(m.dice, 4), 7) + right_aligned(fixed(m.iou, 4), 7) +
           right_aligned(fixed(m.hausdorff_mm, 2), 9) + (m.has_nodule ? "" : "  no nodule") + "\n";
    if (!m.has_nodule) continue;
    n++;
    dice += m.dice, iou += m.iou;
    if (std::isfinite(m.hausdorff_mm))
      distance += m.hausdorff_mm;
    else
      infinite++;
  }
  if (n == 0) return out;
  out += padded(text("mean over ", n, " with nodules"), 70) + right_aligned(fixed(dice / double(n), 4), 7) +
         right_aligned(fixed(iou / double(n), 4), 7);
  if (n > infinite) out += right_aligned(fixed(distance / double(n - infinite), 2), 9);
  return out + (infinite > 0 ? text("  without ", infinite, " where nothing was predicted") : "") + "\n";
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

}  // namespace acinus
