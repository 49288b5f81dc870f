// What a run leaves to be looked at: metrics.csv, report.html and TensorBoard's event files.
#include <sys/resource.h>

#include <csignal>
#include <limits>
#include <set>

// run_tests is linked with the library, which does not hold the programs' parts
#include "apps/report/events.h"
#include "apps/report/report.h"
#include "apps/report/svg_plot.h"
#include "tensor/io/file.h"
#include "tensor/text.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Goes through HTML as strictly as XML: every tag is closed by its own, attributes are quoted and not twice there, "<"
// and "&" stand for nothing else. What is wrong, or "".
struct Html {
  std::vector<std::string> open = {};
  std::multiset<std::string> tags = {};
  std::vector<std::pair<std::string, std::string>> attributes = {};

  std::string text_problem(const std::string& text) {
    for (size_t at = text.find('&'); at != text.npos; at = text.find('&', at + 1)) {
      const std::string entity = text.substr(at, text.find(';', at) - at + 1);
      if (std::set<std::string>{"&lt;", "&gt;", "&amp;", "&quot;", "&#39;"}.count(entity) == 0) return "& in " + entity;
    }
    for (char c : text)
      if ((c >= 0 && c < ' ' && c != '\n' && c != '\t') || c == '>') return "a character that is not escaped";
    return "";
  }
  std::string problem(const std::string& page) {
    const std::string doctype = "<!doctype html>";
    if (!page.starts_with(doctype)) return "no doctype";
    for (size_t at = doctype.size(); at < page.size();) {
      const size_t tag = page.find('<', at);
      const std::string between = page.substr(at, tag - at);
      if (open.empty() && between.find_first_not_of("\n") != between.npos) return "text outside";
      if (!open.empty() && open.back() == "style") {
        if (between.find('&') != between.npos) return "& in the style sheet";
      } else if (const std::string wrong = text_problem(between); !wrong.empty()) {
        return wrong;
      }
      if (tag == page.npos) break;
      at = tag + 1;
      if (page[at] == '/') {
        const std::string name = page.substr(at + 1, page.find('>', at) - at - 1);
        if (open.empty() || open.back() != name) return "</" + name + "> closes nothing";
        open.pop_back();
        at += name.size() + 2;
        continue;
      }
      const size_t name_end = page.find_first_of(" />", at);
      if (name_end == page.npos || name_end == at) return "< that begins no tag";
      const std::string name = page.substr(at, name_end - at);
      tags.insert(name);
      std::set<std::string> names;
      for (at = name_end; at < page.size() && page[at] == ' ';) {
        const size_t equals = page.find('=', at);
        if (equals == page.npos || equals + 1 >= page.size()) return "an attribute without a value";
        const char quote = page[equals + 1];
        const size_t end = page.find(quote, equals + 2);
        if ((quote != '\'' && quote != '"') || end == page.npos) return "an attribute without quotes";
        const std::string key = page.substr(at + 1, equals - at - 1), value = page.substr(equals + 2, end - equals - 2);
        if (!names.insert(key).second || key.find_first_of(" \n<>'\"") != key.npos) return "attribute " + key;
        if (const std::string wrong = text_problem(value); !wrong.empty() || value.find('<') != value.npos)
          return "in attribute " + key + ": " + wrong;
        attributes.emplace_back(key, value);
        at = end + 1;
      }
      const bool closed = page[at] == '/';
      if (page[at + (closed ? 1 : 0)] != '>') return "<" + name + " does not end";
      at += closed ? 2 : 1;
      if (!closed && name != "meta" && name != "img") open.push_back(name);
    }
    return open.empty() ? "" : "<" + open.back() + "> is never closed";
  }
};

Picture chequered(int width, int height, int channels) {
  Picture picture{width, height, channels, std::vector<uint8_t>(size_t(width * height * channels))};
  for (size_t i = 0; i < picture.pixels.size(); i++) picture.pixels[i] = uint8_t(i * i >> 3);
  return picture;
}

