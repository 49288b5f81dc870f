// The parts of web pages that people look at: one file each, which needs no network and runs no scripts; pictures are
// in it. Light, dark and printed.
//
//   std::string page = page_begin("runs/laptop") + page_key_figures({{"best Dice", "0.8543"}}) + "</header>\n<main>\n";
//   page += page_pictures({{"Worst slices", "", {{"patient 7, z = 31", picture}}}});
//   write_file("report.html", page + page_end());
//
// Any text may hold any character: it is escaped here. What is empty gives "".
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "data/formats/png.h"

namespace acinus {

struct ReportPicture {
  std::string caption;
  Picture picture;
};
struct PictureGroup {
  std::string heading, text;  // "Worst slices", and a sentence about them or ""
  std::vector<ReportPicture> pictures;
};

std::string page_begin(const std::string& title);  // up to the heading, inside <header>
// "running: ...", "finished", "stopped ...", with a dot of its colour.
std::string page_state(const std::string& state);
std::string page_end();                                                                         // from </main> on
std::string page_key_figures(const std::vector<std::pair<std::string, std::string>>& figures);  // {what, value}
std::string page_findings(const std::vector<std::string>& findings);                            // what looks wrong
// Below a legend of the overlays' colours: red alone, or with what is true.
std::string page_pictures(const std::vector<PictureGroup>& groups, bool with_truth = true);
std::string page_facts(const std::string& heading, const std::vector<std::pair<std::string, std::string>>& rows);
// A file's name as a link: "a b.html" -> "a%20b.html"  (RFC 3986)
std::string url_of(const std::string& name);

}  // namespace acinus
