#!/usr/bin/env bash
# Installs or fetches all that a build needs and that is missing. Does nothing, offline, when all is there.
set -eu
cd "$(dirname "$0")/.."

packages="g++ cmake ninja-build ccache pkg-config python3-pip libfmt-dev libspdlog-dev libcli11-dev nlohmann-json3-dev
libsimdjson-dev libboost-dev libyaml-cpp-dev libpcre2-dev libonig-dev libicu-dev libdnnl-dev libhwy-dev libjemalloc-dev libisal-dev
libpmix-dev liblbfgs-dev libzstd-dev liblzma-dev
libssl-dev libcurl4-openssl-dev openmpi-bin libgtest-dev libgmock-dev libbenchmark-dev"

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }

missing=""
for package in $packages; do
  case $package in
    g++) command -v c++ >/dev/null || missing="$missing $package" ;;
    cmake) command -v cmake >/dev/null || missing="$missing $package" ;;
    python3-pip) python3 -m pip --version >/dev/null 2>&1 || missing="$missing $package" ;;
    *) installed "$package" || missing="$missing $package" ;;
  esac
done
if [ -n "$missing" ]; then
  as_root=""
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      as_root="sudo"
    else
      echo "error: these Debian packages are missing; install them and run this again:" >&2
      echo "  sudo apt-get update && sudo apt-get install -y$missing" >&2
      exit 1
    fi
  fi
  echo "installing Debian packages:$missing"
  $as_root apt-get update -qq
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null
fi
python3 tools/fetch_packages.py