std::vector<EpochRow> rows_of(int64_t n) {
  std::vector<EpochRow> rows;
  for (int64_t e = 1; e <= n; e++) {
    const double x = double(e) / double(n + 1);
    rows.push_back({e, 100 * e, 1 / double(e) - 0.9, 0.8 * x * (1.4 - x), 1e-2 * (1 - x), 9.5, 231.25, 0.03, 412});
  }
  return rows;
}

Report full_report() {
  Report r;
  r.title = "runs/a", r.command = "./train --out runs/a", r.config_json = "{\n  \"seed\": 1\n}\n", r.state = "finished";
  r.rows = rows_of(12);
  r.facts = {{"device", "CPU"}};
  r.fingerprint = {{"patients", "24"}};
  r.findings = {"the learning rate is high"};
  r.pictures = {
      {"Worst slices", "The lowest Dice.", {{"patient 7", chequered(5, 4, 3)}, {"patient 8", chequered(3, 3, 1)}}}};
  r.patients = {{"1.2.3", 0.7512}, {"1.2.4", kNan}};
  return r;
}

std::string report_of(const std::vector<EpochRow>& rows) {
  Report r;
  r.rows = rows;
  return report_html(r);
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) n++;
  return n;
}

// The numbers of a path "M1 2L3 4", in the first path of class `name`.
std::vector<double> path_numbers(const std::string& svg, const std::string& name) {
  const std::string begin = "<path class='" + name + "' d='";
  const size_t from = svg.find(begin);
  REQUIRE(from != svg.npos);
  std::string path = svg.substr(from + begin.size(), svg.find('\'', from + begin.size()) - from - begin.size());
  for (char& c : path)
    if (std::isalpha(static_cast<unsigned char>(c))) c = ' ';
  std::vector<double> numbers;
  for (std::string_view word : words(path)) {
    double value;
    REQUIRE(parse(word, value));
    numbers.push_back(value);
  }
  return numbers;
}

}  // namespace

TEST_CASE("report: metrics.csv and back") {
  const Scratch folder;
  std::vector<EpochRow> rows = rows_of(3);
  rows[1].val_dice = kNan, rows[2].loss = INFINITY, rows[2].lr = 0.1 + 0.2;
  const std::string csv = to_csv(rows);
  REQUIRE_THAT(csv,
               Catch::StartsWith("epoch,step,loss,val_dice,lr,seconds,images_per_second,loader_wait,peak_mb\n1,100,"));
  write_file(folder / "m.csv", csv);
  const std::vector<EpochRow> again = rows_from_csv(folder / "m.csv");
  REQUIRE(again.size() == 3);
  REQUIRE(to_csv(again) == csv);
  CHECK(again[1].epoch == 2);
  CHECK(again[1].step == 200);
  CHECK(std::isnan(again[1].val_dice));
  CHECK(again[2].lr == 0.1 + 0.2);
  CHECK(again[2].loader_wait == 0.03);
  CHECK(again[2].peak_mb == 412);
  write_file(folder / "m.csv", to_csv({}));
  REQUIRE(rows_from_csv(folder / "m.csv").empty());

  const auto error = [&](const std::string& content) {
    write_file(folder / "m.csv", content);
    return error_of([&] { rows_from_csv(folder / "m.csv"); });
  };
  CHECK_THAT(error(""), Catch::Contains("m.csv: is empty"));
  CHECK_THAT(error("epoch,step\n1,2\n"), Catch::Contains("m.csv:1: there is no column 'loss'"));
  CHECK_THAT(error(csv.substr(0, csv.rfind(','))), Catch::Contains("m.csv:4: 8 fields under a header of 9"));
  const std::string two = to_csv(rows_of(2));
  CHECK_THAT(error(two.substr(0, two.rfind("412")) + "many\n"), Catch::Contains("m.csv:3: peak_mb is 'many'"));
  CHECK_THAT(error(two + "2" + two.substr(two.rfind("\n2,") + 2)),
             Catch::Contains("m.csv:4: epoch 2, step 200 after epoch 2"));
  CHECK_THAT(error(two + "3" + two.substr(two.rfind("\n2,") + 2)),
             Catch::Contains("m.csv:4: epoch 3, step 200 after epoch 2, step 200; both must rise"));
  CHECK_THAT(error(two.substr(0, two.rfind("\n2,")) + "\n1.5,200,1,1,1,1,1,1,1\n"), Catch::Contains("epoch is '1.5'"));
  CHECK_THAT(error_of([&] { rows_from_csv(folder / "none.csv"); }), Catch::Contains("none.csv: No such file"));
}

