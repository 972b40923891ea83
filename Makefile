# The commands of the README. Everything else is CMake: see CMakePresets.json.
# CMAKE_ARGS: more options for CMake, as in  make test CMAKE_ARGS=-DBITSMITH_WERROR=ON
BUILD := build/release
BITSMITH := $(BUILD)/bin/bitsmith

.PHONY: all setup configure build test clients demo clean

all: build

setup:
	@scripts/setup.sh

configure: setup
	@{ [ -f $(BUILD)/build.ninja ] && [ -z '$(CMAKE_ARGS)' ]; } || cmake --preset release $(CMAKE_ARGS)

build: configure
	@cmake --build $(BUILD)

test: build
	@ctest --test-dir $(BUILD) --output-on-failure -j 2

# ONNX Runtime and llama.cpp from npm, for the tests that run our files in them; a gigabyte.
clients:
	@npm install --prefix tests --ignore-scripts --no-package-lock --no-audit --no-fund

demo: configure
	@cmake --build $(BUILD) --target bitsmith_cli bitsmith_compiler
	@scripts/demo.sh $(BITSMITH)

clean:
	rm -rf build out
