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
data=$PWD/../shared/data/fhir
. tests/e2e/flow.sh

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

# ---- the sample stream, as ./run shows it ----
check "a real Kafka starts" start_kafka || true
[ "$failed" -eq 0 ] || { conclude; exit 1; }
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
    kill_daemon
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
    rm -rf "$(store_of)"
    start_daemon && until_true 90 worked_off && [ "$(metric osteoguard_applied_total)" -gt 100 ]
}
check "a deleted store is rebuilt from the records topic" rebuilt
check "and the EHR has the same cards" same_as_eval "$work/killed.ndjson" tests/fixtures/sample/stream.ndjson
stop_daemon
stop_ehr

# ---- two instances, one of which is killed ----
shared_out() { # each has some partitions, together they have all
    local a b
    a=$(metric osteoguard_partitions) b=$(on two metric osteoguard_partitions)
    [ "$a" -gt 0 ] && [ "$b" -gt 0 ] && [ $((a + b)) -eq 4 ]
}
both_worked_off() { worked_off && on two worked_off; }
second_has_all() { [ "$(on two metric osteoguard_partitions)" -eq 4 ] && on two worked_off; }
two_instances() {
    rm -rf "$(store_of)"
    start_kafka && start_ehr two && start_daemon && on two start_daemon || return 1
    until_true 60 shared_out || return 1
    replay tests/fixtures/sample/stream.ndjson >/dev/null || return 1
    until_true 90 both_worked_off
}
check "two instances share the partitions and work the stream off" two_instances
check "and the EHR has what the rules say" same_as_eval "$work/two.ndjson" tests/fixtures/sample/stream.ndjson
taken_over() {
    local before after
    before=$(wc -l <"$work/two.ndjson")
    kill_daemon
    until_true 60 second_has_all || return 1
    after=$(wc -l <"$work/two.ndjson")
    [ "$before" -eq "$after" ] || { echo "   $((after - before)) pushes after the take-over"; return 1; }
}
check "one is killed: the other takes all over and says nothing twice" taken_over
on two kill_daemon
stop_ehr

# ---- everything that others wrote ----
if [ ! -d "$data" ]; then
    skipped=$((skipped + 3))
    echo "skipped: malformed input and the corpora are not beside the checkout"
else
    rm -rf "$(store_of)"
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
    echo "   resident memory $(awk '/^VmRSS/ { print int($2 / 1024) " MB" }' "/proc/$(daemon_pid)/status")," \
        "peak $(awk '/^VmHWM/ { print int($2 / 1024) " MB" }' "/proc/$(daemon_pid)/status")"
    check "and ends with status 0" stop_daemon
    stop_ehr
fi
conclude
