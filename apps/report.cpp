#include "apps/report.h"

#include <algorithm>
#include <cmath>

#include "apps/curve.h"
#include "data/csv.h"
#include "tensor/check.h"
#include "tensor/file.h"

namespace acinus {
namespace {

struct Column {
  const char* name;
  double EpochRow::*value;
};
constexpr Column kColumns[] = {{"loss", &EpochRow::loss},
                               {"val_dice", &EpochRow::val_dice},
                               {"lr", &EpochRow::lr},
                               {"seconds", &EpochRow::seconds},
                               {"images_per_second", &EpochRow::images_per_second},
                               {"loader_wait", &EpochRow::loader_wait},
                               {"peak_mb", &EpochRow::peak_mb}};

constexpr size_t kTableRows = 200;  // of the table of epochs

// Colours are named once, for light and for dark; print is light. Greys have a contrast of 4.5:1 or more.
constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--page:#fff;--ink:#1b2631;--soft:#5a6673;--line:#d9dfe5;--grid:#e8ecf0;--fill:#f5f7f9;
--curve:#1c5f9f;--mark:#a8480c;--good:#23764a;--warn-fill:#fdf5e6;--warn-line:#d9a441}
@media screen and (prefers-color-scheme:dark){:root{--page:#13181e;--ink:#dce3ea;--soft:#98a4b1;--line:#303943;
--grid:#252d36;--fill:#1b2229;--curve:#6cb2ee;--mark:#f0a05c;--good:#6cc79a;--warn-fill:#2a2417;--warn-line:#8f6d2a}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2.5rem 1.25rem 4rem;max-width:68rem;background:var(--page);color:var(--ink);
font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.8rem 0 .9rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.6rem 0 .4rem}
p{margin:.4rem 0 .8rem;max-width:46rem}
.soft,figcaption,caption{color:var(--soft);font-size:.9rem}
.state::before{content:"";display:inline-block;width:.6rem;height:.6rem;border-radius:50%;margin-right:.5rem;
background:var(--mark)}
.running::before{background:var(--curve)}.finished::before{background:var(--good)}
.key{display:flex;flex-wrap:wrap;gap:1rem 2.6rem;margin:1.4rem 0 0}
.key div{display:flex;flex-direction:column-reverse}
.key dt{color:var(--soft);font-size:.9rem}
.key dd{margin:0;font-size:1.6rem;line-height:1.3;font-variant-numeric:tabular-nums}
.findings{list-style:none;margin:1.6rem 0 0;padding:.7rem 1rem;background:var(--warn-fill);
border-left:4px solid var(--warn-line);border-radius:0 6px 6px 0}
.findings li{padding:.15rem 0 .15rem 1.6rem;text-indent:-1.6rem;overflow-wrap:anywhere}
.findings li::before{content:"\26A0\FE0E";display:inline-block;width:1.6rem;text-indent:0;color:var(--mark)}
.grid{display:grid;gap:1.4rem 2.5rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr))}
.pictures{display:flex;flex-wrap:wrap;gap:1rem 1.5rem}
figure{margin:0;max-width:100%;break-inside:avoid}
.curves figcaption{display:flex;justify-content:space-between;gap:1rem;font-variant-numeric:tabular-nums}
.curves strong{color:var(--ink);font-weight:600}
svg{display:block;width:100%;height:auto;overflow:visible;font-size:12px;fill:var(--soft)}
svg path{fill:none;stroke:var(--grid)}svg .frame{stroke:var(--soft)}
svg .none{text-anchor:middle}
svg .line{stroke:var(--curve);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg .lost{stroke:var(--mark);stroke-width:1.5}
svg circle{fill:var(--curve)}
svg .at path{fill:transparent;stroke:none}svg .many circle{opacity:0}
svg .at:hover path{fill:var(--soft);fill-opacity:.14}svg .at:hover circle{opacity:1;r:4px}
svg path.mark{stroke:var(--mark);stroke-dasharray:3 4}
svg circle.mark{fill:none;stroke:var(--mark);stroke-width:2}
svg text.mark{fill:var(--mark);font-weight:600;paint-order:stroke;stroke:var(--page);stroke-width:4px}
img{display:block;max-width:100%;height:auto;background:#000;border-radius:4px}
figcaption{margin:.35rem 0;overflow-wrap:anywhere}
.legend span{white-space:nowrap;margin-right:1.2rem}
.legend i{display:inline-block;width:.9rem;height:.9rem;margin-right:.4rem;vertical-align:-.1rem;border-radius:3px;
background:#222;border:3px solid}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.93rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding-bottom:.4rem}
td,th{padding:.3rem .8rem .3rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid)}
th{font-weight:500;color:var(--soft)}
td,.patients th[scope=row]{overflow-wrap:anywhere}
.facts th{width:38%}
.numbers td,.numbers th,.right{text-align:right}
.patients th[scope=row]{color:var(--ink);font-weight:400}
.bar{width:34%;min-width:5rem;padding-right:0}
.bar span{display:block;height:.7rem;margin-top:.4rem;background:var(--curve);border-radius:2px}
.numbers .best *{color:var(--mark);font-weight:600}
pre{margin:.4rem 0;padding:.9rem 1rem;background:var(--fill);border:1px solid var(--line);border-radius:6px;
font:.88rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-x:auto}
.command{user-select:all;white-space:pre-wrap;overflow-wrap:anywhere}
summary{cursor:pointer;padding:.3rem 0}
@media(max-width:40rem){.patients .bar{display:none}body{padding-top:1.4rem}}
@media print{@page{margin:15mm}:root{font-size:10pt}.grid{grid-template-columns:1fr 1fr}body{max-width:none;padding:0;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
h2,h3,caption{break-after:avoid}tr,.key,.findings{break-inside:avoid}pre{white-space:pre-wrap}
.pictures figure{max-width:calc(50% - .75rem)}}
)";

std::string base64(const std::string& bytes) {  // RFC 4648: three bytes are four letters
  constexpr const char* letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve(bytes.size() / 3 * 4 + 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(bytes.size() - i, 3);
    uint32_t three = 0;
    for (size_t k = 0; k < 3; k++) three = three << 8 | (k < n ? uint8_t(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; k++) out += k <= n ? letters[three >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

// The row with the highest validation Dice, the first of several; -1 if there is none.
int64_t best_of(const std::vector<EpochRow>& rows) {
  int64_t best = -1;
  for (size_t i = 0; i < rows.size(); i++)
    if (std::isfinite(rows[i].val_dice) && (best < 0 || rows[i].val_dice > rows[size_t(best)].val_dice))
      best = int64_t(i);
  return best;
}

std::string key_figures(const std::vector<EpochRow>& rows, int64_t best) {
  std::string out = "<dl class='key'>\n";
  const auto figure = [&](const std::string& value, const std::string& what) {
    out += text("<div><dt>", what, "</dt><dd>", value, "</dd></div>\n");
  };
  double seconds = 0;
  for (const EpochRow& row : rows) seconds += row.seconds;
  if (best >= 0) {
    const EpochRow& row = rows[size_t(best)];
    figure(fixed(row.val_dice, 4), text("best validation Dice, in epoch ", row.epoch));
  }
  figure(number(rows.back().loss, 4), "loss in the last epoch");
  figure(text(rows.back().epoch), text("epochs, ", rows.back().step, " steps"));
  figure(number(seconds, 4), "seconds of training");
  return out + "</dl>\n";
}

std::string curves(const std::vector<EpochRow>& rows, int64_t best) {
  std::string out = "<h2>Curves</h2>\n";
  if (rows.empty()) return out + "<p>The first epoch is not over yet.</p>\n";
  if (best >= 0)
    out +=
        "<p class='soft'>Dotted: the epoch with the best validation Dice. A cross: a value that is no finite number. "
        "Values show where the pointer rests.</p>\n";
  out += "<div class='grid curves'>\n";
  std::vector<double> epochs;
  for (const EpochRow& row : rows) epochs.push_back(double(row.epoch));
  const auto add = [&](const char* title, const char* unit, double EpochRow::*value, bool from_zero,
                       double factor = 1) {
    Curve curve{title, unit, epochs, {}, from_zero};
    for (const EpochRow& row : rows) curve.y.push_back(row.*value * factor);
    curve.decades = value == &EpochRow::lr;
    curve.mark = best;
    curve.mark_value = value == &EpochRow::val_dice;
    out += text("<figure><figcaption><strong>", title, "</strong><span>last ", number(curve.y.back(), 4),
                *unit ? " " : "", unit, "</span></figcaption>\n", svg_curve(curve), "</figure>\n");
  };
  add("Loss", "", &EpochRow::loss, false);
  add("Validation Dice", "", &EpochRow::val_dice, true);
  add("Learning rate", "", &EpochRow::lr, true);
  add("Images per second", "", &EpochRow::images_per_second, true);
  add("Waiting for data", "% of the time", &EpochRow::loader_wait, true, 100);
  add("Peak memory", "MB", &EpochRow::peak_mb, true);
  return out + "</div>\n";
}

std::string epoch_table(const std::vector<EpochRow>& rows, int64_t best) {
  if (rows.empty()) return "";
  const size_t every = (rows.size() + kTableRows - 1) / kTableRows;
  std::string out = "<details><summary>The epochs as a table</summary>\n<div class='scroll'><table class='numbers'>\n";
  if (every > 1)
    out += text("<caption>One epoch in ", every, ", the best and the last; metrics.csv has all.</caption>\n");
  out += "<thead><tr><th scope='col'>epoch</th><th scope='col'>step</th>";
  for (const Column& column : kColumns) out += text("<th scope='col'>", column.name, "</th>");
  out += "</tr></thead>\n<tbody>\n";
  for (size_t i = 0; i < rows.size(); i++) {
    if (i % every != 0 && int64_t(i) != best && i + 1 != rows.size()) continue;
    out += text(int64_t(i) == best ? "<tr class='best'>" : "<tr>", "<th scope='row'>", rows[i].epoch, "</th><td>",
                rows[i].step, "</td>");
    for (const Column& column : kColumns) out += text("<td>", number(rows[i].*column.value), "</td>");
    out += "</tr>\n";
  }
  return out + "</tbody></table></div></details>\n";
}

std::string patient_table(const std::vector<std::pair<std::string, double>>& patients) {
  double sum = 0;
  int64_t judged = 0;
  for (const auto& [name, dice] : patients)
    if (std::isfinite(dice)) sum += dice, judged++;
  std::string out = "<h2>Held-out patients</h2>\n<table class='patients'>\n";
  if (judged > 0)
    out += text("<caption>Mean Dice ", fixed(sum / double(judged), 4), " over ", judged,
                judged == 1 ? " patient" : " patients",
                judged < int64_t(patients.size()) ? text("; ", int64_t(patients.size()) - judged, " without one") : "",
                ".</caption>\n");
  out +=
      "<thead><tr><th scope='col'>patient</th><th scope='col' class='right'>Dice</th><td class='bar'></td></tr>"
      "</thead>\n<tbody>\n";
  for (const auto& [name, dice] : patients)
    out += text("<tr><th scope='row'>", escaped(name), "</th><td class='right'>",
                std::isfinite(dice) ? fixed(dice, 4) : "\xE2\x80\x93", "</td><td class='bar'><span style='width:",
                std::isfinite(dice) ? number(100 * std::clamp(dice, 0.0, 1.0), 4) : "0", "%'></span></td></tr>\n");
  return out + "</tbody></table>\n";
}

std::string pictures(const std::vector<PictureGroup>& groups) {
  std::string out =
      "<h2>Pictures</h2>\n<p class='legend'>Outlines: <span><i style='border-color:#0f0'></i>green, true</span>"
      "<span><i style='border-color:#f00'></i>red, predicted</span>"
      "<span><i style='border-color:#ff0'></i>yellow, both</span></p>\n";
  for (const PictureGroup& group : groups) {
    out += text("<h3>", escaped(group.heading), "</h3>\n");
    if (!group.text.empty()) out += text("<p>", escaped(group.text), "</p>\n");
    out += "<div class='pictures'>\n";
    for (const auto& [caption, picture] : group.pictures)
      out += text("<figure style='width:", picture.width, "px'><img width='", picture.width, "' height='",
                  picture.height, "' alt='", escaped(group.heading + ": " + caption), "' src='data:image/png;base64,",
                  base64(encode_png(picture)), "'><figcaption>", escaped(caption), "</figcaption></figure>\n");
    out += "</div>\n";
  }
  return out;
}

std::string facts(const char* heading, const std::vector<std::pair<std::string, std::string>>& rows) {
  if (rows.empty()) return "";
  std::string out = text("<section><h2>", heading, "</h2>\n<table class='facts'>\n");
  for (const auto& [name, value] : rows)
    out += text("<tr><th scope='row'>", escaped(name), "</th><td>", escaped(value), "</td></tr>\n");
  return out + "</table></section>\n";
}

}  // namespace

std::string to_csv(const std::vector<EpochRow>& rows) {
  std::string out = "epoch,step";
  for (const Column& column : kColumns) out += text(",", column.name);
  for (const EpochRow& row : rows) {
    out += text("\n", row.epoch, ",", row.step);
    for (const Column& column : kColumns) out += "," + shortest(row.*column.value);
  }
  return out + "\n";
}

std::vector<EpochRow> rows_from_csv(const std::string& path) {
  const CsvTable table = read_csv(path);
  std::vector<EpochRow> rows;
  for (size_t i = 0; i < table.rows.size(); i++) {
    EpochRow row;
    row.epoch = table.integer(i, "epoch"), row.step = table.integer(i, "step");
    for (const Column& column : kColumns) {
      const std::string& written = table.text(i, column.name);
      if (!parse(written, row.*column.value))  // unlike table.number, this takes nan and inf, which to_csv writes
        fail(path, ":", table.lines[i], ": ", column.name, " is '", shown(written), "', not a number");
    }
    const EpochRow before = rows.empty() ? EpochRow{} : rows.back();
    if (row.epoch <= before.epoch || row.step <= before.step)
      fail(path, ":", table.lines[i], ": epoch ", row.epoch, ", step ", row.step, " after epoch ", before.epoch,
           ", step ", before.step, "; both must rise");
    rows.push_back(row);
  }
  return rows;
}

std::string report_html(const Report& r) {
  const int64_t best = best_of(r.rows);
  // The policy makes sure that the page fetches nothing and runs nothing, whatever it holds.
  std::string page = text("<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n",
                          "<meta name='viewport' content='width=device-width,initial-scale=1'>\n",
                          "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none';img-src data:;",
                          "style-src 'unsafe-inline'\">\n<title>", escaped(r.title), "</title>\n<style>", kStyle,
                          "</style>\n</head>\n<body>\n<header>\n<h1>", escaped(r.title), "</h1>\n");
  if (!r.state.empty()) {
    const char* kind = r.state.starts_with("running") ? " running" : r.state.starts_with("finished") ? " finished" : "";
    page += text("<div class='state", kind, "'>", escaped(r.state), "</div>\n");
  }
  if (!r.rows.empty()) page += key_figures(r.rows, best);
  page += "</header>\n<main>\n";
  if (!r.findings.empty()) {
    page += "<ul class='findings' aria-label='What looks wrong'>\n";
    for (const std::string& finding : r.findings) page += text("<li>", escaped(finding), "</li>\n");
    page += "</ul>\n";
  }
  page += curves(r.rows, best) + epoch_table(r.rows, best);
  if (!r.patients.empty()) page += patient_table(r.patients);
  if (!r.pictures.empty()) page += pictures(r.pictures);
  page += text("<div class='grid'>\n", facts("The run", r.facts), facts("The data", r.fingerprint), "</div>\n");
  page += text("<h2>The same again</h2>\n<pre class='command'>", escaped(r.command), "</pre>\n",
               "<details><summary>Settings (config.json)</summary>\n<pre>", escaped(r.config_json),
               "</pre></details>\n</main>\n</body>\n</html>\n");
  return page;
}

}  // namespace acinus
