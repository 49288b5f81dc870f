#include "apps/report/page.h"

#include <algorithm>
#include <cctype>
#include <cstdio>

#include "apps/report/curve.h"
#include "tensor/check.h"

namespace acinus {
namespace {

// Colours are named once, for light and for dark; print is light. Greys have a contrast of 4.5:1 or more.
constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--page:#fff;--ink:#1b2631;--soft:#5a6673;--line:#d9dfe5;--grid:#e8ecf0;--fill:#f5f7f9;
--curve:#1c5f9f;--mark:#a8480c;--good:#23764a;--fourth:#8a3c8f;--warn-fill:#fdf5e6;--warn-line:#d9a441}
@media screen and (prefers-color-scheme:dark){:root{--page:#13181e;--ink:#dce3ea;--soft:#98a4b1;--line:#303943;
--grid:#252d36;--fill:#1b2229;--curve:#6cb2ee;--mark:#f0a05c;--good:#6cc79a;--fourth:#d58fd9;--warn-fill:#2a2417;--warn-line:#8f6d2a}}
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
.froc{max-width:40rem}
.pictures{display:flex;flex-wrap:wrap;gap:1rem 1.5rem}
figure{margin:0;max-width:100%;break-inside:avoid}
.curves figcaption{display:flex;justify-content:space-between;gap:1rem;font-variant-numeric:tabular-nums}
.curves strong{color:var(--ink);font-weight:600}
svg{display:block;width:100%;height:auto;overflow:visible;font-size:12px;fill:var(--soft)}
svg path{fill:none;stroke:var(--grid)}svg .frame{stroke:var(--soft)}
svg .none{text-anchor:middle}
svg .line{stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.s0{--series:var(--curve)}.s1{--series:var(--mark)}.s2{--series:var(--good)}.s3{--series:var(--fourth)}
.s4{--series:var(--soft)}
svg .line{stroke:var(--series,var(--curve))}svg .band{fill:var(--series);fill-opacity:.16;stroke:none}
svg .dot{fill:var(--series)}svg .bars path{fill:var(--curve);stroke:none}
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
.scroll{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;width:100%;font-size:.93rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding-bottom:.4rem}
td,th{padding:.3rem .8rem .3rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid)}
th{font-weight:500;color:var(--soft)}
td,.patients th[scope=row]{overflow-wrap:anywhere}
.facts th{width:38%}
.numbers td,.numbers th,.right{text-align:right}
.named th:first-child{text-align:left;min-width:9rem;overflow-wrap:anywhere}.named td{overflow-wrap:normal}
small{display:block;color:var(--soft);white-space:nowrap}
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

}  // namespace

std::string page_begin(const std::string& title) {
  // The policy makes sure that the page fetches nothing and runs nothing, whatever it holds.
  return text("<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n",
              "<meta name='viewport' content='width=device-width,initial-scale=1'>\n",
              "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none';img-src data:;",
              "style-src 'unsafe-inline'\">\n<title>", escaped(title), "</title>\n<style>", kStyle,
              "</style>\n</head>\n<body>\n<header>\n<h1>", escaped(title), "</h1>\n");
}

std::string page_state(const std::string& state) {
  if (state.empty()) return "";
  const char* kind = state.starts_with("running") ? " running" : state.starts_with("finished") ? " finished" : "";
  return text("<div class='state", kind, "'>", escaped(state), "</div>\n");
}

std::string page_end() { return "</main>\n</body>\n</html>\n"; }

std::string page_findings(const std::vector<std::string>& findings) {
  if (findings.empty()) return "";
  std::string out = "<ul class='findings' aria-label='What looks wrong'>\n";
  for (const std::string& finding : findings) out += text("<li>", escaped(finding), "</li>\n");
  return out + "</ul>\n";
}

std::string page_key_figures(const std::vector<std::pair<std::string, std::string>>& figures) {
  std::string out = "<dl class='key'>\n";
  for (const auto& [what, value] : figures)
    out += text("<div><dt>", escaped(what), "</dt><dd>", escaped(value), "</dd></div>\n");
  return out + "</dl>\n";
}

std::string page_pictures(const std::vector<PictureGroup>& groups, bool with_truth) {
  const auto colour = [](const char* code, const char* name) {
    return text("<span><i style='border-color:", code, "'></i>", name, "</span>");
  };
  std::string out = "<h2>Pictures</h2>\n<p class='legend'>Outlines: ";
  if (with_truth) out += colour("#0f0", "green, true");
  out += colour("#f00", "red, predicted");
  if (with_truth) out += colour("#ff0", "yellow, both");
  out += "</p>\n";
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

std::string page_facts(const std::string& heading, const std::vector<std::pair<std::string, std::string>>& rows) {
  if (rows.empty()) return "";
  std::string out = text("<section><h2>", escaped(heading), "</h2>\n<table class='facts'>\n");
  for (const auto& [name, value] : rows)
    out += text("<tr><th scope='row'>", escaped(name), "</th><td>", escaped(value), "</td></tr>\n");
  return out + "</table></section>\n";
}

std::string url_of(const std::string& name) {
  std::string out;
  for (const char c : name) {
    char code[4] = {c};
    if (!std::isalnum(uint8_t(c)) && c != '.' && c != '_' && c != '-')
      std::snprintf(code, sizeof code, "%%%02X", uint8_t(c));
    out += code;
  }
  return out;
}

}  // namespace acinus