TEST_CASE("report: one page, well-formed, that fetches and runs nothing") {
  const Report report = full_report();
  const std::string page = report_html(report);
  Html html;
  REQUIRE(html.problem(page) == "");
  CHECK(html.tags.count("svg") == 6);
  CHECK(html.tags.count("img") == 2);
  for (const char* fetching : {"script", "link", "iframe", "object", "a", "base", "form"})
    CHECK(html.tags.count(fetching) == 0);
  for (const auto& [key, value] : html.attributes) {
    CHECK(!key.starts_with("on"));
    CHECK(key != "href");
    if (key == "src") CHECK(value.starts_with("data:image/png;base64,"));
  }
  Report without_pictures = report;  // base64 may hold "//"
  without_pictures.pictures.clear();
  for (const char* address : {"http:", "https:", "url(", "@import", "//"}) {
    CAPTURE(address);
    CHECK(count(report_html(without_pictures), address) == 0);
  }
  for (const char* title :
       {"Loss", "Validation Dice", "Learning rate", "Images per second", "Waiting for data", "Peak memory"}) {
    CHECK(count(page, text("<strong>", title, "</strong>")) == 1);
    CHECK(count(page, text("aria-label='", title, ": 12 epochs")) == 1);
  }
  for (const char* part :
       {"<div class='state finished'>finished</div>", "the learning rate is high", ">1.2.3</th><td>0.7512</td>",
        "\xE2\x80\x93</td>", "Mean Dice 0.7512 over 1 patient; 1 without foreground", "alt='Worst slices: patient 7'",
        "./train --out runs/a</pre>", "last 3 % of the time", "green, true", "red, predicted", "yellow, both",
        "&quot;seed&quot;: 1", ">CPU</td>", ">24</td>"})
    CHECK_THAT(page, Catch::Contains(part));
}

TEST_CASE("report: the best epoch is the first with the highest Dice that is a number") {
  std::vector<EpochRow> rows = rows_of(5);
  const double dice[] = {kNan, 0.25, 0.5, 0.5, INFINITY};
  for (size_t i = 0; i < 5; i++) rows[i].val_dice = dice[i];
  const std::string page = report_of(rows);
  CHECK_THAT(page, Catch::Contains("best validation Dice, in epoch 3</dt><dd>0.5000</dd>"));
  CHECK_THAT(page, Catch::Contains(">best: 0.5000 in epoch 3</text>"));
  CHECK_THAT(page, Catch::Contains("<tr class='best'><th scope='row'>3</th>"));
  for (EpochRow& row : rows) row.val_dice = kNan;
  CHECK(count(report_of(rows), "best validation Dice, in") == 0);
  // The seconds of the whole run, validation included, and of the steps alone.
  Report timed;
  timed.rows = rows_of(2), timed.seconds = 318.4;
  for (EpochRow& row : timed.rows) row.seconds = 100;
  CHECK_THAT(report_html(timed), Catch::Contains("<dt>seconds, 200 of them in training steps</dt><dd>318</dd>"));
}

