// What a run leaves to be looked at: metrics.csv, the numbers of each epoch, and report.html, one page with its curves,
// pictures, patients and settings. The page is one file that needs no network and runs no scripts; pictures are in it.
//
//   Report report;
//   report.title = "runs/laptop";
//   report.rows = rows_from_csv("runs/laptop/metrics.csv");
//   report.pictures.push_back({"Worst slices", "", {{"patient 7, z = 31", overlay(ct, &truth, &mask, 31)}}});
//   write_file("runs/laptop/report.html", report_html(report));
#pragma once
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "apps/report/page.h"

namespace acinus {

struct EpochRow {
  int64_t epoch = 0, step = 0;  // step: how many were made at its end
  double loss = 0, val_dice = NAN, lr = 0, seconds = 0, images_per_second = 0;
  double loader_wait = 0;                // share of the time in which training waited for the next batch, 0..1
  double peak_mb = 0;                    // memory
  double val_loss = NAN, val_auc = NAN;  // of a classifier, which has no val_dice
};

// By what the epochs of a run are compared: the validation Dice of a U-Net, the AUC of a classifier.
using Score = double EpochRow::*;
// Is a, the later one, better than b? It is by a higher score; of equal scores, or where neither is a number, by a
// lower val_loss; and where that is not known either.
bool is_better(const EpochRow& a, const EpochRow& b, Score score);

// metrics.csv: a header line and one line an epoch. What the seed decides comes first, what the clock decides last.
std::string to_csv(const std::vector<EpochRow>& rows, Score score = &EpochRow::val_dice);
// The same rows of a U-Net again, to the last bit. A file that is damaged, or whose epochs and steps do not rise, is an
// Error.
std::vector<EpochRow> rows_from_csv(const std::string& path);

// Any text may hold any character. What is empty is left out of the page.
struct Report {
  std::string title, command, config_json;  // the command that made the run; its settings
  std::string state;                        // begins with "running", "finished" or "stopped": "running: epoch 3 of 12"
  std::vector<EpochRow> rows;
  Score score = &EpochRow::val_dice;
  std::vector<std::pair<std::string, std::string>> results;      // at the end, of patients held out
  std::vector<std::pair<std::string, std::string>> facts;        // about the run: {"device", "CPU, 2 threads"}
  std::vector<std::pair<std::string, std::string>> fingerprint;  // about the data: {"spacing", "0.7 x 0.7 x 2.5 mm"}
  std::vector<std::string> findings;                             // what looks wrong, a line each
  std::vector<PictureGroup> pictures;
  std::vector<std::pair<std::string, double>> patients;  // held out, and their Dice; NaN where there is none
};
std::string report_html(const Report& report);

}  // namespace acinus
