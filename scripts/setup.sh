#!/usr/bin/env bash
# Installs everything that building and testing bitsmith needs, from Debian's packages.
# Does nothing when all of it is there. Needs root (or sudo) only when something is missing.
set -euo pipefail

packages=(
  # build
  g++ cmake ninja-build ccache pkg-config git make
  # what bitsmith is made of
  libtorch-dev libopenblas-openmp-dev libhwy-dev coinor-libcbc-dev
  libutf8proc-dev nlohmann-json3-dev libtoml11-dev libcli11-dev
  libfmt-dev libxxhash-dev zlib1g-dev libstb-dev
  # tests, benchmarks, checks
  libgtest-dev libgmock-dev libbenchmark-dev libonnx-testdata python3 python3-numpy python3-xxhash xz-utils
  clang-14 libclang-rt-14-dev clang-format clang-tidy
)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

echo "Installing: ${missing[*]}"
sudo=""
if [ "$(id -u)" -ne 0 ]; then sudo=sudo; fi
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
