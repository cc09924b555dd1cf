#!/bin/sh
# The kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer:
#   tools/sanitize.sh [pytest arguments]      (default: tests/kernels)
# Builds the library anew into a folder of its own, and hands it to the tests through
# PROOFML_TEST_KERNELS. Any report ends the run with an error. PYTHON and CC may be set.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
export CC="${CC:-gcc}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tools/build_kernels.sh "$folder/kernels.so" -g -O1 -fno-omit-frame-pointer \
    -fsanitize=address,undefined -fno-sanitize-recover=all
# Python itself does not free all it has at the end, hence no leak check.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
export PROOFML_TEST_KERNELS="$folder/kernels.so"
[ $# -gt 0 ] || set -- tests/kernels
# -s: a report goes to stderr, which must not be captured when the process ends.
LD_PRELOAD="$($CC -print-file-name=libasan.so) $($CC -print-file-name=libubsan.so)" \
    "$python" -m pytest -q -s -p no:cacheprovider "$@"
