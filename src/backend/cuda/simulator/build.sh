#!/bin/sh
# build.sh FOLDER: the libraries that stand in for NVIDIA's where there is no device, for LD_LIBRARY_PATH.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
for library in driver:cuda nvrtc:nvrtc cublaslt:cublasLt; do
    "${CXX:-c++}" -std=c++17 -O2 -Wall -Wextra -Wno-missing-field-initializers -shared -fPIC "-DEMULATOR=\"$here/../emulator\"" \
        -o "$1/lib${library#*:}.so" "$here/${library%%:*}.cpp" -ldl
done
