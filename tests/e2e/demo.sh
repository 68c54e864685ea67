#!/usr/bin/env bash
# demo.sh BUILD_DIR: what ./run shows, checked: the sample stream over the embedded broker leads to the expected
# cards; an EHR that fails at first loses none; files of the user are taken.
set -uo pipefail
cd "$(dirname "$0")/../.."
build=$1
demo=$build/tests/demo/osteoguard-demo
daemon=$build/daemon/osteoguard
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

check() { # check NAME COMMAND...
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok: $name"
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
    fi
}
show() { # show NAME ARGUMENT...: the demonstration until the stream has been worked off
    local name=$1
    shift
    env -u OSTEOGUARD_KAFKA_BOOTSTRAP "$demo" run --exit --timeout 240 --osteoguard "$daemon" --ndjson "$work/$name.ndjson" "$@" \
        >"$work/$name.out" 2>&1 || { tail -n 30 "$work/$name.out"; return 1; }
}

check "the sample stream is worked off" show sample
check "the sample stream leads to the expected cards" \
    tests/e2e/compare_state.sh tests/fixtures/sample/expected.tsv "$work/sample.ndjson"
check "dead letters are shown with their reason and place" \
    grep -qE '^dead letter: syntax \| [a-z.]+\[[0-9]+\]@[0-9]+ byte [0-9]+' "$work/sample.out"
check "no summary of a card has 140 characters" \
    jq -es '[.[].body.cards[].summary | length] | max < 140' "$work/sample.ndjson"
check "an EHR that fails at first gets every card" show failing --fail 503,503:1,500,hang,429:1
check "and the same ones" \
    tests/e2e/compare_state.sh tests/fixtures/sample/expected.tsv "$work/failing.ndjson"

jq -c '.bundle' rules/content/cases/V7.json >"$work/one.ndjson"
check "a file of the user is taken" show own "$work/one.ndjson"
check "and gets its card" jq -es '[.[].body.cards[].source.topic.code] | index("D3") != null' "$work/own.ndjson"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
