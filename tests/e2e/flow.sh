# flow.sh: to be sourced by tests of the whole way over a real Kafka. Wants $build and $kit (resolved by kafka.sh),
# gives a work directory, the EHR stand-in, instances of the daemon by name, and what is asked of them.
# `on NAME COMMAND...` asks the instance NAME; without it, the instance is "one".
demo=$build/tests/demo/osteoguard-demo
osteoguard=$build/daemon/osteoguard
work=$(mktemp -d)
instance=one
passed=0 failed=0 skipped=0
ehr_pid=''

cleanup() {
    local file
    for file in "$work"/*.pid; do
        [ -f "$file" ] && kill -9 "$(cat "$file")" 2>/dev/null
    done
    [ -n "$ehr_pid" ] && kill -9 "$ehr_pid" 2>/dev/null
    tests/e2e/kafka.sh down "$kit" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT

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

conclude() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
}

# until_true SECONDS COMMAND...: asks again until it is so
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

on() { # on NAME COMMAND...
    local instance=$1
    shift
    "$@"
}

start_kafka() {
    tests/e2e/kafka.sh down "$kit" 2>/dev/null
    tests/e2e/kafka.sh start "$kit" >/dev/null
}

start_ehr() { # start_ehr NAME: what it gets goes to $work/NAME.ndjson
    rm -f "$work/ehr.port"
    "$demo" ehr --port "${ehr_port:-0}" --port-file "$work/ehr.port" --quiet --ndjson "$work/$1.ndjson" >"$work/$1.ehr" 2>&1 &
    ehr_pid=$!
    until_true 10 test -s "$work/ehr.port"
}

stop_ehr() { kill -TERM "$ehr_pid" 2>/dev/null; wait "$ehr_pid" 2>/dev/null; ehr_pid=''; }

daemon_pid() { cat "$work/$instance.pid" 2>/dev/null; }
store_of() { echo "$work/$instance.store"; }

# A dead member's partitions are given away after six seconds ($session: ms); $consumer: further properties,
# ", name: value".
launch_daemon() {
    rm -f "$work/$instance.port"
    OSTEOGUARD_KAFKA_CONSUMER_PROPERTIES="{session.timeout.ms: \"${session:-6000}\"${consumer:-}}" \
    OSTEOGUARD_KAFKA_BOOTSTRAP=${bootstrap:-$(cat "$kit/bootstrap")} \
    OSTEOGUARD_EHR_URL=${ehr_url:-http://127.0.0.1:$(cat "$work/ehr.port")/cards} \
    OSTEOGUARD_STORE_DIR=$work/$instance.store OSTEOGUARD_HTTP_LISTEN=127.0.0.1:0 \
    OSTEOGUARD_HTTP_PORT_FILE=$work/$instance.port \
    OSTEOGUARD_CLOCK_START=2026-03-01T09:00:00+01:00 OSTEOGUARD_CLOCK_SPEED=0 \
        "$osteoguard" serve -c docker/demo.yaml 2>>"$work/$instance.log" &
    echo $! >"$work/$instance.pid"
}

start_daemon() { launch_daemon && until_true 60 ready; }

kill_daemon() {
    kill -9 "$(daemon_pid)" 2>/dev/null
    wait "$(daemon_pid)" 2>/dev/null
    rm -f "$work/$instance.pid"
}

stop_daemon() { # its exit status
    kill -TERM "$(daemon_pid)" 2>/dev/null
    wait "$(daemon_pid)"
    local status=$?
    rm -f "$work/$instance.pid"
    return $status
}

port_of() { cat "$work/$instance.port" 2>/dev/null; }
ready() { [ -n "$(port_of)" ] && curl -fsS -m 5 -o /dev/null "http://127.0.0.1:$(port_of)/health/ready" 2>/dev/null; }
metrics() { curl -fsS -m 5 "http://127.0.0.1:$(port_of)/metrics" 2>/dev/null; }
metric() { metrics | awk -v name="$1" '$1 == name || index($1, name "{") == 1 { sum += $2 } END { print sum + 0 }'; }
worked_off() { # nothing waits anywhere, also no review that falls due before it is known that all has arrived
    metrics | awk '/^osteoguard_(source_lag|records_lag|shared_lag|outbox_pending|patients_dirty|partitions_not_current) / { rest += ($2 != 0); seen++ }
                   /^osteoguard_time_seconds / { now = $2 }
                   /^osteoguard_next_review_seconds / { due = $2 }
                   END { exit !(seen == 6 && rest == 0 && (due == 0 || due > now)) }'
}
took() { [ "$(metric osteoguard_messages_total)" -ge "$1" ] && worked_off; }

# replay [OPTION...] FILE...: sends, prints how many values were sent
replay() {
    OSTEOGUARD_KAFKA_BOOTSTRAP=$(cat "$kit/bootstrap") "$osteoguard" replay -c docker/demo.yaml "$@" 2>"$work/replay.log" ||
        { tail -n 5 "$work/replay.log" >&2; return 1; }
    grep -oE '^[0-9]+' "$work/replay.log" | tail -n 1
}

same_as_eval() { # same_as_eval PUSHED.ndjson FILE...: the EHR, which takes no worklist, has what the rules say of these resources
    local pushed=$1
    shift
    "$osteoguard" eval --content rules/content --as-of 2026-03-01T09:00:00+01:00 --tz Europe/Berlin "$@" 2>/dev/null |
        jq -r '.patient as $p | .cards[] | select(.extension."org.osteoguard.alert".channel != "worklist") | [$p, .source.topic.code, .indicator] | @tsv' | LC_ALL=C sort >"$work/eval.tsv"
    tests/e2e/final_state.sh "$pushed" | awk -F'\t' -v OFS='\t' '$4 == "open" { print $1, $2, $3 }' | LC_ALL=C sort >"$work/ehr.tsv"
    echo "   cards by eval: $(wc -l <"$work/eval.tsv"), open at the EHR: $(wc -l <"$work/ehr.tsv")"
    diff "$work/eval.tsv" "$work/ehr.tsv" >"$work/diff" && return 0
    head -n 20 "$work/diff"
    return 1
}
