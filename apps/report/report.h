// report.html: a run on one page, with its curves, pictures, patients and settings.
//
//   Report report;
//   report.title = "runs/laptop";
//   report.epochs = {1, 2, 3}, report.steps = {100, 200, 300};
//   report.metrics.push_back({"loss", {0.9, 0.4, 0.3}, "Loss"});
//   report.pictures.push_back({"Worst slices", "", {{"patient 7, z = 31", overlay(ct, &truth, &mask, 31)}}});
//   write_file("runs/laptop/report.html", report_html(report));
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "apps/report/html.h"

namespace acinus {

struct ReportMetric {
  std::string name;                            // in the table of epochs
  std::vector<double> values;                  // one per epoch
  std::string title = {};                      // of its curve; "" if it has none
  std::string unit = {};                       // of the curve
  double factor = 1;                           // from values to the unit
  bool from_zero = true, logarithmic = false;  // the curve's axis
};

// Texts may hold any characters. What is empty is left out of the page.
struct Report {
  std::string title, command, config_json;  // the command that made the run; its settings
  std::string state;                        // begins with "running", "finished" or "stopped": "running: epoch 3 of 12"
  std::vector<int64_t> epochs, steps;       // steps: at the end of each epoch
  std::vector<ReportMetric> metrics;        // "loss" and "seconds" are also summarised at the top
  std::string score;                        // name of the metric that epochs are compared by
  int64_t best = -1;                        // index of the best epoch
  NamedTexts results;                       // at the end, on held-out patients
  NamedTexts facts;                         // about the run: {"device", "CPU, 2 threads"}
  NamedTexts fingerprint;                   // about the data: {"spacing", "0.7 x 0.7 x 2.5 mm"}
  std::vector<std::string> findings;        // what looks wrong
  std::vector<PictureGroup> pictures;
  std::vector<std::pair<std::string, double>> patients;  // held out, and their Dice, or NaN
};
std::string report_html(const Report& report);

}  // namespace acinus