TEST_CASE("report: which epoch is better") {
  const auto row = [](double auc, double loss) {
    EpochRow r;
    r.val_auc = auc, r.val_loss = loss;
    return r;
  };
  const auto better = [](const EpochRow& a, const EpochRow& b) { return is_better(a, b, &EpochRow::val_auc); };
  CHECK(better(row(0.9, 2), row(0.8, 1)));
  CHECK_FALSE(better(row(0.8, 1), row(0.9, 2)));
  CHECK(better(row(0.9, 1), row(0.9, 2)));
  CHECK_FALSE(better(row(0.9, 2), row(0.9, 2)));
  CHECK(better(row(0, 9), row(kNan, 1)));
  CHECK_FALSE(better(row(kNan, 1), row(0, 9)));
  CHECK(better(row(kNan, 1), row(kNan, 2)));
  CHECK(better(row(kNan, kNan), row(kNan, kNan)));
  CHECK_FALSE(better(row(0.9, kNan), row(0.9, kNan)));
}

TEST_CASE("report: of a classifier") {
  std::vector<EpochRow> rows = rows_of(12);
  for (size_t i = 0; i < rows.size(); i++)
    rows[i].val_dice = kNan, rows[i].val_auc = i == 4 ? 0.75 : 0.5, rows[i].val_loss = 0.25;
  Report r;
  r.rows = rows, r.score = kAuc;
  r.results = {{"AUC by the classifier's", "0.7500"}};
  const std::string page = report_html(r);
  Html html;
  REQUIRE(html.problem(page) == "");
  CHECK(html.tags.count("svg") == 7);
  for (const char* part : {"best validation AUC, in epoch 5</dt><dd>0.7500</dd>", "<strong>Validation AUC</strong>",
                           "<strong>Validation loss</strong>", "Held-out patients", ">0.7500</td>"})
    CHECK_THAT(page, Catch::Contains(part));
  CHECK(count(page, "Validation Dice") == 0);
  REQUIRE_THAT(to_csv(rows, kAuc), Catch::StartsWith("epoch,step,loss,val_loss,val_auc,lr,seconds,images_per_"
                                                     "second,loader_wait,peak_mb\n"));
}

TEST_CASE("report: whatever stands in the texts stays text") {
  const std::string hostile =
      "</title></pre><script>alert(1)</script><img src=x onerror='a'>\" ' & &lt; \x01\x1b[0m \xC3\xA4\x7F";
  Report r = full_report();
  const std::string calm = report_html(r);
  r.title = r.command = r.config_json = r.state = hostile;
  r.facts = r.fingerprint = {{hostile, hostile}};
  r.findings = {hostile};
  r.pictures[0].heading = r.pictures[0].text = r.pictures[0].pictures[0].caption = hostile;
  r.patients[0].first = hostile;
  Html html, plain;
  REQUIRE(html.problem(report_html(r)) == "");
  REQUIRE(plain.problem(calm) == "");
  CHECK(html.tags == plain.tags);
  CHECK(escaped("<a href='x'>&\"\xC3\xA4\n\t") == "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\xC3\xA4\n\t");
}

TEST_CASE("report: pictures come back out of the page") {
  const Scratch folder;
  const Report report = full_report();
  const std::string page = report_html(report);
  size_t at = 0;
  for (const auto& [caption, picture] : report.pictures[0].pictures) {
    at = page.find("base64,", at) + 7;
    const std::string letters = page.substr(at, page.find('\'', at) - at);
    REQUIRE(letters.size() % 4 == 0);
    std::string bytes;
    uint32_t bits = 0, n = 0;
    const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (char c : letters.substr(0, letters.find('='))) {
      REQUIRE(alphabet.find(c) != alphabet.npos);
      bits = bits << 6 | uint32_t(alphabet.find(c)), n += 6;
      if (n >= 8) bytes += char(uint8_t(bits >> (n -= 8)));
    }
    CHECK(bytes == encode_png(picture));
    write_file(folder / "p.png", bytes);
    CHECK(read_png(folder / "p.png").pixels == picture.pixels);
  }
}

