#!/usr/bin/env bash
# Installs a wheel into a new environment and runs the README's quick start with it, in an empty folder.
#
#   scripts/wheel_check.sh WHEEL
set -euo pipefail
[ $# = 1 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }
wheel=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python=$(command -v python3 || command -v python)
"$python" -m venv venv
bin=$folder/venv/bin
[ -d "$bin" ] || bin=$folder/venv/Scripts
"$bin/python" -m pip install --quiet --disable-pip-version-check --no-index "$wheel"
# Nothing of the environment is needed but the binary.
vitx=$bin/vitx
"$vitx" --version

"$vitx" new first
cd first
"$vitx" check
"$vitx" run | tee log
accuracy=$(sed -n 's/^Test accuracy: \([0-9.]*\)%.*$/\1/p' log | tr -d '\r')
awk -v accuracy="$accuracy" 'BEGIN { exit !(accuracy >= 95) }' || { echo "a test accuracy of $accuracy% is too low" >&2; exit 1; }
cd ..
"$vitx" run digits_vit --set train.epochs=1 >/dev/null
"$vitx" experiments --format json | "$bin/python" -c 'import json, sys; assert len(json.load(sys.stdin)) > 10'
"$vitx" summary cifar100_vit | grep 'Total parameters: 21,759,012'
"$vitx" completions bash >completion
grep -q _vitx completion
"$vitx" man man1 >/dev/null
test -f man1/vitx-run.1
echo "the wheel does what the README says"
