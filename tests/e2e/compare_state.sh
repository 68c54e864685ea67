#!/usr/bin/env bash
# compare_state.sh EXPECTED.tsv PUSHED.ndjson: what must be open at the end is open, with its indicator, and nothing
# else is. Which cards came and went meanwhile depends on what was read together, on an EHR that fails, and on the
# freshness gate, and is not compared. Prints what differs.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
final=$(mktemp)
trap 'rm -f "$final"' EXIT
"$here/final_state.sh" "$2" >"$final" || exit 1
bad=0
differs=$(diff <(awk -F'\t' '$4 == "open"' "$1" | LC_ALL=C sort) <(awk -F'\t' '$4 == "open"' "$final") |
    sed -n 's/^</missing: /p; s/^>/unexpected: /p')
[ -z "$differs" ] || { echo "$differs"; bad=1; }
exit $bad
