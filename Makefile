# make            the library and the programs (./train, ./predict, ./evaluate, ./prepare, ./doctor, ./phantom); says first what it found
# make test       builds and runs every test          make asan    all but the slow ones under address + undefined sanitizers
#                 ONLY="ops:*" some of the unit tests, by name or tag (Catch2); PARTS="gpu train" some of tests/programs/
#                 test-units, test-references and test-programs are its parts
# make bench      times it, beside PyTorch and others where PYTHON=python3 has them; README=1 writes the table into README.md
# make bench-read times reading scans, beside dd and zlib
# make fuzz       feeds the readers damaged files, FUZZ_SECONDS=60 for each (needs clang++)
# make install    PREFIX=/usr/local (and DESTDIR=)    make lines   counts lines by folder
# make clean      removes what make made (not third_party/, not runs/)
#
# The GPU: where CUDA's compiler, nvcc, is found, kernels are built for the GPUs of this machine, or where there are
# none for every generation that it knows; the programs also run where there is no GPU. CUDA=0 leaves it out. EMULATE=1 builds the
# kernels for the CPU instead, for tests without a GPU (tensor/cuda/emulate.h), in build/emulate: make test EMULATE=1
#
# Overridable: CXX=clang++   OPENMP=0   ARCH=-march=x86-64-v3   OPT=-O1   CXXFLAGS=-Werror   V=1 (show the commands)
#              PCH=0 (no precompiled headers; they are left out where CXX says ccache, which keeps objects better without)
#              NVCC=/opt/cuda/bin/nvcc   CUDA_ARCH=sm_86   PTXAS="-Xptxas -v" (registers and spills of each kernel)
# BUILD=build is the folder of the objects. The programs of any other folder stay in it: make BUILD=build/clang CXX=clang++

BUILD     ?= $(if $(filter 1,$(EMULATE)),build/emulate,build)
PREFIX    ?= /usr/local
PROGRAMS  := train predict evaluate prepare doctor phantom tiny
CHECKS    := check_reference check_metaimage
BENCHES    = step conv read gpu $(if $(NVCC)$(filter 1,$(EMULATE)),sweep)
# Cases of the same kind that lie beside the project on some machines; tested where they are there.
REFERENCE ?= ../shared/reference
METAIMAGE ?= ../shared/metaimage

ifeq ($(origin CXX),default)
CXX := $(shell command -v g++ >/dev/null 2>&1 && echo g++ || echo clang++)
endif
# All cores, unless -j says otherwise or another make has started this one.
ifeq ($(MAKELEVEL),0)
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
endif
endif
MAKEFLAGS += --no-print-directory
# [n/m] before each file: a recipe is expanded when its turn comes, so n counts them; m says a second make, asked what it would
# compile (-n) once there is something to compile.
step = $(eval N += x)[$(words $(N))/$(M)]
M = $(eval M := $(shell $(MAKE) -n $(MAKECMDGOALS) $(MAKEOVERRIDES) OPENMP=$(OPENMP) ARCH='$(ARCH)' COUNT=1 M=0 2>/dev/null | grep -c 'echo "\['))$(M)
Q := $(if $(V),,@)
comma := ,

# ---- what there is: third-party headers, OpenMP, -march=native

ifeq ($(filter clean lines,$(MAKECMDGOALS)),)
# Found or fetched by get.sh, which leaves the flags behind in this file.
include third_party/root/flags.mk

