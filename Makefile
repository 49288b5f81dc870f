# make            the library and the programs (./train, ./predict, ./phantom); says first what it found
# make test       builds and runs every test          make asan    the same under address + undefined sanitizers
# make bench      measures, and writes the tables     make lines   counts lines by folder
# make install    PREFIX=/usr/local                   make clean   removes what make made (not third_party/, not runs/)
#
# Overridable: CXX=clang++   OPENMP=0   ARCH=-march=x86-64-v3   BUILD=build   V=1 (show the commands)

# -O3 without -ffast-math: that would change sigmoid and Dice near 0 and switch off the checks for NaN.
CXX      ?= g++
BUILD    ?= build
ARCH     ?= -march=native
OPT      ?= -O3
PREFIX   ?= /usr/local
PROGRAMS := train predict phantom
TOOLS    := check_reference check_metaimage

ifeq ($(origin CXX),default)
CXX := $(shell command -v g++ >/dev/null 2>&1 && echo g++ || echo clang++)
endif
MAKEFLAGS += --no-print-directory
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
endif
Q := $(if $(V),,@)

# Third-party headers: found or fetched by get.sh, which leaves flags.mk behind.
ifeq ($(filter clean lines,$(MAKECMDGOALS)),)
include third_party/root/flags.mk
endif

OPENMP ?= $(shell echo 'int main(){}' | $(CXX) -fopenmp -x c++ - -o /dev/null >/dev/null 2>&1 && echo 1 || echo 0)
override CXXFLAGS += -std=c++20 $(OPT) $(ARCH) -Wall -Wextra -I. $(THIRD_PARTY_FLAGS) $(SANITIZE) -MMD -MP
ifeq ($(OPENMP),1)
override CXXFLAGS += -fopenmp
else
override CXXFLAGS += -Wno-unknown-pragmas
endif
LIBS := $(ZLIB) -lpthread

LIBRARY  := $(BUILD)/libacinus.a
SOURCES  := $(wildcard tensor/*.cpp tensor/*.cu tensor/ops/*.cu nn/*.cpp optim/*.cu data/*.cpp)
OBJECTS  := $(SOURCES:%=$(BUILD)/%.o)
APP_OBJECTS := $(patsubst %,$(BUILD)/%.o,$(filter-out $(PROGRAMS:%=apps/%.cpp),$(wildcard apps/*.cpp)))
TESTS    := $(filter-out $(TOOLS:%=tests/%.cpp),$(wildcard tests/*.cpp))

.PHONY: all tools test bench lines asan clean install banner
all: banner $(PROGRAMS)
tools: $(TOOLS:%=$(BUILD)/%)

banner:
	@echo "acinus: $$($(CXX) --version | head -n 1), $(OPT) $(ARCH)"
	@$(if $(filter 1,$(OPENMP)),echo "  ✓ OpenMP",echo "  ✗ OpenMP not found: one thread (clang needs libomp-dev)")

third_party/root/flags.mk: third_party/get.sh
	@CXX="$(CXX)" third_party/get.sh

# A .cu file is C++ here: compiled as such until a CUDA compiler takes it.
$(BUILD)/%.cu.o: %.cu | third_party/root/flags.mk
	@mkdir -p $(@D) && echo "  c++ $<"
	$(Q)$(CXX) $(CXXFLAGS) -x c++ -c $< -o $@

$(BUILD)/%.cpp.o: %.cpp | third_party/root/flags.mk
	@mkdir -p $(@D) && echo "  c++ $<"
	$(Q)$(CXX) $(CXXFLAGS) -c $< -o $@

$(LIBRARY): $(OBJECTS)
	$(Q)rm -f $@ && ar rcs $@ $^

$(PROGRAMS): %: $(BUILD)/apps/%.cpp.o $(APP_OBJECTS) $(LIBRARY)
	$(Q)$(CXX) $(CXXFLAGS) $^ $(LIBS) -o $@

$(TOOLS:%=$(BUILD)/%): $(BUILD)/%: $(BUILD)/tests/%.cpp.o $(LIBRARY)
	$(Q)$(CXX) $(CXXFLAGS) $^ $(LIBS) -o $@

$(BUILD)/run_tests: $(TESTS:%=$(BUILD)/%.o) $(LIBRARY)
	$(Q)$(CXX) $(CXXFLAGS) $^ $(LIBS) -o $@

test: $(BUILD)/run_tests tools
	$(BUILD)/run_tests

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
