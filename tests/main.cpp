#define CATCH_CONFIG_MAIN
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>

// [n/m] and the name of the test that runs, in one line that ends blank; only on a terminal.
struct Progress : Catch::TestEventListenerBase {
  using TestEventListenerBase::TestEventListenerBase;
  const bool shown = isatty(STDERR_FILENO);
  size_t n = 0, count = filterTests(getAllTestCasesSorted(*m_config), m_config->testSpec(), *m_config).size();

  void testCaseStarting(const Catch::TestCaseInfo& test) override {
    if (shown) std::fprintf(stderr, "\r\033[K[%zu/%zu] %.60s", ++n, count, test.name.c_str());
  }
  void testCaseEnded(const Catch::TestCaseStats&) override {
    if (shown) std::fprintf(stderr, "\r\033[K");
  }
};
CATCH_REGISTER_LISTENER(Progress)
