#!/usr/bin/env bash
# usage: examples/demo/run.sh [FOLDER]
# Proves one inference, verifies it in a second process, and shows a refusal. `proofml` must be on
# the PATH. Ends with 1 as soon as anything goes otherwise than it says here. FOLDER (.demo) takes
# the proof; it is absolute, or relative to the checkout. DEMO_BACKEND: sumcheck, ezkl or reexec.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=${1:-.demo}
mkdir -p "$folder"

input=examples/digits/digit.npz
proof=$folder/digit.pml

backend=${DEMO_BACKEND:-sumcheck}
case $backend in
    sumcheck)
        model=examples/digits/digits_cnn_int8.onnx
        ;;
    ezkl)
        model=examples/digits/digits_cnn.onnx
        options=(--set srs=local-dev)
        policy=examples/demo/policy.toml
        shortcut=srs:local-dev
        ;;
    reexec)
        model=examples/digits/digits_cnn.onnx
        options=()
        policy=examples/demo/policy-reexec.toml
        shortcut=nonce:unauthenticated
        ;;
    *) echo "DEMO_BACKEND=$backend: expected sumcheck, ezkl or reexec" >&2; exit 2 ;;
esac

challenge() {
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

now() {
    local microseconds=${EPOCHREALTIME/[.,]/}
    echo $((microseconds / 1000))
}

# expect CODE COMMAND...: run it, and stop unless it ends with CODE.
expect() {
    local wanted=$1 started took got=0
    started=$(now)
    shift
    printf '\n$ %s\n' "$*"
    "$@" || got=$?
    if [ "$got" -ne "$wanted" ]; then
        echo "demo: expected exit code $wanted, got $got" >&2
        exit 1
    fi
    took=$(($(now) - started))
    printf '(exit code %d as expected, %d.%03d s)\n' "$got" $((took / 1000)) $((took % 1000))
}

nonce=$(challenge)
verify=(proofml verify "$proof" --model "$model" --input "$input")

echo "A model and who can prove it:"
expect 0 proofml inspect "$model"

if [ "$backend" = sumcheck ]; then
    printf '\nOnce a model: compile it to integers and commit to its weights. There is no secret.\n'
    expect 0 proofml setup "$model" -b sumcheck

    printf '\nThe prover runs the model and writes a proof. The nonce is the verifier'"'"'s challenge:\n'
    expect 0 proofml prove "$model" "$input" --nonce "$nonce" -o "$proof" --force

    printf '\nThe verifier, another process, holds the model, the input and the nonce. The default\n'
    printf 'policy takes it: no shortcut was taken.\n'
    expect 0 "${verify[@]}" --nonce "$nonce"

    printf '\nThe same proof is no answer to another challenge:\n'
    expect 1 "${verify[@]}" --nonce "$(challenge)"
else
    printf '\nThe prover runs the model and writes a proof. The nonce is the verifier'"'"'s challenge:\n'
    expect 0 proofml prove "$model" "$input" -b "$backend" "${options[@]}" --nonce "$nonce" \
        -o "$proof" --force

    printf '\nThe verifier, another process, holds the model, the input, the nonce and a policy. It\n'
    printf 'accepts %s by name:\n' "$shortcut"
    verify+=(--nonce "$nonce" --policy "$policy")
    expect 0 "${verify[@]}" --allow "$shortcut"

    printf '\nWithout that permission the same proof is refused:\n'
    expect 3 "${verify[@]}"
fi

printf '\ndemo: every step ended as expected\n'
