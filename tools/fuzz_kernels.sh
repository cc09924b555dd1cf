#!/bin/sh
# libFuzzer over the verifier's C kernels, with AddressSanitizer and UndefinedBehaviorSanitizer:
#   tools/fuzz_kernels.sh [libFuzzer arguments]        (default: -max_total_time=60)
# Needs clang with its runtime (Debian: clang, libclang-rt-14-dev). Ends with an error on a finding.
set -eu
cd "$(dirname "$0")/.."
folder=${FUZZ_FOLDER:-build/fuzz-kernels}
mkdir -p "$folder/corpus"
clang -std=c11 -g -O1 -fno-omit-frame-pointer -pthread \
    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    -fprofile-instr-generate -fcoverage-mapping \
    -o "$folder/fuzz" tests/fuzz/kernels_fuzz.c circuits/kernels/*.c
[ $# -gt 0 ] || set -- -max_total_time=60
LLVM_PROFILE_FILE="$folder/fuzz.profraw" "$folder/fuzz" -max_len=4096 "$@" "$folder/corpus"
if command -v llvm-profdata-14 >/dev/null; then
    llvm-profdata-14 merge -sparse "$folder/fuzz.profraw" -o "$folder/fuzz.profdata"
    llvm-cov-14 report "$folder/fuzz" -instr-profile="$folder/fuzz.profdata" \
        circuits/kernels/verify.c circuits/kernels/merkle.c circuits/kernels/transcript.c
fi
