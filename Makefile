# The commands of the README. Everything else is CMake: see CMakePresets.json.
BUILD := build/release
BITSMITH := $(BUILD)/bin/bitsmith

.PHONY: all setup build test demo clean

all: build

setup:
	@scripts/setup.sh

build: setup
	@[ -f $(BUILD)/build.ninja ] || cmake --preset release
	@cmake --build $(BUILD)

test: build
	@ctest --test-dir $(BUILD) --output-on-failure -j 2

demo: build
	@scripts/demo.sh $(BITSMITH)

clean:
	rm -rf build out
