#!/bin/sh
# Compile the C kernels without pip: tools/build_kernels.sh [OUTPUT.so] [more compiler flags...]
# `pip install -e .` does the same through setup.py; this is the short way while working on them.
set -eu
cd "$(dirname "$0")/.."
output=${1:-circuits/kernels/_native.abi3.so}
[ $# -gt 0 ] && shift
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
for source in circuits/kernels/*.c; do
    echo "$source"
done | xargs -P "$(nproc)" -I{} sh -c '
    "${CC:-cc}" -std=c11 -O3 -Wall -Wextra -Wshadow -fvisibility=hidden -fPIC -pthread "$@" \
        -c {} -o "$0/$(basename {}).o"' "$objects" "$@"
"${CC:-cc}" -shared -pthread "$@" -o "$objects/out.so" "$objects"/*.o
mv "$objects/out.so" "$output" # in one step: a process may have the old one loaded
