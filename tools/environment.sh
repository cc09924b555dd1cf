#!/bin/sh
# usage: tools/environment.sh FOLDER PIP-ARGUMENT...
# Makes FOLDER a virtual environment (or keeps the one that is there) and installs what is named.
# The Python is the first of $PYTHON, python3, python3.13, python3.12, python3.11 that fits.
set -eu

folder=$1
shift

check='
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(10)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(11)
'

fits() {
    status=0
    "$1" -c "$check" >/dev/null 2>&1 || status=$?
    case $status in
        0) return 0 ;;
        10) tried="$tried
  $1: $("$1" --version 2>&1), expected 3.11 to 3.13" ;;
        11) tried="$tried
  $1: has no venv or ensurepip (Debian, Ubuntu: apt install python3-venv)" ;;
        *) tried="$tried
  $1: not found or does not start" ;;
    esac
    return 1
}

tried=
if ! fits "$folder/bin/python" || ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    tried=
    chosen=
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if fits "$name"; then
            chosen=$name
            break
        fi
    done
    if [ -z "$chosen" ]; then
        printf 'no fitting Python:%s\n' "$tried" >&2
        printf 'Install Python 3.11 to 3.13 with venv (Debian, Ubuntu: apt install python3-venv),\n' >&2
        printf 'or name one: make PYTHON=/path/to/python3 ...\n' >&2
        exit 1
    fi
    echo "==> $folder: new virtual environment, $("$chosen" --version)"
    "$chosen" -m venv --clear "$folder"
fi
echo "==> $folder: installing $*"
started=$(date +%s)
"$folder/bin/python" -m pip --disable-pip-version-check --no-input install --quiet "$@"
echo "==> $folder: ready after $(($(date +%s) - started)) s"