TEST_CASE("report: any number of epochs, any numbers") {
  for (int64_t n : {0, 1, 2, 3, 41, 251, 1000, 20000}) {
    CAPTURE(n);
    const std::string page = report_of(rows_of(n));
    Html html;
    REQUIRE(html.problem(page) == "");
    CHECK(html.tags.count("svg") == (n > 0 ? 6 : 0));
    CHECK(page.size() < 500000);
    CHECK(count(page, "<tr class='best'>") == (n > 0 ? 1 : 0));
    CHECK(count(page, "<td>" + std::to_string(100 * n) + "</td>") == (n > 0 ? 1 : 0));  // the last epoch's step
  }
  constexpr double kMost = std::numeric_limits<double>::max(), kLeast = std::numeric_limits<double>::denorm_min();
  const double odd[] = {kNan,  INFINITY, -INFINITY, 0,   -0.0,        1,    1e-300, -1e300,
                        kMost, -kMost,   kLeast,    0.1, 0.1 + 1e-17, 1e15, -5};
  for (double a : odd)
    for (double b : odd) {
      CAPTURE(a, b);
      Report r;
      r.rows = {{1, 1, a, b, a, b, a, b, a}, {2, 2, b, a, b, a, b, a, b}, {3, 3, a, a, a, a, a, a, a}};
      r.patients = {{"x", a}};
      const std::string page = report_html(r);
      Html html;
      REQUIRE(html.problem(page) == "");
      for (const auto& [key, value] : html.attributes)
        if (key == "d" || key == "x" || key == "y" || key == "cx" || key == "cy") {
          CHECK(value.find("nan") == value.npos);
          CHECK(value.find("inf") == value.npos);
          CHECK(value.size() < 200);
        }
    }
}

TEST_CASE("curve: points lie where axes and values say, values show on hover") {
  const Curve curve{"Dice", "mm", {1, 2, 3, 4, 5}, {0, 0.5, kNan, 1, 0.25}, true, false, 3, true};
  const std::string svg = svg_curve(curve);
  const std::vector<double> p = path_numbers(svg, "line s0");  // M and L of each beginning, and two pieces
  REQUIRE(p.size() == 12);
  const double left = p[0], bottom = p[1], right = p[10], top = p[9];
  CHECK(p[5] == Approx((top + bottom) / 2).margin(0.11));
  CHECK(p[4] == Approx(left + (right - left) / 4).margin(0.11));
  CHECK(p[8] == Approx(left + (right - left) * 3 / 4).margin(0.11));
  CHECK(p[11] == Approx(bottom + (top - bottom) / 4).margin(0.11));
  CHECK(top < bottom);
  CHECK(count(svg, "class='lost'") == 1);
  CHECK_THAT(svg,
             Catch::Contains("<title>epoch 2: 0.5 mm</title>") && Catch::Contains("<title>epoch 3: nan mm</title>"));
  CHECK_THAT(svg, Catch::Contains(">best: 1.0000 in epoch 4</text>"));
  CHECK(path_numbers(svg, "mark s1")[0] == p[8]);

  Curve rates{"Learning rate", "", {1, 2, 3, 4}, {1e-2, 1e-4, 1e-6, 0}, true};
  CHECK(count(svg_curve(rates), "logarithmic") == 0);
  rates.logarithmic = true;
  CHECK(count(svg_curve(rates), "logarithmic") == 1);
  const std::vector<double> r = path_numbers(svg_curve(rates), "line s0");
  REQUIRE(r.size() == 8);  // 0 has no place on this axis
  CHECK(r[5] == Approx((r[3] + r[7]) / 2).margin(0.11));
  rates.y = {1e-2, 9e-3, 8e-3, 2e-4};
  CHECK(count(svg_curve(rates), "logarithmic") == 0);

  CHECK_THAT(svg_curve({"x", "", {1}, {kNan}}), Catch::Contains("no finite value"));
  CHECK_THAT(svg_curve({"x", "", {}, {}}), Catch::Contains("no epoch yet"));
  CHECK_THAT(error_of([] { svg_curve({"x", "", {1}, {}}); }), Catch::Contains("1 epochs and 0 values"));

  // Of very many, no peak is lost.
  Curve many{"x", "", {}, std::vector<double>(10007, 0.0)};
  for (size_t i = 0; i < many.y.size(); i++) many.x.push_back(double(i + 1));
  many.y[5003] = 1;
  many.y[7001] = -1;
  const std::string small = svg_curve(many);
  CHECK(small.size() < 60000);
  CHECK(count(small, ": 0 to 1</title>") == 1);
  CHECK(count(small, ": -1 to 0</title>") == 1);
  const std::vector<double> q = path_numbers(small, "line s0");
  CHECK(*std::max_element(q.begin() + 2, q.end()) > 0);
  double least = 1e9, most = 0;
  for (size_t i = 1; i < q.size(); i += 2) least = std::min(least, q[i]), most = std::max(most, q[i]);
  CHECK(most - least == Approx(bottom - top).margin(0.2));
}

