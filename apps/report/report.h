// report.html: a run on one page, with its curves, pictures, patients and settings. The page is one file with the
// pictures in it; it needs no network and runs no scripts.
//
//   Report report;
//   report.title = "runs/laptop";
//   report.rows = rows_from_csv("runs/laptop/metrics.csv");
//   report.pictures.push_back({"Worst slices", "", {{"patient 7, z = 31", overlay(ct, &truth, &mask, 31)}}});
//   write_file("runs/laptop/report.html", report_html(report));
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "apps/report/page.h"
#include "apps/training/metrics.h"

namespace acinus {

// Any text may hold any character. What is empty is left out of the page.
struct Report {
  std::string title, command, config_json;  // the command that made the run; its settings
  std::string state;                        // begins with "running", "finished" or "stopped": "running: epoch 3 of 12"
  std::vector<EpochRow> rows;
  Score score = kDice;
  std::vector<std::pair<std::string, std::string>> results;      // at the end, of patients held out
  std::vector<std::pair<std::string, std::string>> facts;        // about the run: {"device", "CPU, 2 threads"}
  std::vector<std::pair<std::string, std::string>> fingerprint;  // about the data: {"spacing", "0.7 x 0.7 x 2.5 mm"}
  std::vector<std::string> findings;                             // what looks wrong, a line each
  std::vector<PictureGroup> pictures;
  std::vector<std::pair<std::string, double>> patients;  // held out, and their Dice; NaN where there is none
};
std::string report_html(const Report& report);

}  // namespace acinus
