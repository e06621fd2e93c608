#!/usr/bin/env bash
# Makes of a wheel's binary what is downloaded by hand: with completions, pages for man, what editors take, and the licences.
#
#   scripts/archive.sh WHEEL TARGET DIR
set -euo pipefail
[ $# = 3 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }
wheel=$1 target=$2 out=$3
root=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -1)
name=vitx-$version-$target
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python=$(command -v python3 || command -v python)
"$python" -m zipfile -e "$wheel" "$folder/wheel"
mkdir -p "$folder/$name/completions" "$out"
cp "$folder/wheel/vitx-$version.data/scripts/"vitx* "$folder/$name/"
chmod 755 "$folder/$name/"vitx*
vitx=$(echo "$folder/$name/"vitx*)
for shell in bash zsh fish powershell; do
    "$vitx" completions "$shell" >"$folder/$name/completions/vitx.$shell"
done
"$vitx" man "$folder/$name/man1" >/dev/null
cp -r "$root/editors" "$root/README.md" "$root/CHANGELOG.md" "$root/LICENSE-MIT" "$root/LICENSE-APACHE" "$folder/$name/"
case $target in
    *windows*) (cd "$folder" && "$python" -m zipfile -c "$name.zip" "$name") && mv "$folder/$name.zip" "$out/" ;;
    *) tar -C "$folder" -czf "$out/$name.tar.gz" "$name" ;;
esac
ls -l "$out"
