#!/usr/bin/env bash
# real_kafka.sh BUILD_DIR KAFKA_DIR: the whole way over a real Apache Kafka.
#
# The sample stream; a daemon and a broker that are killed in the middle; everything malformed and the public
# corpora, every input accounted for, and the EHR left with exactly the cards that `osteoguard eval` gives for
# the same resources. KAFKA_DIR has been resolved by kafka.sh.
set -uo pipefail
cd "$(dirname "$0")/../.."
build=$PWD/$1
kit=$2
demo=$build/tests/demo/osteoguard-demo
osteoguard=$build/daemon/osteoguard
data=$PWD/../shared/data/fhir
work=$(mktemp -d)
store=$work/store port_file=$work/http.port
passed=0 failed=0 skipped=0
daemon_pid='' second_pid='' ehr_pid=''

cleanup() {
    [ -n "$daemon_pid" ] && kill -9 "$daemon_pid" 2>/dev/null
    [ -n "$second_pid" ] && kill -9 "$second_pid" 2>/dev/null
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

# until_true SECONDS COMMAND...: asks again until it is so
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

start_kafka() {
    tests/e2e/kafka.sh down "$kit" 2>/dev/null
    tests/e2e/kafka.sh start "$kit" >/dev/null
}

start_ehr() { # start_ehr NAME
    rm -f "$work/ehr.port"
    "$demo" ehr --port 0 --port-file "$work/ehr.port" --quiet --ndjson "$work/$1.ndjson" >"$work/$1.ehr" 2>&1 &
    ehr_pid=$!
    until_true 10 test -s "$work/ehr.port"
}

start_daemon() {
    rm -f "$port_file"
    # a dead member's partitions are given away after six seconds
    OSTEOGUARD_KAFKA_CONSUMER_PROPERTIES='{session.timeout.ms: "6000"}' \
    OSTEOGUARD_KAFKA_BOOTSTRAP=$(cat "$kit/bootstrap") OSTEOGUARD_EHR_URL=http://127.0.0.1:$(cat "$work/ehr.port")/cards \
        OSTEOGUARD_STORE_DIR=$store OSTEOGUARD_HTTP_LISTEN=127.0.0.1:0 OSTEOGUARD_HTTP_PORT_FILE=$port_file \
        OSTEOGUARD_CLOCK_START=2026-03-01T09:00:00+01:00 OSTEOGUARD_CLOCK_SPEED=0 \
        "$osteoguard" serve -c docker/demo.yaml 2>>"$work/daemon.log" &
    daemon_pid=$!
    until_true 60 ready
}

ready() { [ -s "$port_file" ] && curl -fsS -o /dev/null "http://127.0.0.1:$(cat "$port_file")/health/ready" 2>/dev/null; }
metrics() { curl -fsS "http://127.0.0.1:$(cat "$port_file")/metrics"; }
metric() { metrics | awk -v name="$1" '$1 == name || index($1, name "{") == 1 { sum += $2 } END { print sum + 0 }'; }
worked_off() { # nothing waits anywhere, also no review that falls due before it is known that all has arrived
    metrics | awk '/^osteoguard_(source_lag|records_lag|shared_lag|outbox_pending|patients_dirty|partitions_not_current) / { rest += ($2 != 0); seen++ }
                   /^osteoguard_time_seconds / { now = $2 }
                   /^osteoguard_next_review_seconds / { due = $2 }
                   END { exit !(seen == 6 && rest == 0 && (due == 0 || due > now)) }'
}
took() { [ "$(metric osteoguard_messages_total)" -ge "$1" ] && worked_off; }
start_second() { # another instance, with a store of its own
    local port_file=$work/second.port store=$work/second daemon_pid
    start_daemon || return 1
    second_pid=$daemon_pid
}
on_second() { local port_file=$work/second.port; "$@"; } # the same, asked of the second instance
stop_daemon() {
    kill -TERM "$daemon_pid" 2>/dev/null
    wait "$daemon_pid"
    local status=$?
    daemon_pid=''
    return $status
}
stop_ehr() { kill -TERM "$ehr_pid" 2>/dev/null; wait "$ehr_pid" 2>/dev/null; ehr_pid=''; }

# replay FILE...: sends, prints how many values were sent
replay() {
    OSTEOGUARD_KAFKA_BOOTSTRAP=$(cat "$kit/bootstrap") "$osteoguard" replay -c docker/demo.yaml "$@" 2>"$work/replay.log" ||
        { tail -n 5 "$work/replay.log" >&2; return 1; }
    grep -oE '^[0-9]+' "$work/replay.log" | tail -n 1
}

# adds_up SENT: every message taken, every input counted once
adds_up() {
    local inputs recorded irrelevant dead
    inputs=$(metric osteoguard_inputs_total) recorded=$(metric osteoguard_recorded_total)
    irrelevant=$(metric osteoguard_irrelevant_total) dead=$(metric osteoguard_dead_letters_total)
    echo "   sent $1, taken $(metric osteoguard_messages_total): inputs $inputs = recorded $recorded + irrelevant $irrelevant + dead $dead;" \
        "applied $(metric osteoguard_applied_total), stale $(metric osteoguard_stale_total), evaluations $(metric osteoguard_evaluations_total)," \
        "failures $(metric osteoguard_evaluation_failures_total)"
    [ "$(metric osteoguard_messages_total)" -eq "$1" ] && [ "$inputs" -eq $((recorded + irrelevant + dead)) ] && [ "$inputs" -ge "$1" ]
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

# ---- the sample stream, as ./run shows it ----
check "a real Kafka starts" start_kafka || true
[ "$failed" -eq 0 ] || { echo "$passed passed, $failed failed, $skipped skipped"; exit 1; }
sample_run() {
    OSTEOGUARD_KAFKA_BOOTSTRAP=$(cat "$kit/bootstrap") "$demo" run --exit --timeout 240 --osteoguard "$osteoguard" \
        --ndjson "$work/sample.ndjson" >"$work/sample.out" 2>&1 || { tail -n 20 "$work/sample.out"; return 1; }
}
check "the sample stream is worked off" sample_run
check "and leads to the expected cards" \
    tests/e2e/compare_state.sh tests/fixtures/sample/expected.tsv "$work/sample.ndjson"
compacted() { # the topics that we make are what we rely on
    local topics
    topics=$(kcat -b "$(cat "$kit/bootstrap")" -L -J | jq -r '.topics[] | "\(.topic) \(.partitions | length)"')
    grep -qx 'osteoguard.records 4' <<<"$topics" && grep -qx 'osteoguard.alerts 4' <<<"$topics" && grep -qx 'osteoguard.shared 1' <<<"$topics"
}
check "topics are made with their partitions" compacted

# ---- kill -9 in the middle of the stream, of the daemon and of the broker ----
killed_run() {
    local sent
    start_kafka && start_ehr killed && start_daemon || return 1
    sent=$(replay tests/fixtures/sample/stream.ndjson) || return 1
    until_true 30 test "$(metric osteoguard_recorded_total)" -gt 20
    kill -9 "$daemon_pid"
    wait "$daemon_pid" 2>/dev/null
    start_daemon || return 1
    until_true 60 worked_off || return 1
    tests/e2e/kafka.sh kill9 "$kit"
    tests/e2e/kafka.sh restart "$kit" >/dev/null || return 1
    sent=$(replay tests/fixtures/sample/stream.ndjson) || return 1
    until_true 90 took "$sent"
}
check "daemon and broker killed in the middle: the stream is worked off" killed_run
check "and the EHR has what the rules say" same_as_eval "$work/killed.ndjson" tests/fixtures/sample/stream.ndjson
check "SIGTERM ends the daemon with status 0" stop_daemon
restart_quiet() { # a restart on the same store says nothing that was said before
    local before after
    before=$(wc -l <"$work/killed.ndjson")
    start_daemon && until_true 60 worked_off || return 1
    after=$(wc -l <"$work/killed.ndjson")
    [ "$before" -eq "$after" ] || { echo "   $((after - before)) pushes after the restart"; return 1; }
}
check "a restart says nothing twice" restart_quiet
rebuilt() { # the store is an image of the log
    stop_daemon
    rm -rf "$work/store"
    start_daemon && until_true 90 worked_off && [ "$(metric osteoguard_applied_total)" -gt 100 ]
}
check "a deleted store is rebuilt from the records topic" rebuilt
check "and the EHR has the same cards" same_as_eval "$work/killed.ndjson" tests/fixtures/sample/stream.ndjson
stop_daemon
stop_ehr

# ---- two instances, one of which is killed ----
shared_out() { # each has some partitions, together they have all
    local a b
    a=$(metric osteoguard_partitions) b=$(on_second metric osteoguard_partitions)
    [ "$a" -gt 0 ] && [ "$b" -gt 0 ] && [ $((a + b)) -eq 4 ]
}
both_worked_off() { worked_off && on_second worked_off; }
second_has_all() { [ "$(on_second metric osteoguard_partitions)" -eq 4 ] && on_second worked_off; }
two_instances() {
    rm -rf "$work/store"
    start_kafka && start_ehr two && start_daemon && start_second || return 1
    until_true 60 shared_out || return 1
    replay tests/fixtures/sample/stream.ndjson >/dev/null || return 1
    until_true 90 both_worked_off
}
check "two instances share the partitions and work the stream off" two_instances
check "and the EHR has what the rules say" same_as_eval "$work/two.ndjson" tests/fixtures/sample/stream.ndjson
taken_over() {
    local before after
    before=$(wc -l <"$work/two.ndjson")
    kill -9 "$daemon_pid"
    wait "$daemon_pid" 2>/dev/null
    daemon_pid=''
    until_true 60 second_has_all || return 1
    after=$(wc -l <"$work/two.ndjson")
    [ "$before" -eq "$after" ] || { echo "   $((after - before)) pushes after the take-over"; return 1; }
}
check "one is killed: the other takes all over and says nothing twice" taken_over
kill -9 "$second_pid" 2>/dev/null
wait "$second_pid" 2>/dev/null
second_pid=''
stop_ehr

# ---- everything that others wrote ----
if [ ! -d "$data" ]; then
    skipped=$((skipped + 3))
    echo "skipped: malformed input and the corpora are not beside the checkout"
else
    rm -rf "$work/store"
    corpora() {
        local sent
        start_kafka && start_ehr corpora && start_daemon || return 1
        mapfile -d '' -t files < <(find "$data/malformed" "$data/examples-r4" -name '*.json' -print0 | LC_ALL=C sort -z)
        files+=("$data/corpus-dev.ndjson.gz" "$data/bundles-dev.ndjson.gz")
        sent=$(replay "${files[@]}") || return 1
        until_true 600 took "$sent" || { metrics | grep -E '_lag|pending|dirty|messages_total'; return 1; }
        adds_up "$sent"
    }
    check "malformed samples, HL7 examples and corpora: every input accounted for" corpora
    check "the daemon still answers" ready
    echo "   resident memory $(awk '/^VmRSS/ { print int($2 / 1024) " MB" }' "/proc/$daemon_pid/status")," \
        "peak $(awk '/^VmHWM/ { print int($2 / 1024) " MB" }' "/proc/$daemon_pid/status")"
    check "and ends with status 0" stop_daemon
    stop_ehr
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
