#include "apps/report/html.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <string_view>

#include "tensor/check.h"

namespace acinus {
namespace {

constexpr const char* kStyle =
#include "apps/report/style.css"
    ;

std::string base64(const std::string& bytes) {  // RFC 4648: three bytes are four letters
  constexpr const char* letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(bytes.size() - i, 3);
    uint32_t three = 0;
    for (size_t k = 0; k < 3; k++) three = three << 8 | (k < n ? uint8_t(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; k++) out += k <= n ? letters[three >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

}  // namespace

// Control characters, which have no meaning in HTML, become U+FFFD.
std::string escaped(const std::string& plain) {
  constexpr std::string_view special = "<>&\"'";
  constexpr const char* entities[] = {"&lt;", "&gt;", "&amp;", "&quot;", "&#39;"};
  std::string out;
  for (const char c : plain) {
    const size_t i = special.find(c);
    const bool is_control = (c >= 0 && c < ' ' && c != '\n' && c != '\t') || c == 127;
    out += i != special.npos ? entities[i] : is_control ? "\uFFFD" : std::string(1, c);
  }
  return out;
}

std::string url_encoded(const std::string& file_name) {
  std::string out;
  for (const char c : file_name) {
    char code[4] = {c};
    if (!std::isalnum(uint8_t(c)) && c != '.' && c != '_' && c != '-')
      std::snprintf(code, sizeof code, "%%%02X", uint8_t(c));
    out += code;
  }
  return out;
}

// The security policy makes sure that the page fetches nothing and runs nothing, whatever it holds.
std::string html_page(const std::string& title, const std::string& header, const std::string& main) {
  return text("<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n",
              "<meta name='viewport' content='width=device-width,initial-scale=1'>\n",
              "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none';img-src data:;",
              "style-src 'unsafe-inline'\">\n<title>", escaped(title), "</title>\n<style>", kStyle,
              "</style>\n</head>\n<body>\n<header>\n<h1>", escaped(title), "</h1>\n", header, "</header>\n<main>\n",
              main, "</main>\n</body>\n</html>\n");
}

std::string html_key_figures(const NamedTexts& figures) {
  std::string out = "<dl class='key'>\n";
  for (const auto& [name, value] : figures)
    out += text("<div><dt>", escaped(name), "</dt><dd>", escaped(value), "</dd></div>\n");
  return out + "</dl>\n";
}

std::string html_warnings(const std::vector<std::string>& warnings) {
  if (warnings.empty()) return "";
  std::string out = "<ul class='findings' aria-label='What looks wrong'>\n";
  for (const std::string& warning : warnings) out += text("<li>", escaped(warning), "</li>\n");
  return out + "</ul>\n";
}

std::string html_facts(const std::string& heading, const NamedTexts& facts) {
  if (facts.empty()) return "";
  std::string out = text("<section><h2>", escaped(heading), "</h2>\n<table class='facts'>\n");
  for (const auto& [name, value] : facts)
    out += text("<tr><th scope='row'>", escaped(name), "</th><td>", escaped(value), "</td></tr>\n");
  return out + "</table></section>\n";
}

std::string html_table(const HtmlTable& t) {
  std::string out = text("<div class='scroll'><table class='", t.classes, "'>\n");
  if (!t.caption.empty()) out += text("<caption>", escaped(t.caption), "</caption>\n");
  out += "<thead><tr>";
  for (const std::string& column : t.columns) out += text("<th scope='col'>", escaped(column), "</th>");
  out += "</tr></thead>\n<tbody>\n";
  for (size_t row = 0; row < t.rows.size(); row++) {
    out += int64_t(row) == t.best ? "<tr class='best'>" : "<tr>";
    for (size_t i = 0; i < t.rows[row].size(); i++)
      out += text(i == 0 ? "<th scope='row'>" : "<td>", t.rows[row][i], i == 0 ? "</th>" : "</td>");
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string html_pictures(const std::vector<PictureGroup>& groups, bool with_truth) {
  if (groups.empty()) return "";
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

std::string html_figure(const std::string& title, const std::string& value, const std::string& svg) {
  return text("<figure><figcaption><strong>", escaped(title), "</strong><span>", escaped(value),
              "</span></figcaption>\n", svg, "</figure>\n");
}

std::string html_command(const std::string& command) {
  return text("<h2>How to reproduce this</h2>\n<pre class='command'>", escaped(command), "</pre>\n");
}

}  // namespace acinus
