#!/usr/bin/env bash
# The matrix of CDS Hooks requirements: every number stands in it once, and every test that it names is there and runs.
set -uo pipefail
cd "$(dirname "$0")/../.."
matrix=tests/conformance/cds-hooks-2.0.tsv
bad=0

complain() {
    printf '%s: %s\n' "$matrix" "$1"
    bad=1
}

numbers() { # the numbers of the list that are duties of a service
    for range in 1-14 16 27-29 34-36 52 54-61 74-78 80-85 87-90 92-96 98-100 103-113 115-125 127-136 138-142 144-148 \
        168 175-177 179 195 199-201 203 205-208 210-220; do
        seq "${range%-*}" "${range#*-}"
    done
}

rows() {
    grep -v '^#' "$matrix" | tail -n +2
}

is_there() { # is_there FILE NAME: as a test of cmocka, or as a function of a benchmark
    case $1 in
    tests/bench/*) grep -qE "^(static )?(int|void) $2\(" "$1" ;;
    *) grep -qE "(cmocka_unit_test|TEST)\($2\)" "$1" ;;
    esac
}

difference=$(diff <(numbers | sort -n) <(rows | cut -f 1 | sort -n))
[ -z "$difference" ] || complain "numbers that are missing (<) or too much (>):"$'\n'"$difference"
list=../shared/data/cds-hooks/service-requirements-2.0.tsv
if [ -f "$list" ]; then
    difference=$(diff <(cut -f 1 "$list" | sort -n) <(rows | cut -f 1 | sort -n))
    [ -z "$difference" ] || complain "not the numbers of the list:"$'\n'"$difference"
fi

while IFS=$'\t' read -r number kind places words; do
    case $kind in
    test | bench) [ "$places" != - ] || complain "$number: names no test" ;;
    unused | client | site) ;;
    *) complain "$number: '$kind' is no kind" ;;
    esac
    [ -n "$words" ] || complain "$number: says nothing"
    [ "$places" != - ] || continue
    for place in $places; do
        [ -f "${place%#*}" ] && is_there "${place%#*}" "${place#*#}" || complain "$number: there is no test $place"
    done
done < <(rows)

printf '%d requirements:' "$(rows | wc -l)"
rows | cut -f 2 | sort | uniq -c | sort -rn | awk '{ printf " %s %s", $1, $2 } END { print "" }'
exit $bad
