#!/usr/bin/env bash
# The table of faults: every number stands in it once, what it names is there, and it names every scenario there is.
set -uo pipefail
cd "$(dirname "$0")/../.."
table=tests/faults/table.tsv
bad=0

complain() {
    printf '%s: %s\n' "$table" "$1"
    bad=1
}

rows() {
    grep -v '^#' "$table" | tail -n +2
}

there() { # all that plays faults, as the table names it
    grep -oE '^    \{"[a-z-]+", ?' tests/faults/main.c | sed 's/.*{"/faults:/; s/".*//'
    grep -oE '^    "[0-9]+ +[a-z0-9_]+ ' tests/faults/over_kafka.sh | awk '{ print "kafka:" $2 }'
    grep -oE '"[a-z-]+"\)' daemon/crash.h | sed 's/"/crash:/; s/".*//'
    sed -n '/X(ERRAND/,/"errand"/p' daemon/crash.h | grep -oE '"errand"' | sed 's/"/crash:/; s/"//'
}

difference=$(diff <({ seq 30; seq -f 'C%g' 22; } | sort) <(rows | cut -f 1 | sort))
[ -z "$difference" ] || complain "numbers that are missing (<) or too much (>):"$'\n'"$difference"
difference=$(diff <(there | sort -u) <(rows | cut -f 3 | tr ' ' '\n' | grep -E '^[a-z]+:' | sort -u))
[ -z "$difference" ] || complain "scenarios that it does not name (<) or that are not there (>):"$'\n'"$difference"

while IFS=$'\t' read -r number state places words; do
    case $state in
    played | partly) [ "$places" != - ] || complain "$number: names nothing that plays it" ;;
    not) [ "$places" = - ] || complain "$number: names what plays it" ;;
    *) complain "$number: '$state' is no state" ;;
    esac
    [ -n "$words" ] || complain "$number: says nothing"
    for place in $places; do
        case $place in
        *#*) [ -f "${place%#*}" ] && grep -qE "cmocka_unit_test\(${place#*#}\)" "${place%#*}" || complain "$number: there is no test $place" ;;
        esac
    done
done < <(rows)

printf '%d faults:' "$(rows | wc -l)"
rows | cut -f 2 | sort | uniq -c | sort -rn | awk '{ printf " %s %s", $1, $2 } END { print "" }'
exit $bad
