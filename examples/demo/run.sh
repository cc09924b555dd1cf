#!/usr/bin/env bash
# usage: examples/demo/run.sh [FOLDER]
# Proves one inference, verifies it in a second process, and shows a refusal. `proofml` must be on
# the PATH. Ends with 1 as soon as anything goes otherwise than it says here. FOLDER (.demo) takes
# the proof; it is absolute, or relative to the checkout.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=${1:-.demo}
mkdir -p "$folder"

model=examples/digits/digits_cnn.onnx
input=examples/digits/digit.npz
proof=$folder/digit.pml
nonce=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')

backend=${DEMO_BACKEND:-ezkl}
case $backend in
    ezkl)
        options=(--set srs=local-dev)
        policy=examples/demo/policy.toml
        shortcut=srs:local-dev
        ;;
    reexec)
        options=()
        policy=examples/demo/policy-reexec.toml
        shortcut=nonce:unauthenticated
        ;;
    *) echo "DEMO_BACKEND=$backend: expected ezkl or reexec" >&2; exit 2 ;;
esac

# expect CODE COMMAND...: run it, and stop unless it ends with CODE.
expect() {
    local wanted=$1 started=$SECONDS got=0
    shift
    printf '\n$ %s\n' "$*"
    "$@" || got=$?
    if [ "$got" -ne "$wanted" ]; then
        echo "demo: expected exit code $wanted, got $got" >&2
        exit 1
    fi
    printf '(exit code %d as expected, %d s)\n' "$got" "$((SECONDS - started))"
}

verify=(proofml verify "$proof" --model "$model" --input "$input" --nonce "$nonce" --policy "$policy")

echo "A model and who can prove it:"
expect 0 proofml inspect "$model"

printf '\nThe prover runs the model and writes a proof. The nonce is the verifier'"'"'s challenge:\n'
expect 0 proofml prove "$model" "$input" -b "$backend" "${options[@]}" --nonce "$nonce" -o "$proof" --force

printf '\nThe verifier, another process, holds the model, the input, the nonce and a policy. It accepts\n'
printf '%s by name:\n' "$shortcut"
expect 0 "${verify[@]}" --allow "$shortcut"

printf '\nWithout that permission the same proof is refused:\n'
expect 3 "${verify[@]}"

printf '\ndemo: every step ended as expected\n'
