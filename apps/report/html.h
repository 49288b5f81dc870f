// The parts of the web pages that the programs write. A page is one file that fetches nothing and runs no scripts;
// pictures are inside. It reads well on light and dark screens and printed.
//
//   write_file("report.html", html_page("runs/laptop", html_key_figures({{"best Dice", "0.8543"}}),
//                                       html_pictures({{"Worst slices", "", {{"patient 7, z = 31", picture}}}})));
//
// All parameters are plain text, which is escaped, unless they are said to be HTML. Empty parts give "".
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/formats/png.h"

namespace acinus {

using NamedTexts = std::vector<std::pair<std::string, std::string>>;  // {name, value}

struct ReportPicture {
  std::string caption;
  Picture picture;
};
struct PictureGroup {
  std::string heading, text;  // "Worst slices", and a sentence about them or ""
  std::vector<ReportPicture> pictures;
};
struct HtmlTable {
  std::string classes = {}, caption = {};           // classes: of the style sheet, such as "numbers"
  std::vector<std::string> columns = {};            // their names
  std::vector<std::vector<std::string>> rows = {};  // cells are HTML; the first is the name of its row
  int64_t best = -1;                                // index of a row to highlight
};

// A whole page; `header`, below the title, and `main` are HTML.
std::string html_page(const std::string& title, const std::string& header, const std::string& main);

std::string html_key_figures(const NamedTexts& figures);
std::string html_warnings(const std::vector<std::string>& warnings);
std::string html_facts(const std::string& heading, const NamedTexts& facts);
std::string html_table(const HtmlTable& table);
// Under a legend of the outlines' colours, which explains those of the truth only if there are any.
std::string html_pictures(const std::vector<PictureGroup>& groups, bool with_truth = true);
std::string html_figure(const std::string& title, const std::string& value, const std::string& svg);
std::string html_command(const std::string& command);  // that makes the page's content again

std::string escaped(const std::string& plain);          // for HTML and SVG, between tags and in attributes
std::string url_encoded(const std::string& file_name);  // "a b.html" -> "a%20b.html" (RFC 3986)

}  // namespace acinus