TEST_CASE("curve: ticks at round numbers") {
  const auto labels = [](const Axis& axis) {
    std::vector<std::string> out;
    for (double tick : axis.ticks) out.push_back(number(tick, 6));
    return out;
  };
  using Labels = std::vector<std::string>;
  CHECK(labels(linear_axis(0, 0.82, 5)) == Labels{"0", "0.2", "0.4", "0.6", "0.8"});
  CHECK(labels(linear_axis(-0.9, 0.11, 5)) == Labels{"-0.5", "0"});
  CHECK(labels(linear_axis(1, 12, 8, 1)) == Labels{"2", "4", "6", "8", "10", "12"});
  CHECK(labels(linear_axis(1, 2, 8, 1)) == Labels{"1", "2"});
  CHECK(labels(linear_axis(0, 81559, 5)) == Labels{"0", "20000", "40000", "60000", "80000"});
  CHECK(labels(logarithmic_axis(1.8e-8, 1e-2)) == Labels{"1e-7", "1e-6", "1e-5", "0.0001", "0.001", "0.01"});
  CHECK(logarithmic_axis(1e-4, 1).at(1e-2) == Approx(0.5));
  CHECK(linear_axis(7, 7, 5).at(7) == Approx(0.5));  // constant: in the middle
  for (double size : {1e-300, 1e-9, 1.0, 3e17, 1e300, 1.7e308})
    for (double low : {-size, 0.0, size * 0.4}) {
      const Axis axis = linear_axis(low, size, 5);
      CAPTURE(low, size);
      CHECK((axis.ticks.size() >= 2 && axis.ticks.size() <= 7));
      for (double tick : axis.ticks) CHECK((axis.at(tick) > -1e-5 && axis.at(tick) < 1 + 1e-5));
    }
  CHECK(number(0.81712345) == "0.81712");
  CHECK(number(1.8e-8) == "1.8e-8");
  CHECK(number(81559, 4) == "81559");
  CHECK(number(-1e300) == "-1e300");
  CHECK(number(kNan) == "nan");
  CHECK(fixed(0.8, 4) == "0.8000");
  CHECK(fixed(-1e300, 4) == "-1e300");
}

// ---- event files: a reader that shares no code with the writer ------------------------------------------------------

