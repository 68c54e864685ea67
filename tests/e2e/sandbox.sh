#!/usr/bin/env bash
# The CDS Hooks sandbox, the browser client of the people who write the standard, against our service.
#   sandbox.sh resolve DIR       fetch and build it, with what drives a browser; status 3 when it cannot be had
#   sandbox.sh play BUILD DIR    play a user who opens a chart, takes an offer, overrides a card, drafts and signs an
#                                order; DIR/shots gets what was on the screen
# The sandbox is taken from OSTEOGUARD_CDS_SANDBOX, a checkout of cds-hooks/sandbox, or cloned from there.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
origin=https://github.com/cds-hooks/sandbox.git
puppeteer=puppeteer-core@24.43.1

cannot() { echo "sandbox: $1" >&2; exit 3; }

resolve() {
    local dir=$1 program
    for program in node npm chromium git; do
        command -v "$program" >/dev/null || cannot "no $program here"
    done
    mkdir -p "$dir"
    if [ ! -d "$dir/sandbox/.git" ]; then
        GIT_TERMINAL_PROMPT=0 timeout 120 git clone -q --depth 1 "${OSTEOGUARD_CDS_SANDBOX:-$origin}" "$dir/sandbox" 2>/dev/null ||
            cannot "no checkout of cds-hooks/sandbox (OSTEOGUARD_CDS_SANDBOX), and it cannot be cloned"
    fi
    [ -d "$dir/node_modules/puppeteer-core" ] ||
        npm install --prefix "$dir" --ignore-scripts --no-audit --no-fund --no-save "$puppeteer" >"$dir/npm.log" 2>&1 ||
        cannot "npm has no $puppeteer (the log is in $dir/npm.log)"
    [ -s "$dir/sandbox/build/app.bundle.js" ] && return
    (cd "$dir/sandbox" && npm ci --ignore-scripts --no-audit --no-fund >"$dir/npm.log" 2>&1) ||
        cannot "npm does not have what the sandbox is made of (the log is in $dir/npm.log)"
    (cd "$dir/sandbox" && npm run build >"$dir/build.log" 2>&1) || cannot "it cannot be built (the log is in $dir/build.log)"
}

# until_true SECONDS COMMAND...: asks again until it is so
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || { echo "sandbox: waited too long: $*" >&2; return 1; }
        sleep 0.1
    done
}

configuration() {
    cat <<END
site: {timezone: Europe/Berlin}
kafka: {bootstrap: "127.0.0.1:$(cat "$work/broker")", partitions: 4}
store: {dir: $work/store, map_size_mb: 256}
content: {dir: $root/rules/content}
http: {listen: "127.0.0.1:0", port_file: $work/http}
log: {level: warn}
endpoints: {}
hooks: {listen: "127.0.0.1:0", port_file: $work/hooks, cors_origins: ["$(jq -r .ehr "$work/servers.json")"]}
clients:
  sandbox:
    issuer: https://sandbox.cds-hooks.org
    jku: https://sandbox.cds-hooks.org/.well-known/jwks.json
    audiences: ["$(jq -r .service "$work/servers.json")"]
    jwks_file: $work/jwks.json
END
}

metrics() { curl -fsS -m 5 "http://127.0.0.1:$(cat "$work/http")/metrics" 2>/dev/null; }
ready() { [ -s "$work/http" ] && curl -fsS -m 5 -o /dev/null "http://127.0.0.1:$(cat "$work/http")/health/ready" 2>/dev/null; }
knows_patient() { metrics | awk '/^osteoguard_alerts_opened_total / { n = $2 } /^osteoguard_patients_dirty / { d = $2 } END { exit !(n > 0 && d == 0) }'; }

leave() { # the daemon before its broker
    local i
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill "${pids[i]}" 2>/dev/null && wait "${pids[i]}"
    done
    rm -rf "$work"
}

play() {
    local build=$1 dir=$2 script=$root/tests/e2e/sandbox.js status
    work=$(mktemp -d)
    pids=()
    trap leave EXIT
    node "$script" serve "$work" "$dir" "$root/rules/content/cases/E2.json" & pids+=($!)
    "$build/tests/demo/osteoguard-demo" broker --port-file "$work/broker" >/dev/null & pids+=($!)
    until_true 20 test -s "$work/servers.json" && until_true 20 test -s "$work/broker" || exit 1
    configuration >"$work/osteoguard.yaml"
    "$build/daemon/osteoguard" serve -c "$work/osteoguard.yaml" & pids+=($!)
    until_true 60 ready || exit 1
    "$build/daemon/osteoguard" replay -c "$work/osteoguard.yaml" "$work/case.ndjson" >/dev/null 2>&1 || exit 1
    until_true 60 knows_patient || exit 1
    node "$script" play "$work" "$dir" "$build/daemon/osteoguard"
    status=$?
    exit $status
}

case ${1:-} in
resolve) [ $# -eq 2 ] || exit 2; resolve "$2" ;;
play) [ $# -eq 3 ] || exit 2; play "$(cd "$2" && pwd)" "$3" ;;
*) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
