// train: trains a U-Net to find nodules, or a classifier to tell them from the U-Net's false positives. Without arguments
// it makes its own data; see README.md.
#include "apps/common/config.h"
#include "apps/training/tasks.h"

using namespace acinus;

int main(int argc, char** argv) {
  return run_program(argv, [&] {
    Config config;
    Settings settings("train",
                      "Trains a U-Net to find lung nodules. Without arguments on synthetic scans, which it makes.");
    add_settings(settings, config);
    if (!settings.parse(argc, argv)) return 0;
    check_config(config);
    check_task(config.task, settings.given());
    std::string command;
    for (int i = 0; i < argc; i++) command += std::string(i ? " " : "") + argv[i];
    note_signals();
    return (config.task == "classify" ? train_classifier : train_segmenter)(config, settings, command);
  });
}