namespace {

uint32_t bitwise_crc32c(const std::string& bytes) {  // bit by bit, highest first, on reversed bits
  const auto reversed = [](uint32_t v, int bits) {
    uint32_t r = 0;
    for (int i = 0; i < bits; i++) r |= (v >> i & 1) << (bits - 1 - i);
    return r;
  };
  uint32_t crc = 0xFFFFFFFF;
  for (char c : bytes) {
    crc ^= reversed(uint8_t(c), 8) << 24;
    for (int i = 0; i < 8; i++) crc = (crc & 0x80000000u) != 0 ? (crc << 1) ^ 0x1EDC6F41u : crc << 1;
  }
  return reversed(~crc, 32);
}

template <class T>
T value_at(const std::string& bytes, size_t at) {
  T value;
  REQUIRE(at + sizeof value <= bytes.size());
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// Whole records; `torn` are the bytes after the last.
std::vector<std::string> records_of(const std::string& file, size_t& torn) {
  std::vector<std::string> records;
  size_t at = 0;
  while (file.size() - at >= 16) {
    const uint64_t length = value_at<uint64_t>(file, at);
    const auto sum_holds = [&](size_t from, size_t n) {
      const uint32_t turned = value_at<uint32_t>(file, from + n) - 0xa282ead8u;
      return (turned >> 17 | turned << 15) == bitwise_crc32c(file.substr(from, n));
    };
    REQUIRE(sum_holds(at, 8));
    if (file.size() - at < 16 + length) break;
    REQUIRE(sum_holds(at + 12, length));
    records.push_back(file.substr(at + 12, length));
    at += 16 + length;
  }
  torn = file.size() - at;
  return records;
}

// The fields of a message: number, and the value's bytes (a varint as eight).
std::vector<std::pair<uint64_t, std::string>> fields_of(const std::string& message) {
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      REQUIRE(at < message.size());
      value |= uint64_t(message[at] & 127) << shift;
      if ((message[at++] & 128) == 0) return value;
    }
  };
  std::vector<std::pair<uint64_t, std::string>> fields;
  while (at < message.size()) {
    const uint64_t key = varint();
    uint64_t bytes = 0;
    if ((key & 7) == 0) {
      const uint64_t value = varint();
      fields.emplace_back(key >> 3, std::string(reinterpret_cast<const char*>(&value), 8));
      continue;
    }
    bytes = (key & 7) == 1 ? 8 : (key & 7) == 5 ? 4 : varint();
    REQUIRE(bytes <= message.size() - at);
    fields.emplace_back(key >> 3, message.substr(at, bytes));
    at += bytes;
  }
  return fields;
}

std::string only(const std::string& message, uint64_t number) {
  std::string found;
  int n = 0;
  for (const auto& [field, bytes] : fields_of(message))
    if (field == number) found = bytes, n++;
  REQUIRE(n == 1);
  return found;
}

}  // namespace

TEST_CASE("events: checksums and the first record, byte for byte") {
  CHECK(crc32c("123456789") == 0xe3069283);
  CHECK(masked_crc32c("123456789") == 0xc78ab0e5);
  CHECK(bitwise_crc32c("123456789") == 0xe3069283);
  CHECK(crc32c("") == 0);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aa);  // RFC 3720, appendix B.4
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43);

  const Scratch folder;
  const EventFile events(folder / "new/run", 1.0, "host");
  CHECK(events.path() == folder / "new/run/events.out.tfevents.0000000001.host");
  std::string hex;
  for (char c : read_file(events.path(), 1000))
    hex += "0123456789abcdef"[uint8_t(c) >> 4], hex += "0123456789abcdef"[c & 15];
  CHECK(hex == "1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a");
}

