# `make demo` and `make test` do everything, set-up included. See README.md.
BUILD := build/release
JOBS ?= $(shell nproc)

.PHONY: build demo test setup clean
build: setup
	@test -f $(BUILD)/build.ninja || cmake --preset release > /dev/null
	@cmake --build $(BUILD) -j $(JOBS)

setup:
	@tools/setup.sh

test: build
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

clean:
	rm -rf build
