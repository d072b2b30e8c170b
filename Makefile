# `make demo` and `make test` do everything, set-up included. See README.md.
BUILD := build/release
JOBS ?= $(shell nproc)
GAVEL := $(BUILD)/gavel

# The demo's model; gemma-3-270m is fetched only when it is named here (it has licence terms of its own).
MODEL ?= smollm2-135m-instruct
# What the demo trains: judge, or reward (a number for one answer, docs/reward.md).
TASK ?= judge

FUZZ_SECONDS ?= 60

.PHONY: build demo dist test lint format fuzz setup parquet clean
build: setup
	@test -f $(BUILD)/build.ninja || cmake --preset release > /dev/null
	@cmake --build $(BUILD) -j $(JOBS)

setup:
	@tools/setup.sh

# The module that reads Parquet, with the package whose libraries it needs.
parquet: setup
	@python3 tools/fetch_packages.py pyarrow
	@cmake --preset release > /dev/null
	@cmake --build $(BUILD) -j $(JOBS) --target gavel_parquet

# Trains on preferences of Gavel's own making, then judges one pair, and with TASK=reward puts three answers in order. Replaces
# the demo's last run.
demo: setup
	@test -f $(BUILD)/build.ninja || cmake --preset release > /dev/null
	@cmake --build $(BUILD) -j $(JOBS) --target gavel
	@$(GAVEL) demo --model $(MODEL) --task $(TASK)

# A wheel and a tarball for machines without a compiler, in dist/.
dist: setup
	@python3 tools/fetch_packages.py pyarrow
	@cmake --preset release > /dev/null
	@cmake --build $(BUILD) -j $(JOBS) --target gavel gavel_pmix gavel_parquet
	@python3 tools/make_dist.py --build $(BUILD)

test: build
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

# Format of all files, and clang-tidy on those that differ from the parent commit; `make format` mends the format.
lint: setup
	@tools/lint.py

format:
	@tools/lint.py --format

# Each fuzz target for so many seconds, with clang's libFuzzer (see docs/fuzzing.md).
fuzz: setup
	@tools/fuzz.py --seconds $(FUZZ_SECONDS)

clean:
	rm -rf build
