// report.html of a run: its numbers, curves and pictures on one page that opens without a network.
#pragma once
#include <string>
#include <vector>

namespace acinus {

struct EpochRow {
  int64_t epoch, step;
  double loss, val_dice, lr, seconds, images_per_second, peak_mb;
};

// metrics.csv: one line an epoch, with a header line.
std::string to_csv(const std::vector<EpochRow>& rows);

// `overlays` are .png files relative to the page; `command` is how to make the run again.
std::string report_html(const std::string& title, const std::string& command, const std::string& config_json,
                        const std::vector<EpochRow>& rows, const std::vector<std::string>& overlays);

}  // namespace acinus
