// The numbers of a run, epoch by epoch, and what is written of them: metrics.csv, and report.html, the run on one page with
// its curves, pictures, patients and settings.
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

#include "apps/report/html.h"

namespace acinus {

struct EpochRow {
  int64_t epoch = 0, step = 0;  // step: the steps made by the end of the epoch
  double loss = 0, val_dice = NAN, lr = 0, seconds = 0, images_per_second = 0;
  double loader_wait = 0;                // fraction of the time spent waiting for the next batch, 0..1
  double peak_mb = 0;                    // memory
  double val_loss = NAN, val_auc = NAN;  // of a classifier, which has no val_dice
};

// What the epochs of a run are compared by: the validation Dice of a U-Net, the AUC of a classifier.
using Score = double EpochRow::*;
constexpr Score kDice = &EpochRow::val_dice, kAuc = &EpochRow::val_auc;

// Is a, the later one, better than b? A higher score is; for equal scores, or where neither is a number, a lower
// val_loss; and where that is unknown too, the later epoch.
bool is_better(const EpochRow& a, const EpochRow& b, Score score);

// What is logged of each epoch, in the order of metrics.csv: what the seed determines comes first, what the clock
// determines last.
struct Metric {
  const char* name;  // in metrics.csv
  double EpochRow::*value;
  const char* tag = nullptr;    // in TensorBoard
  const char* title = nullptr;  // of its curve in report.html, with its unit and the factor to convert to it
  const char* unit = "";
  double factor = 1;
};
std::vector<Metric> metrics_of(Score score);

// A header line and one line per epoch.
std::string to_csv(const std::vector<EpochRow>& rows, Score score = kDice);
// The rows of a U-Net's run, to the last bit. Error for a damaged file, and where epochs or steps do not increase.
std::vector<EpochRow> rows_from_csv(const std::string& path);

// ---- report.html

// Texts may hold any characters. What is empty is left out of the page.
struct Report {
  std::string title, command, config_json;  // the command that made the run; its settings
  std::string state;                        // begins with "running", "finished" or "stopped": "running: epoch 3 of 12"
  std::vector<EpochRow> rows;
  double seconds = 0;  // since the start, validation included
  Score score = kDice;
  NamedTexts results;                 // at the end, on held-out patients
  NamedTexts facts;                   // about the run: {"machine", "CPU, 2 threads"}
  NamedTexts fingerprint;             // about the data: {"spacing", "x 0.7, y 0.7, z 2.5 mm"}
  std::vector<std::string> findings;  // what looks wrong
  std::vector<PictureGroup> pictures;
  std::vector<std::pair<std::string, double>> patients;  // held out, and their Dice, or NaN
};
std::string report_html(const Report& report);

}  // namespace acinus
