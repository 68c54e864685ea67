#!/usr/bin/env bash
# cut_off.sh OSTEOGUARD: a command whose output the disk does not take says so, and does not end with 0.
set -uo pipefail
cd "$(dirname "$0")/../.."
osteoguard=${1:?}
broken=0

tells() { # tells ARGUMENT...
    local said status=0
    said=$("$osteoguard" "$@" 2>&1 >/dev/full) || status=$?
    [ "$status" -eq 1 ] && [[ $said == *"standard output does not take all that is written"* ]] && return
    echo "$*: status $status: $said"
    broken=1
}

tells --help
tells check --options
tells cql rules/content/elm/CalciumRules.json --data-requirements
tells eval --content rules/content --as-of 2026-03-01 tests/fixtures/sample/stream.ndjson
exit "$broken"
