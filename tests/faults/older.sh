#!/usr/bin/env bash
# older.sh DIR [COMMIT]: builds osteoguard as it was at an older commit of this very history, in DIR, and prints the path of
# the program. Without COMMIT: the one below. What is built already is taken as it is. Fails where the checkout has no
# history (a shallow clone).
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${1:?}
commit=${2:-9caa64f} # its stores have another form, and it knows nothing of cards that only a call has shown
program=$dir/build/release/daemon/osteoguard
full=$(git rev-parse --verify --quiet "$commit^{commit}") || { echo "older.sh: $commit is not in this checkout's history" >&2; exit 1; }
if [ ! -x "$program" ] || [ "$(cat "$dir/commit" 2>/dev/null)" != "$full" ]; then
    rm -rf "$dir"
    mkdir -p "$dir"
    git archive "$full" | tar -x -C "$dir"
    (cd "$dir" && cmake --preset release && cmake --build --preset release --target osteoguard) >"$dir/build.log" 2>&1 ||
        { echo "older.sh: $commit cannot be built, see $dir/build.log" >&2; exit 1; }
    echo "$full" >"$dir/commit"
fi
echo "$program"