TEST_CASE("events: scalars and pictures are read back, while the file is still written") {
  const Scratch folder;
  EventFile events(folder.path, 1.7e9 + 0.5, "host");
  struct Scalar {
    int64_t step;
    std::string tag;
    double value, time;
  };
  const std::vector<Scalar> scalars = {{0, "loss", 0.75, 1.7e9},
                                       {127, "val/dice", 0.1, 2},
                                       {128, std::string(300, 'x'), -1e30, 3},
                                       {int64_t(1) << 40, "n", kNan, 4},
                                       {-1, "i", 1e300, 5}};
  for (size_t i = 0; i < scalars.size(); i++) {
    const Scalar& s = scalars[i];
    events.scalar(s.step, s.tag, s.value, s.time);
    size_t torn;
    const std::vector<std::string> records = records_of(read_file(events.path(), 1 << 20), torn);
    REQUIRE(torn == 0);
    REQUIRE(records.size() == i + 2);  // seen at once
    CHECK(value_at<double>(only(records.back(), 1), 0) == s.time);
    CHECK(value_at<int64_t>(only(records.back(), 2), 0) == s.step);
    const std::string value = only(only(records.back(), 5), 1);
    CHECK(only(value, 1) == s.tag);
    const float read = value_at<float>(only(value, 2), 0);
    CHECK((std::isnan(s.value) ? std::isnan(read) : read == float(s.value)));
  }
  for (int channels : {1, 3}) {
    const Picture picture = chequered(200, 7, channels);
    events.picture(9, "overlays", picture);
    size_t torn;
    const std::string record = records_of(read_file(events.path(), 1 << 20), torn).back();
    CHECK(std::abs(value_at<double>(only(record, 1), 0) - unix_time()) < 60);
    const std::string image = only(only(only(record, 5), 1), 4);
    CHECK(value_at<int64_t>(only(image, 1), 0) == 7);
    CHECK(value_at<int64_t>(only(image, 2), 0) == 200);
    CHECK(value_at<int64_t>(only(image, 3), 0) == channels);
    CHECK(only(image, 4) == encode_png(picture));
  }
  CHECK_THAT(error_of([&] { events.picture(1, "p", Picture{}); }), Catch::Contains("is not an image"));
  size_t torn;
  const std::string file = read_file(events.path(), 1 << 20);
  CHECK(records_of(file, torn).size() == 8);
  CHECK(records_of(file.substr(0, file.size() - 1), torn).size() == 7);  // killed: one is torn, no more
  CHECK(torn > 0);
}

TEST_CASE("events: a file of its own each time; what goes wrong is said") {
  const Scratch folder;
  const EventFile first(folder.path, 5, "a b/c"), second(folder.path, 5, "a b/c"), third(folder.path, 5.9, "a b/c");
  CHECK(first.path() == folder / "events.out.tfevents.0000000005.a_b_c");
  CHECK(second.path() == first.path() + ".2");
  CHECK(third.path() == first.path() + ".3");
  CHECK(read_file(first.path(), 100).size() == 40);
  CHECK_THAT(EventFile(folder.path).path(),
             Catch::Contains(text("events.out.tfevents.1")) || Catch::Contains("tfevents.2"));
  CHECK_THAT(error_of([&] { EventFile(folder.path, kNan); }), Catch::Contains("not a time of ten digits"));
  CHECK_THAT(error_of([&] { EventFile(folder.path, 1e10); }), Catch::Contains("not a time of ten digits"));
  write_file(folder / "file", "x");
  CHECK_THAT(error_of([&] { EventFile(folder / "file"); }), Catch::Contains("cannot make the folder"));
}

TEST_CASE("events: a disk that is full leaves whole records, and one with room again goes on") {
  const Scratch folder;
  EventFile events(folder.path, 5, "host");
  events.scalar(1, "loss", 1);
  const std::string before = read_file(events.path(), 1000);
  struct Full {  // no file of this process may grow beyond `bytes`
    rlimit old{};
    void (*old_handler)(int) = std::signal(SIGXFSZ, SIG_IGN);
    explicit Full(size_t bytes) {
      getrlimit(RLIMIT_FSIZE, &old);
      const rlimit small{bytes, old.rlim_max};
      setrlimit(RLIMIT_FSIZE, &small);
    }
    ~Full() {
      setrlimit(RLIMIT_FSIZE, &old);
      std::signal(SIGXFSZ, old_handler);
    }
  };
  std::string error;
  {
    const Full full(before.size() + 10);  // room for a piece of a record
    error = error_of([&] { events.scalar(2, "loss", 2); });
  }
  CHECK_THAT(error, Catch::Contains("cannot write " + events.path()));
  CHECK(read_file(events.path(), 1000) == before);
  events.scalar(3, "loss", 3);
  size_t torn;
  CHECK(records_of(read_file(events.path(), 1000), torn).size() == 3);
  CHECK(torn == 0);
}
