#include "apps/report.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"
#include "tensor/file.h"

namespace acinus {
namespace {

std::string escaped(const std::string& plain) {
  std::string out;
  for (char c : plain) out += c == '<' ? "&lt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
  return out;
}

// A curve over the epochs as an SVG picture, 480 x 160.
template <class Value>
std::string curve(const char* title, const std::vector<EpochRow>& rows, Value value) {
  double low = 1e300, high = -1e300;
  for (const EpochRow& row : rows) low = std::min(low, value(row)), high = std::max(high, value(row));
  const double range = std::max(high - low, 1e-9);
  std::string points;
  for (size_t i = 0; i < rows.size(); i++)
    points += text(40 + 430 * double(i) / double(std::max<size_t>(rows.size() - 1, 1)), ",",
                   140 - 120 * (value(rows[i]) - low) / range, " ");
  return text("<figure><figcaption>", title, "</figcaption><svg viewBox='0 0 480 160' width='480' height='160'>",
              "<rect x='40' y='20' width='430' height='120' fill='none' stroke='#ccc'/>",
              "<text x='2' y='26' font-size='11'>", shortest(std::round(high * 1000) / 1000), "</text>",
              "<text x='2' y='142' font-size='11'>", shortest(std::round(low * 1000) / 1000), "</text>",
              "<polyline fill='none' stroke='#06c' stroke-width='2' points='", points, "'/></svg></figure>\n");
}

}  // namespace

std::string to_csv(const std::vector<EpochRow>& rows) {
  std::string out = "epoch,step,loss,val_dice,lr,seconds,images_per_second,peak_mb\n";
  for (const EpochRow& r : rows)
    out += text(r.epoch, ",", r.step, ",", shortest(r.loss), ",", shortest(r.val_dice), ",", shortest(r.lr), ",",
                shortest(r.seconds), ",", shortest(r.images_per_second), ",", shortest(r.peak_mb), "\n");
  return out;
}

std::string report_html(const std::string& title, const std::string& command, const std::string& config_json,
                        const std::vector<EpochRow>& rows, const std::vector<std::string>& overlays) {
  std::string page =
      text("<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>", escaped(title),
           "</title>\n<style>body{font:15px/1.5 sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}",
           "figure{display:inline-block;margin:0 1em 1em 0}img{max-width:100%}pre{background:#f4f4f4;",
           "padding:1em;overflow:auto}td,th{padding:0 .8em;text-align:right}</style>\n<h1>", escaped(title),
           "</h1>\n<p>Made by <code>", escaped(command), "</code></p>\n");
  if (!rows.empty()) {
    const auto best =
        std::max_element(rows.begin(), rows.end(), [](auto& a, auto& b) { return a.val_dice < b.val_dice; });
    page += text("<p>Best validation Dice ", shortest(std::round(best->val_dice * 1e4) / 1e4), " in epoch ",
                 best->epoch, " of ", rows.size(), ".</p>\n");
    page += curve("loss", rows, [](const EpochRow& r) { return r.loss; });
    page += curve("validation Dice", rows, [](const EpochRow& r) { return r.val_dice; });
    page += curve("images per second", rows, [](const EpochRow& r) { return r.images_per_second; });
  }
  page += "<h2>Validation slices</h2>\n<p>Green: the truth. Red: predicted. Yellow: both.</p>\n";
  for (auto it = overlays.rbegin(); it != overlays.rend(); ++it)
    page += text("<figure><figcaption>", escaped(*it), "</figcaption><img src='", escaped(*it), "' alt=''></figure>\n");
  page += text("<h2>Settings</h2>\n<pre>", escaped(config_json), "</pre>\n</html>\n");
  return page;
}

}  // namespace acinus
