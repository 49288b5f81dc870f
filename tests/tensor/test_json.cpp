// JSON: what is read, what is refused and where, and that text survives being read and written.
#include "tensor/io/json.h"

#include <cmath>

#include "tests/testing.h"

using namespace acinus;
using Catch::Contains;

static std::string again(const std::string& json) { return to_text(parse_json(json)); }

TEST_CASE("json: what is read and written again is the same text") {
  for (const std::string same :
       {"null", "true", "false", "0", "-12", "9223372036854775807", "0.1", "-0.0", "1e-05", "1e+300", "[]", "{}",
        R"("")", R"("é😀 / ~")", R"("\"\\\b\f\n\r\t\u001f")", R"({"b":[1,[2.5,{}]],"a":{"":null}})"})
    CHECK(again(same) == same);
  CHECK(again(" { \"a\" :\t[ 1 , 2 ] }\r\n") == R"({"a":[1,2]})");
  CHECK(again(R"("\u00e9\ud83d\ude00\/")") == R"("é😀/")");
  CHECK(again("[1E2, 1.0, 9223372036854775808, 18446744073709551616]") ==
        "[100.0,1.0,9.223372036854776e+18,1.8446744073709552e+19]");  // reals stay reals
  CHECK(to_text(Json{{"a", std::vector{1, 2}}, {"b", Json::Object()}}, 2) ==
        "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {}\n}");
  CHECK(to_text(Json::List{NAN, INFINITY}) == "[null,null]");
}

TEST_CASE("json: what is not JSON is refused, with its place") {
  for (const char* bad : {"",
                          " ",
                          "nul",
                          "truex",
                          "01",
                          "+1",
                          "1.",
                          ".5",
                          "1e",
                          "- 1",
                          "[1,]",
                          "[1 2]",
                          "[",
                          "]",
                          "{1:2}",
                          "{\"a\"}",
                          "{\"a\":}",
                          "{\"a\":1,}",
                          "\"a",
                          "\"\\x\"",
                          "\"\\u12g4\"",
                          "\"\\ud800\"",
                          "\"\\udc00\"",
                          "\"\\ud800\\u0041\"",
                          "\"\n\"",
                          "\"\xff\"",
                          "\"\xc0\x80\"",
                          "\"\xed\xa0\x80\"",
                          "\"\xf4\x90\x80\x80\"",
                          "'a'",
                          "1 2",
                          "NaN",
                          "1e999"}) {
    INFO(bad);
    CHECK_THROWS_AS(parse_json(bad), JsonError);
  }
  CHECK_THROWS_WITH(parse_json("{\"a\": 1,\n \"b\": x}"), Contains("line 2, column 7: syntax error"));
  CHECK_THROWS_WITH(parse_json(R"({"a":1,"a":2})"), "line 1, column 10: the name \"a\" occurs twice");
  CHECK_THROWS_WITH(parse_json({"{}\n\0}", 5}), "line 2, column 1: a byte of value 0");
  CHECK_THROWS_WITH(parse_json("[\n 1e999]"), "line 2, column 6: a number that double cannot hold");
  CHECK_NOTHROW(parse_json("[[[[[[[[0]]]]]]]]"));
  CHECK_THROWS_WITH(parse_json("[[[[[[[[[0]]]]]]]]]"), "line 1, column 9: nested too deeply");
  CHECK_THROWS_WITH(to_text("\xff"), Contains("not in UTF-8"));
}

TEST_CASE("json: values are had as what they are, or the message says what there is") {
  Json j = parse_json(R"({"n": 3, "x": 2.5, "list": [1, 2], "map": {"a": "b"}})");
  CHECK(j.at("n").as<int>() == 3);
  CHECK(j.at("n").as<double>() == 3);
  CHECK(j.at("list").as<std::array<int64_t, 2>>() == std::array<int64_t, 2>{1, 2});
  CHECK(j.at("map").as<std::map<std::string, std::string>>() == std::map<std::string, std::string>{{"a", "b"}});
  CHECK_THROWS_WITH(j.at("x").as<int>(), "2.5 is not a whole number");
  CHECK_THROWS_WITH(j.at("list").as<std::string>(), "[1,2] is not a text");
  CHECK_THROWS_WITH((j.at("list").as<std::array<int, 3>>()), "2 values instead of 3");
  CHECK_THROWS_WITH(j.at("none"), "\"none\" is missing");
  CHECK_THROWS_WITH(j.at("n").at("x"), "3 is not an object");
  CHECK(j.find("none") == nullptr);
  j.path("map.deep.er") = true;
  CHECK(to_text(std::as_const(j).path("map")) == R"({"a":"b","deep":{"er":true}})");
  const uint64_t large = 0xfedcba9876543210;  // a hash keeps its bits, as a negative number
  CHECK(parse_json(to_text(large)).as<uint64_t>() == large);
}
