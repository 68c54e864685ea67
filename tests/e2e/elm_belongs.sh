#!/usr/bin/env bash
# elm_belongs.sh OSTEOGUARD: the content's ELM belongs to its CQL, and content in which it does not is refused.
set -uo pipefail
cd "$(dirname "$0")/../.."
osteoguard=$1
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r rules/content/. "$copy"

"$osteoguard" test --content "$copy" >"$copy/out" 2>&1 || { tail -n 20 "$copy/out"; echo "the content as it stands is refused"; exit 1; }

cql=$(ls "$copy"/*.cql | head -n 1)
printf '\n// a change that nobody translated\n' >>"$cql"
if "$osteoguard" test --content "$copy" >"$copy/out" 2>&1; then
    echo "a changed ${cql##*/} beside its old ELM was accepted"
    exit 1
fi
grep -q "${cql##*/}" "$copy/out" || { cat "$copy/out"; echo "the refusal does not name ${cql##*/}"; exit 1; }

cp "rules/content/${cql##*/}" "$cql"
rm "$copy/elm/$(basename "$cql" .cql).json"
if "$osteoguard" test --content "$copy" >"$copy/out" 2>&1; then
    echo "a ${cql##*/} without ELM was accepted"
    exit 1
fi
exit 0
