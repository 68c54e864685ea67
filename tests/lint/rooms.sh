#!/usr/bin/env bash
# The promises that a compiler does not keep for us: dependencies point down only, libraries know no clock,
# file or log, tests do not sleep, every header stands alone.
set -uo pipefail
cd "$(dirname "$0")/../.."
bad=0

complain() { # complain TEXT, lines on stdin
    local lines
    lines=$(cat)
    [ -z "$lines" ] && return
    printf '%s:\n%s\n' "$1" "$lines"
    bad=1
}

# room, then the rooms whose headers it must not include
upward() {
    local room=$1 pattern=$2
    grep -nE "^#include \"($pattern)" $(find "$room" -maxdepth 1 -name '*.[ch]') 2>/dev/null | complain "$room includes upward"
}
upward fhir/base 'fhir/[a-z_0-9]+\.h|rules/|connectors/|daemon/'
upward fhir 'rules/|connectors/|daemon/'
upward rules/cql 'rules/plan/|connectors/|daemon/'
upward rules/plan 'connectors/|daemon/'
upward connectors 'fhir/[a-z_0-9]+\.h|rules/|daemon/'

libraries=$(find fhir rules -name '*.[ch]' -not -path '*/content/*')
# shellcheck disable=SC2086
grep -nE '\b(fopen|open|time|gettimeofday|clock_gettime|localtime|localtime_r|getenv|fprintf|printf|syslog)\s*\(' $libraries |
    grep -vE ':\s*(/?\*|//)|".*\b(time|open)\s*\(' | complain "fhir/ and rules/ know no file, clock, environment or log"
# shellcheck disable=SC2086
grep -nE '#include <(uv|curl/|librdkafka/|microhttpd|lmdb)' $libraries | complain "fhir/ and rules/ know no network and no store"
grep -nE '#include "(fhir/[a-z_0-9]+\.h|rules/)' connectors/*.[ch] 2>/dev/null | complain "connectors/ carry bytes only"

grep -rnE '\b(sleep|usleep|nanosleep|uv_sleep)\s*\(' --include='*.c' tests/unit tests/integration tests/cql 2>/dev/null |
    complain "tests do not sleep"

for header in $(find fhir rules connectors daemon -name '*.h'); do
    gcc -std=gnu11 -D_GNU_SOURCE -DOG_VERSION='""' -I. -fsyntax-only -x c "$header" 2>&1 | grep -E 'error' |
        complain "$header does not stand alone"
done

exit $bad