VERSION := $(shell $(CXX) --version | head -n 1)
BY_CLANG := $(findstring clang,$(VERSION))
# Can the compiler make a program with these flags? 1 or 0
try = $(shell t=$$(mktemp) && echo 'int main() {}' | $(CXX) $(1) -x c++ - -o $$t >/dev/null 2>&1 && echo 1 || echo 0; rm -f $$t)
ifeq ($(origin OPENMP),undefined)
OPENMP := $(call try,-fopenmp -include omp.h)
endif
ifneq ($(filter 1,$(EMULATE))$(filter 0,$(CUDA)),)
override NVCC :=
else ifeq ($(origin NVCC),undefined)
NVCC := $(shell command -v nvcc 2>/dev/null || ls /usr/local/cuda/bin/nvcc /opt/cuda/bin/nvcc 2>/dev/null | head -n 1)
endif
ifneq ($(NVCC),)
NVCC_VERSION := $(shell $(NVCC) --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
CUDA_HOME := $(patsubst %/bin/nvcc,%,$(realpath $(NVCC)))
CUDA_LIB := $(firstword $(dir $(wildcard $(addsuffix /libcudart_static.a,$(CUDA_HOME)/lib64 $(CUDA_HOME)/lib \
              $(CUDA_HOME)/targets/*/lib /usr/lib/*))))
CUDA_LINK := -L$(or $(CUDA_LIB),.) -lcudart_static -lpthread -ldl -lrt
# Does it work, with this C++ compiler? (Each CUDA takes C++ compilers up to some version.) Asked once, and kept.
NVCC_PROBLEM := $(shell mkdir -p $(BUILD) && k='$(NVCC) $(NVCC_VERSION) $(VERSION) $(CUDA_LINK)' && f=$(BUILD)/nvcc_tried && \
  { [ "$$(head -n 1 $$f 2>/dev/null)" = "$$k" ] || { t=$$(mktemp -d) && echo 'int main() { return cudaSetDevice(0); }' >$$t/try.cu && \
    { $(NVCC) -std=c++17 -ccbin $(CXX) -c $$t/try.cu -o $$t/try.o && $(CXX) $$t/try.o $(CUDA_LINK) -o $$t/try; } >$$t/log 2>&1; \
    code=$$?; { echo "$$k"; [ $$code = 0 ] || { grep -m 1 -i error $$t/log || echo failed; }; } >$$f; rm -rf $$t; }; }; \
  tail -n +2 $$f)
ifneq ($(NVCC_PROBLEM),)
override NVCC :=
endif
endif
ifneq ($(NVCC),)
GPUS := $(shell nvidia-smi --query-gpu=name,compute_cap --format=csv,noheader 2>/dev/null)
ifeq ($(origin CUDA_ARCH),undefined)
CUDA_ARCH := $(if $(GPUS),native,all-major)
endif
# Some files are for Hopper only, and for its own instructions nvcc must compile them for sm_90a alone (CUDA 12 and later).
HOPPER := $(if $(filter-out 11.%,$(NVCC_VERSION)),$(filter all all-major sm_90 sm_90a,$(CUDA_ARCH))$(if \
            $(filter native,$(CUDA_ARCH)),$(findstring $(comma) 9.0,$(GPUS))))
endif
ifeq ($(origin ARCH),undefined)
ARCH := $(if $(filter 1,$(call try,-march=native)),-march=native)
endif
endif

# ---- flags

# -O3 without -ffast-math: that would change sigmoid and Dice near 0 and switch off the checks for NaN.
OPT ?= -O3
# These read and write text, or only call the others: at -O3 they would compile a good deal longer for nothing.
READERS := $(wildcard data/formats/*.cpp) data/volume/image.cpp data/scoring/candidates_csv.cpp tensor/io/safetensors.cpp
LIGHT  := $(wildcard apps/*.cpp apps/*/*.cpp tests/*.cpp tests/*/*.cpp nn/*.cpp) $(READERS) \
          $(filter-out %/scan.cpp,$(wildcard data/dataset/*.cpp)) data/scoring/froc.cpp data/scoring/matching.cpp \
          $(filter-out tensor/tensor.cpp,$(wildcard tensor/*.cpp tensor/io/*.cpp))
LIGHT_OPT ?= $(patsubst -O3,-O1,$(OPT))
OPT_OF  = $(if $(filter $(LIGHT),$<),$(LIGHT_OPT),$(OPT))

# sqrt of a negative number need not set errno, which would keep loops with square roots from being vectorised.
FLAGS := $(ARCH) -fno-math-errno -Wall -Wextra -I. $(THIRD_PARTY_FLAGS) $(SANITIZE)
FLAGS += $(if $(filter 1,$(OPENMP)),-fopenmp,-Wno-unknown-pragmas)
# clang warns of every `omp simd` loop that it does not vectorise, which is no fault in the loop.
FLAGS += $(if $(BY_CLANG),-Wno-pass-failed)
FLAGS += $(if $(filter 1,$(EMULATE)),-DACINUS_CUDA -DACINUS_EMULATE)$(if $(NVCC),-DACINUS_CUDA)
PCH   ?= $(if $(findstring ccache,$(CXX)),0,1)
# With precompiled headers g++ 12 warns of the standard library's own code, which it otherwise passes over.
FLAGS += $(if $(BY_CLANG)$(filter 0,$(PCH)),,-Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread)
FLAGS += $(CXXFLAGS)
LIBS := $(ZLIB) -lpthread $(if $(NVCC),$(CUDA_LINK))

# What nvcc hands on to $(CXX), which compiles what is not for the GPU.
ARCH_OF = $(if $(and $(HOPPER),$(filter %_hopper.cu,$<)),-gencode=arch=compute_90a$(comma)code=sm_90a -DACINUS_SM_90A,\
            -arch=$(CUDA_ARCH) $(if $(filter all%,$(CUDA_ARCH)),--threads 4))
NVCC_FLAGS = $(OPT_OF) -std=c++17 -ccbin $(CXX) $(ARCH_OF) -Wno-deprecated-gpu-targets $(PTXAS) -I. $(if $(findstring -Werror,$(CXXFLAGS)),-Werror all-warnings) \
             $(addprefix -Xcompiler ,$(filter-out -I. -isystem third_party/% /usr/%,$(FLAGS)))

# ---- files

SOURCES   := $(sort $(foreach room,tensor tensor/* tensor/*/* nn optim data/*,$(wildcard $(room)/*.cpp $(room)/*.cu)))
APPS      := $(wildcard apps/*.cpp apps/*/*.cpp)
TESTS     := $(wildcard tests/main.cpp tests/tensor/*.cpp tests/nn/*.cpp tests/data/*.cpp tests/apps/*.cpp)
# What every program needs besides its own file, and what run_tests is made of.
SHARED_APPS := $(filter-out $(PROGRAMS:%=apps/%.cpp),$(APPS))
CHECK_SOURCES := tests/tensor/check_reference.cpp tests/data/check_metaimage.cpp
UNIT_TESTS  := $(filter-out $(CHECK_SOURCES),$(TESTS))

LIBRARY  := $(BUILD)/libacinus.a
BIN      := $(if $(filter-out build,$(BUILD)),$(BUILD)/)

# ---- rules

.PHONY: all tests test test-units test-references test-programs benches bench bench-read asan fuzz fuzzers install lines clean banner
all: $(PROGRAMS:%=$(BIN)%)
tests: $(BUILD)/run_tests $(CHECKS:%=$(BUILD)/%)
benches: $(BENCHES:%=$(BUILD)/bench_%)

banner:
	@echo "acinus: $(VERSION), $(OPT) $(ARCH) $(SANITIZE)"
	@$(if $(filter 1,$(OPENMP)),echo "  ✓ OpenMP",echo "  ✗ no OpenMP: one thread (clang needs libomp-dev; g++ has it)")
	@$(if $(filter 1,$(EMULATE)),echo "  ✓ CUDA emulated on the CPU (EMULATE=1)",$(if $(NVCC),\
	  echo "  ✓ CUDA $(NVCC_VERSION) ($(NVCC))$(comma) for $(if $(filter native,$(CUDA_ARCH)),the GPUs here,$(CUDA_ARCH))",$(if $(filter 0,$(CUDA)),\
	  echo "  ✗ no GPU: CUDA=0",$(if $(NVCC_PROBLEM),echo "  ✗ no GPU: nvcc does not work here: "'$(subst ','"'"',$(NVCC_PROBLEM))',\
	  echo "  ✗ no GPU: CUDA's compiler nvcc is neither in the PATH nor in /usr/local/cuda"))))

third_party/root/flags.mk: third_party/get.sh
	@CXX="$(CXX)" sh third_party/get.sh

# Objects made with other flags, or by another compiler, must not be linked together: when this file's text changes,
# everything is compiled again.
$(BUILD)/flags: $(if $(COUNT),,banner)
	@mkdir -p $(@D); echo '$(CXX) $(VERSION) $(PCH) $(OPT) $(LIGHT_OPT) $(FLAGS) $(READERS_FLAGS) $(NVCC) $(NVCC_VERSION) $(CUDA_ARCH) $(GPUS)' >$@.$$$$; \
	 if cmp -s $@.$$$$ $@; then rm $@.$$$$; else mv $@.$$$$ $@; fi

# A .cu file is compiled by nvcc, or without it as C++. In C++17, which every nvcc understands; its standard headers
# also compile in half the time.
$(BUILD)/%.cu.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D) && echo "$(step) $(if $(NVCC),nvcc,c++) $<"
	$(Q)$(if $(NVCC),$(NVCC) $(NVCC_FLAGS) -MMD -MP -x cu,$(CXX) $(OPT_OF) -std=c++17 $(FLAGS) $(INCLUDED) -MMD -MP -x c++) -c $< -o $@

$(BUILD)/%.cpp.o: %.cpp $(BUILD)/flags
	@mkdir -p $(@D) && echo "$(step) c++ $<"
	$(Q)$(CXX) $(OPT_OF) -std=c++20 $(FLAGS) $(INCLUDED) $(if $(filter $(READERS) tests/fuzz/%,$<),$(READERS_FLAGS)) -MMD -MP -c $< -o $@

# Reading the standard library's headers takes longer than compiling most files. So those in dev/std.h are precompiled, once for
# each set of flags, for the tests with Catch2's, and come first in every file (-include).
ifneq ($(PCH),0)
STD_cu    = $(OPT) -std=c++17
STD_hot   = $(OPT) -std=c++20
STD_light = $(LIGHT_OPT) -std=c++20
STD_tests = $(STD_light) -include catch2/catch.hpp
BARE := tests/main.cpp tests/fuzz/% $(if $(READERS_FLAGS),$(READERS))  # their flags, or what they define, are others
CPP  := $(filter-out $(BARE),$(filter %.cpp,$(SOURCES) $(APPS) $(TESTS) $(BENCHES:%=dev/bench/%.cpp)))
objects = $(patsubst %,$(BUILD)/%.o,$(1))
$(if $(NVCC),,$(call objects,$(filter %.cu,$(SOURCES)))): $(BUILD)/std/cu.h.gch
$(call objects,$(filter-out $(LIGHT),$(CPP))): $(BUILD)/std/hot.h.gch
$(call objects,$(filter-out tests/%,$(filter $(LIGHT),$(CPP)))): $(BUILD)/std/light.h.gch
$(call objects,$(filter tests/%,$(CPP))): $(BUILD)/std/tests.h.gch
$(BUILD)/std/%.h.gch: dev/std.h $(BUILD)/flags
	@mkdir -p $(@D) && cp $< $(@:.gch=) && echo "$(step) c++ $< ($*)"
	$(Q)$(CXX) $(STD_$*) $(FLAGS) -MD -MP -MT $@ -MF $(@:.gch=.d) -x c++-header $(@:.gch=) -o $@
endif
INCLUDED = $(patsubst %.gch,-include %,$(filter %.gch,$^))

$(LIBRARY): $(SOURCES:%=$(BUILD)/%.o)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

LINK = $(Q)$(CXX) $(FLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

$(PROGRAMS:%=$(BIN)%): $(BIN)%: $(BUILD)/apps/%.cpp.o $(SHARED_APPS:%=$(BUILD)/%.o) $(LIBRARY)
	$(LINK)

$(BUILD)/check_reference: $(BUILD)/tests/tensor/check_reference.cpp.o $(LIBRARY)
	$(LINK)
$(BUILD)/check_metaimage: $(BUILD)/tests/data/check_metaimage.cpp.o $(LIBRARY)
	$(LINK)

$(BUILD)/run_tests: $(UNIT_TESTS:%=$(BUILD)/%.o) $(SHARED_APPS:%=$(BUILD)/%.o) $(LIBRARY)
	$(LINK)

run_units = $(BUILD)/run_tests $(if $(ONLY),"$(ONLY)")
# The reference cases run on the CPU, and on the GPU if there is one, or one that is emulated.
DEVICES = cpu $(if $(filter 1,$(EMULATE))$(if $(NVCC),$(GPUS)),cuda)
define run_references
	@for cases in tests/cases $(REFERENCE); do for device in $(DEVICES); do \
	  if [ -d $$cases ]; then echo "$(BUILD)/check_reference $$cases $$device"; $(BUILD)/check_reference $$cases $$device || exit 1; fi; \
	done; done
	@if [ -d $(METAIMAGE) ]; then echo "$(BUILD)/check_metaimage $(METAIMAGE)"; $(BUILD)/check_metaimage $(METAIMAGE); fi
endef
define run_programs
	@if [ -f tests/test_programs.sh ]; then echo "tests/test_programs.sh"; bash tests/test_programs.sh $(or $(BIN),.) $(PARTS); fi
endef
test: all tests
	$(run_units)
	$(run_references)
	$(run_programs)
test-units: tests
	$(run_units)
test-references: tests
	$(run_references)
test-programs: all
	$(run_programs)

$(BENCHES:%=$(BUILD)/bench_%): $(BUILD)/bench_%: $(BUILD)/dev/bench/%.cpp.o $(SHARED_APPS:%=$(BUILD)/%.o) $(LIBRARY)
	$(LINK)

bench: $(BUILD)/bench_step $(BUILD)/bench_conv $(if $(wildcard /usr/include/dlib/dnn.h),$(BUILD)/bench_dlib)
	@BUILD=$(BUILD) CXX="$(CXX)" dev/bench/run.sh

# Where the machine has dlib. Its headers are of C++17, and not free of warnings.
$(BUILD)/bench_dlib: dev/bench/dlib.cpp $(BUILD)/flags
	@mkdir -p $(@D) && echo "  c++ $<"
	$(Q)$(CXX) $(OPT) -std=c++17 $(ARCH) -w $< -ldlib -llapack -lblas -o $@ || echo "  dlib does not work here, left out"

bench-read: $(BUILD)/bench_read
	@$<

# With the kernels emulated, whose accesses outside a tensor show here; but without the tests marked [slow],
# reference cases on the emulated GPU and programs that use it, which take minutes. ASAN=test-units is a part of it. Tests at -O0 are
# compiled in half the time. By clang++, the readers are made ready for fuzzing.
# g++'s -Wmaybe-uninitialized is wrong where it instruments code (its manual).
ASAN ?= test
asan:
	@NO_GPU=1 $(MAKE) $(ASAN) BUILD=$(BUILD)/asan EMULATE=1 DEVICES=cpu ONLY="$(or $(ONLY),~[slow])" OPT="-O1 -g1" LIGHT_OPT="-O0 -g1" \
	  READERS_FLAGS="$(if $(BY_CLANG),-O1 -fsanitize=fuzzer-no-link)" \
	  SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=undefined $(if $(BY_CLANG),,-Wno-maybe-uninitialized)"

# Fuzzing, see tests/fuzz/fuzz.h. What libFuzzer keeps stays in build/asan/corpus, a finding in build/asan/found.
FUZZERS := $(patsubst tests/fuzz/fuzz_%.cpp,%,$(wildcard tests/fuzz/fuzz_*.cpp))
FUZZ_SECONDS ?= 60
fuzz:
	@$(MAKE) asan CXX=clang++ OPENMP=0 ASAN=fuzzers
	@for name in $(FUZZERS); do sh tests/fuzz/run.sh $(BUILD)/asan $$name $(FUZZ_SECONDS) || exit 1; done

fuzzers: $(FUZZERS:%=$(BUILD)/fuzz_%) $(BUILD)/seeds
$(FUZZERS:%=$(BUILD)/fuzz_%): $(BUILD)/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.cpp.o $(LIBRARY)
	$(LINK) -fsanitize=fuzzer
$(BUILD)/seeds: $(BUILD)/tests/fuzz/seeds.cpp.o $(LIBRARY)
	$(LINK)

# find_package(acinus) comes with CMake's install (see CMakeLists.txt); this one is for a compiler called by hand.
# The programs' names are too plain for a shared folder: acinus-train, ...  A fetched zlib goes along.
TO = $(DESTDIR)$(PREFIX)
install: all
	@mkdir -p $(TO)/bin $(TO)/lib/acinus $(TO)/include/acinus
	@find tensor nn optim data -name '*.h' | tar cf - -T - | tar xf - -C $(TO)/include/acinus
	@for p in $(PROGRAMS); do cp $(BIN)$$p $(TO)/bin/acinus-$$p || exit 1; done
	@cp $(LIBRARY) $(TO)/lib/ $(if $(filter %.a,$(ZLIB)),&& cp $(ZLIB) $(TO)/lib/acinus/)
	@echo "installed. A program of yours:" $(CXX) -std=c++20 $(filter -fopenmp,$(FLAGS)) -I$(PREFIX)/include/acinus \
	  app.cpp $(PREFIX)/lib/libacinus.a $(if $(filter %.a,$(ZLIB)),$(PREFIX)/lib/acinus/libz.a,-lz) \
	  $(if $(NVCC),$(CUDA_LINK))

# The reading route of DEVELOPERS.md, and lines by folder.
ROUTE := tensor/tensor.h tensor/autograd.h tensor/autograd.cpp tensor/ops.h tensor/ops/sigmoid.cu tensor/for_each.h tensor/ops/conv2d.cu \
         tensor/conv/direct.cu nn/module.h nn/layers.h nn/unet.h nn/unet.cpp nn/loss.cpp optim/adam.cu apps/tiny.cpp
lines:
	@printf '%-10s %8s %8s %8s\n' folder headers sources lines
	@count() { find $$1 \( $$2 \) -exec cat {} + | wc -l; }; \
	  row() { h=$$(count "$$2" "-name *.h"); s=$$(count "$$2" "-name *.cpp -o -name *.cu"); printf '%-10s %8d %8d %8d\n' $$1 $$h $$s $$((h + s)); }; \
	  set -f; for d in tensor nn optim data apps; do row $$d $$d; done; row library "tensor nn optim"; row pipeline "data apps"; \
	  row together "tensor nn optim data apps"; row tests tests; row dev dev
	@echo "budgets: library 9000, pipeline 13500; reading route $$(cat $(ROUTE) | wc -l) of at most 1400"

clean:
	rm -rf $(BUILD) $(PROGRAMS:%=$(BIN)%)

-include $(wildcard $(BUILD)/std/*.d) $(patsubst %,$(BUILD)/%.d,$(SOURCES) $(APPS) $(TESTS) $(BENCHES:%=dev/bench/%.cpp) $(wildcard tests/fuzz/*.cpp))
