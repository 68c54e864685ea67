#!/usr/bin/env bash
# over_kafka.sh BUILD_DIR KAFKA_DIR [--long] [SCENARIO...]: faults of daemon, broker and network over a real Apache
# Kafka (numbers as in STREAM 6). After each one the EHR must have exactly the cards that `osteoguard eval` gives for
# the same resources (I3), no card under two keys (I4), and a store rebuilt from the topics must say nothing new (I9).
# OSTEOGUARD_OLD: an older version's program, for the rolling upgrade; without it one is built from the history of this
# checkout (older.sh), where it has one. Prints a table; the last line is "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."
build=$PWD/$1
kit=$2
shift 2
copies=6 kills=6 storm=20 backlog=20000 patience=120
if [ "${1:-}" = --long ]; then
    copies=10 kills=200 storm=600 backlog=1000000 patience=1800 # what the dead left undone is much
    shift
fi
. tests/e2e/flow.sh
table=$work/table
proxy_pid=''

# ---- what is sent, and what must hold ----

# The sample stream for as many patients as it takes to last.
for ((i = 1; i <= copies; i++)); do
    sed "s/sample-/s$i-sample-/g" tests/fixtures/sample/stream.ndjson
done >"$work/load.ndjson"
values=$(wc -l <"$work/load.ndjson")

fresh() { # fresh SCENARIO: broker, EHR and store as if nothing had ever been
    rm -rf "$work"/*.store
    start_kafka && start_ehr "$1"
}

in_background() { # in_background RATE: the whole load; `wait "$load_pid"` for its end
    replay --rate "$1" "$work/load.ndjson" >"$work/load.sent" &
    load_pid=$!
}

one_key_each() { # I4: a revision of a card came under one key only, whatever was sent again
    jq -r '(.key // "") as $key | (.body // .) as $b | $b.cards[]? | "\(.uuid) \(.extension["org.osteoguard.alert"].revision // "") \($key)"' \
        "$work/$1.ndjson" | LC_ALL=C sort -u | cut -d' ' -f1,2 | uniq -d >"$work/twice"
    [ ! -s "$work/twice" ] || { echo "   cards under two keys: $(wc -l <"$work/twice")"; return 1; }
}

says_nothing_new() { # I9
    local before after
    before=$(wc -l <"$work/$1.ndjson")
    stop_daemon || { echo "   the daemon ended with another status than 0"; return 1; }
    rm -rf "$(store_of)"
    launch_daemon && until_true "$patience" ready && until_true "$patience" worked_off ||
        { echo "   the store is not rebuilt in $patience s"; return 1; }
    after=$(wc -l <"$work/$1.ndjson")
    [ "$before" -eq "$after" ] || { echo "   $((after - before)) pushes after the store was rebuilt"; return 1; }
}

judge() { # judge SCENARIO: the instance "one" is left with everything
    until_true "$patience" worked_off || { echo "   not worked off:"; metrics | grep -E '_lag|pending|dirty|not_current|next_review|_time_s'; return 1; }
    same_as_eval "$work/$1.ndjson" "$work/load.ndjson" && one_key_each "$1" && says_nothing_new "$1"
}

ended() { # everything of a scenario is gone
    local file
    for file in "$work"/*.pid; do
        [ -f "$file" ] || continue
        kill -CONT "$(cat "$file")" 2>/dev/null
        kill -9 "$(cat "$file")" 2>/dev/null
        wait "$(cat "$file")" 2>/dev/null
        rm -f "$file"
    done
    [ -z "$ehr_pid" ] || stop_ehr
    if [ -n "$proxy_pid" ]; then
        exec 9>&- # not enough to end it: others have inherited it
        kill "$proxy_pid" 2>/dev/null # unless that has ended it
        wait "$proxy_pid" 2>/dev/null
        proxy_pid=''
    fi
    unset bootstrap ehr_url ehr_port consumer KAFKA_NODES KAFKA_PROXY
    osteoguard=$build/daemon/osteoguard
}

scenario() { # scenario NUMBER NAME FUNCTION
    local before=$failed from=$SECONDS who
    check "$1 $2" "$3" "$3"
    ended
    printf '%-4s| %-70s| %-7s| %3d s\n' "$1" "$2" "$([ "$failed" -eq "$before" ] && echo held || echo BROKEN)" $((SECONDS - from)) >>"$table"
    [ "$failed" -eq "$before" ] && return
    for who in one two three; do
        [ ! -f "$work/$who.log" ] || cp "$work/$who.log" "${TMPDIR:-/tmp}/over_kafka.$3.$who.log"
    done
}

# ---- the daemon ----

kill9_loop() {
    fresh "$1" && start_daemon || return 1
    for ((i = 1; i <= kills; i++)); do
        in_background $((values / 4 + 50))
        sleep "0.$((RANDOM % 9))$((RANDOM % 10))" # any moment will do
        kill_daemon
        start_daemon || { echo "   no start after kill $i"; return 1; }
        wait "$load_pid"
    done
    judge "$1"
}

sigterm_under_load() {
    fresh "$1" && start_daemon || return 1
    for ((i = 1; i <= 3; i++)); do
        in_background $((values / 3 + 50))
        until_true 20 test "$(metric osteoguard_messages_total)" -gt $((values / 10))
        stop_daemon || { echo "   SIGTERM under load: status $?"; return 1; }
        start_daemon || return 1
        wait "$load_pid"
    done
    judge "$1"
}

sighup_storm() {
    fresh "$1" && start_daemon || return 1
    in_background $((values / 6 + 50))
    for ((i = 1; i <= storm; i++)); do
        kill -HUP "$(daemon_pid)" || return 1
        sleep 0.05
    done
    wait "$load_pid"
    judge "$1"
}

takes_part() { [ "$(metric osteoguard_partitions)" -gt 0 ]; }
has_all() { [ "$(metric osteoguard_partitions)" -eq 4 ]; }

zombie() { # one stands still for longer than its session; the other takes over; then it goes on
    fresh "$1" && start_daemon && on two start_daemon || return 1
    until_true 60 takes_part && until_true 60 on two takes_part || return 1
    in_background $((values / 8 + 20))
    sleep 1
    kill -STOP "$(daemon_pid)"
    until_true 60 on two has_all || return 1
    kill -CONT "$(daemon_pid)"
    wait "$load_pid"
    until_true 60 takes_part || return 1
    on two stop_daemon || return 1
    until_true 60 has_all || return 1
    judge "$1"
}

flapping() { # instances come and go
    fresh "$1" && start_daemon || return 1
    in_background $((values / 20 + 10))
    for ((i = 1; i <= storm / 4; i++)); do
        on two launch_daemon
        on three launch_daemon
        sleep "1.$((RANDOM % 10))"
        on two kill_daemon
        on three stop_daemon || { echo "   SIGTERM while starting: status $?, in round $i"; return 1; }
    done
    wait "$load_pid"
    until_true 60 has_all || return 1
    judge "$1"
}

ended_itself() { ! kill -0 "$(daemon_pid)" 2>/dev/null; }
same_static_id() { # the one that came first is fenced and ends by itself, with a reason
    local consumer=', group.instance.id: "twin"'
    fresh "$1" && start_daemon || return 1
    on two launch_daemon
    until_true 60 ended_itself || { echo "   both go on"; return 1; }
    wait "$(daemon_pid)" && { echo "   status 0"; return 1; }
    grep -qi 'fenced\|another.*same\|group.instance.id' "$work/one.log" || { tail -n 3 "$work/one.log"; return 1; }
    rm -f "$work/one.pid"
    replay "$work/load.ndjson" >/dev/null || return 1
    until_true 60 on two ready || return 1
    on two judge "$1"
}

moves() { grep -cE 'partitions of osteoguard.records|partitions of the source topics' "$work/$instance.log"; }

static_restart() { # each comes back within its session, after TERM and after kill -9: the other notices nothing
    local session=20000 was before
    local -x OSTEOGUARD_LOG_LEVEL=info # what moves is told there
    two() { local consumer=', group.instance.id: "second"'; on two "$@"; }
    one() { local consumer=', group.instance.id: "first"'; "$@"; }
    fresh "$1" && one start_daemon && two start_daemon || return 1
    until_true 60 takes_part && until_true 60 on two takes_part && until_true 60 worked_off || return 1
    was=$(on two moves)
    [ "$was" -gt 0 ] || { echo "   the log does not tell what moves"; return 1; }
    in_background $((values / 10 + 10))
    for how in stop_daemon kill_daemon; do
        one "$how" && one start_daemon || { echo "   no start after $how"; return 1; }
        until_true 10 takes_part || { echo "   back after $how it has nothing"; return 1; } # told once a second
    done
    [ "$(on two moves)" -eq "$was" ] || { echo "   the other one's partitions moved"; return 1; }
    before=$(moves)
    for how in stop_daemon kill_daemon; do
        two "$how" && two start_daemon || return 1
    done
    [ "$(moves)" -eq "$before" ] || { echo "   the first one's partitions moved"; return 1; }
    wait "$load_pid"
    two stop_daemon && until_true 60 has_all || return 1
    local consumer=', group.instance.id: "first"'
    judge "$1"
}

renew() { # renew BINARY: an instance ends, and comes back as another version
    osteoguard=$1
    stop_daemon && start_daemon && until_true 60 takes_part
}

rolling_upgrade() { # one instance after the other, forward, back, and forward again, under load
    local new=$osteoguard old=${OSTEOGUARD_OLD:-}
    [ -n "$old" ] || old=$(tests/faults/older.sh "$build/older") || return 1
    [ -x "$old" ] || { echo "   OSTEOGUARD_OLD names no older osteoguard"; return 1; }
    osteoguard=$old
    fresh "$1" && start_daemon && on two start_daemon || return 1
    until_true 60 takes_part && until_true 60 on two takes_part || return 1
    in_background $((values / 15 + 10))
    renew "$new" && on two renew "$new" || { echo "   forward: not ready"; return 1; }
    renew "$old" || { echo "   back: not ready"; return 1; }
    wait "$load_pid"
    replay "$work/load.ndjson" >/dev/null && renew "$new" || return 1
    on two stop_daemon && until_true 60 has_all || return 1
    judge "$1"
}

# ---- the brokers ----

broker_frozen() { # for longer than the session
    fresh "$1" && start_daemon || return 1
    in_background $((values / 4 + 50))
    sleep 1
    tests/e2e/kafka.sh stop "$kit"
    sleep 12
    tests/e2e/kafka.sh cont "$kit"
    wait "$load_pid"
    replay "$work/load.ndjson" >/dev/null || return 1
    judge "$1"
}

broker_killed() {
    fresh "$1" && start_daemon || return 1
    for i in 1 2 3; do
        in_background $((values / 3 + 50))
        sleep 1
        tests/e2e/kafka.sh kill9 "$kit"
        tests/e2e/kafka.sh restart "$kit" || return 1
        wait "$load_pid"
    done
    replay "$work/load.ndjson" >/dev/null || return 1
    judge "$1"
}

one_of_three() { # each in turn: leaders and the coordinator move
    export KAFKA_NODES=3
    fresh "$1" && start_daemon || return 1
    for i in 1 2 3; do
        in_background $((values / 8 + 50))
        sleep 1
        tests/e2e/kafka.sh kill9 "$kit" "$i"
        wait "$load_pid"
        until_true 90 worked_off || { echo "   not worked off without broker $i"; return 1; }
        tests/e2e/kafka.sh restart "$kit" "$i" || return 1
    done
    replay "$work/load.ndjson" >/dev/null || return 1
    judge "$1"
}

two_of_three() { # nothing can be written, nothing is lost
    export KAFKA_NODES=3
    fresh "$1" && start_daemon || return 1
    replay "$work/load.ndjson" >/dev/null || return 1
    until_true 60 took "$values" || return 1
    tests/e2e/kafka.sh kill9 "$kit" 2
    tests/e2e/kafka.sh kill9 "$kit" 3
    sleep 15
    kill -0 "$(daemon_pid)" || { echo "   the daemon gave up"; return 1; }
    tests/e2e/kafka.sh restart "$kit" 2 && tests/e2e/kafka.sh restart "$kit" 3 || return 1
    replay "$work/load.ndjson" >/dev/null || return 1
    judge "$1"
}

nobody_there() { # no broker at the start: it waits, and says so
    fresh "$1" || return 1
    tests/e2e/kafka.sh kill9 "$kit"
    launch_daemon
    until_true 20 grep -qs 'trying again\|not ready' "$work/one.log" || { echo "   nothing is said"; return 1; }
    kill -0 "$(daemon_pid)" || { echo "   the daemon gave up"; return 1; }
    tests/e2e/kafka.sh restart "$kit" && until_true 60 ready || return 1
    replay "$work/load.ndjson" >/dev/null || return 1
    judge "$1"
}

# Of all groups whose members are gone; the broker may still wait for one of them.
reset_offsets() { until_true 30 try_reset_offsets || { tail -n 3 "$work/reset.log"; return 1; }; }
try_reset_offsets() {
    tests/e2e/kafka.sh admin "$kit" groups --all-groups --reset-offsets --to-earliest --all-topics --execute \
        >"$work/reset.log" 2>&1 && ! grep -qi error "$work/reset.log"
}

offsets_reset() { # everything is read again, and nothing said again
    local before after
    fresh "$1" && start_daemon && replay "$work/load.ndjson" >/dev/null && until_true 60 took "$values" || return 1
    before=$(wc -l <"$work/$1.ndjson")
    stop_daemon || return 1
    reset_offsets || return 1
    start_daemon && until_true 90 took "$values" || return 1
    after=$(wc -l <"$work/$1.ndjson")
    [ "$before" -eq "$after" ] || { echo "   $((after - before)) pushes when everything was read again"; return 1; }
    judge "$1"
}

records_recreated() { # the truth is gone: that is said, and is no reason to withdraw a card
    fresh "$1" && start_daemon && replay "$work/load.ndjson" >/dev/null && until_true 60 took "$values" || return 1
    stop_daemon || return 1
    tests/e2e/kafka.sh admin "$kit" topics --delete --topic osteoguard.records >/dev/null 2>&1 || return 1
    start_daemon || return 1
    until_true 30 grep -q 'thrown away' "$work/one.log" || { echo "   nothing is said"; return 1; }
    until_true 60 worked_off && same_as_eval "$work/$1.ndjson" "$work/load.ndjson" || { echo "   cards were withdrawn"; return 1; }
    # The sources are the way back: read from the beginning, they lead to the same state.
    stop_daemon || return 1
    reset_offsets || return 1
    start_daemon && until_true 90 took "$values" || return 1
    judge "$1"
}

is_current() { [ "$(metric osteoguard_partitions_not_current)" -eq 0 ]; }
is_not_current() { ! is_current; }
transaction_began() {
    kcat -b "$(cat "$kit/bootstrap")" -C -t fhir.bundle -p 0 -o beginning -c 1 -e -X isolation.level=read_uncommitted 2>/dev/null | grep -q Slot
}

open_transaction() { # of one sender: what others write behind it is not read, and so nothing counts as overdue
    local sender i
    local -x OSTEOGUARD_LIMITS_FRESHNESS_MS=6000
    fresh "$1" && start_daemon && until_true 60 is_current || return 1
    exec {sender}> >(exec kcat -b "$(cat "$kit/bootstrap")" -P -t fhir.bundle -p 0 -X transactional.id=hangs -X transaction.timeout.ms=300000 2>/dev/null)
    for ((i = 0; i < 200; i++)); do # kcat reads by blocks
        echo '{"resourceType":"Slot","id":"s","status":"free"}' >&"$sender"
    done
    until_true 30 transaction_began || { echo "   no transaction"; return 1; }
    replay "$work/load.ndjson" >/dev/null || return 1
    until_true 60 is_not_current || { echo "   all counts as read"; return 1; }
    exec {sender}>&- # it is committed
    judge "$1"
}

partitions_added() { # to the source topics, under load: what comes through the new ones is read
    local consumer=', topic.metadata.refresh.interval.ms: "1000"' topic new
    fresh "$1" && start_daemon || return 1
    in_background $((values / 6 + 50))
    for topic in $(kcat -b "$(cat "$kit/bootstrap")" -L -J | jq -r '.topics[].topic | select(startswith("fhir."))'); do
        tests/e2e/kafka.sh admin "$kit" topics --alter --topic "$topic" --partitions 7 >/dev/null 2>&1 || return 1
    done
    wait "$load_pid"
    replay "$work/load.ndjson" >/dev/null || return 1
    new=$(kcat -b "$(cat "$kit/bootstrap")" -C -t fhir.bundle -p 6 -o beginning -e -f '%o\n' 2>/dev/null | wc -l)
    [ "$new" -gt 0 ] || { echo "   nothing came through a new partition"; return 1; }
    until_true 90 took $((2 * values)) || { echo "   $(metric osteoguard_messages_total) of $((2 * values)) messages are read"; return 1; }
    judge "$1"
}

compacted() { # what compaction leaves is enough for a new store
    fresh "$1" && start_daemon || return 1
    for topic in osteoguard.records osteoguard.alerts osteoguard.shared; do
        tests/e2e/kafka.sh admin "$kit" configs --alter --entity-type topics --entity-name "$topic" --add-config \
            segment.ms=1000,min.cleanable.dirty.ratio=0.01,min.compaction.lag.ms=0,max.compaction.lag.ms=1000,delete.retention.ms=0 \
            >/dev/null 2>&1 || return 1
    done
    for i in 1 2 3; do
        replay "$work/load.ndjson" >/dev/null || return 1
        until_true 60 took $((i * values)) || return 1
        sleep 1.2 # a segment ends by the broker's clock
    done
    replay "$work/load.ndjson" >/dev/null || return 1
    until_true 60 took $((4 * values)) || return 1
    until_true 60 is_compacted || { echo "   the broker did not compact"; return 1; }
    judge "$1"
}
is_compacted() { # the oldest records of some partition are gone
    local p
    for p in 0 1 2 3; do
        [ "$(kcat -b "$(cat "$kit/bootstrap")" -C -t osteoguard.records -p $p -o beginning -c 1 -e -f '%o\n' 2>/dev/null)" = 0 ] || return 0
    done
    return 1
}

# ---- too much ----

resident_most() { awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$(daemon_pid)/status"; } # MB

take_huge() { # the broker does
    tests/e2e/kafka.sh admin "$kit" configs --alter --entity-type topics --entity-name fhir.bundle \
        --add-config max.message.bytes=100000000 >/dev/null 2>&1
}

send_huge() { # send_huge BYTES: one message, which is no JSON
    head -c "$1" /dev/zero | tr '\0' 'x' >"$work/huge"
    kcat -b "$(cat "$kit/bootstrap")" -P -t fhir.bundle -X message.max.bytes=100000000 "$work/huge"
}

huge_is_dead() { grep -q '"reason":"too-large","source":"fhir.bundle\[' "$work/one.log"; }

huge_message() { # 95 MB on a source topic: a dead letter, and what follows is read
    local KAFKA_HEAP=900m before
    export KAFKA_HEAP
    fresh "$1" && start_daemon && take_huge || return 1
    replay "$work/load.ndjson" >/dev/null || return 1
    before=$(resident_most)
    send_huge 95000000 || return 1
    replay "$work/load.ndjson" >/dev/null || return 1
    until_true 60 took $((2 * values + 1)) || { echo "   what follows is not read"; return 1; }
    huge_is_dead || { echo "   no dead letter"; return 1; }
    echo "   resident memory: $before MB before, $(resident_most) MB at most"
    judge "$1"
}

far_behind() { # much more is waiting than fits into memory
    local most sent=0
    fresh "$1" && start_daemon && replay "$work/load.ndjson" >/dev/null && until_true 60 took "$values" || return 1
    stop_daemon || return 1
    while [ "$sent" -lt "$backlog" ]; do
        replay "$work/load.ndjson" >/dev/null || return 1
        sent=$((sent + values))
    done
    start_daemon && until_true "$patience" took "$sent" || { echo "   not worked off"; return 1; }
    most=$(resident_most)
    echo "   $sent messages behind, resident memory $most MB at most"
    # What librdkafka may hold at most, 16 MB of each partition that is read and one fetch of 8 MB more, is above that.
    [ "$most" -lt 1100 ] || return 1
    judge "$1"
}

memory_limit() { # it may take no more than it has: it lives or dies, and goes on later
    local size died=0 KAFKA_HEAP=900m
    export KAFKA_HEAP
    fresh "$1" && start_daemon && take_huge || return 1
    for more in 1 4 16 64; do
        size=$(awk '/^VmData/ { print $2 }' "/proc/$(daemon_pid)/status")
        prlimit --pid "$(daemon_pid)" --data=$(((size + more * 1024) * 1024)) || return 1
        send_huge 50000000 && replay "$work/load.ndjson" >/dev/null || return 1
        until_true 5 ended_itself && died=$((died + 1))
        [ "$more" -gt 1 ] || ! worked_off || { echo "   it needs no memory"; return 1; }
        kill_daemon
        start_daemon || { echo "   no start afterwards"; return 1; }
        until_true 60 worked_off || return 1
    done
    echo "   died $died times of 4"
    judge "$1"
}

# ---- the network ----

start_proxy() { # between the daemon and the broker; commands by `proxy WORDS`
    rm -f "$work/proxy.port" "$work/proxy.in"
    mkfifo "$work/proxy.in"
    "$build/tests/faults/chaosproxy" --target-file "$1" --port-file "$work/proxy.port" <"$work/proxy.in" &
    proxy_pid=$!
    exec 9>"$work/proxy.in"
    until_true 10 test -s "$work/proxy.port"
}
proxy() { echo "$*" >&9; }

cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$(daemon_pid)/stat"; }

network_to_kafka() {
    local was
    start_proxy "$kit/proxied" || return 1
    export KAFKA_PROXY=$(cat "$work/proxy.port")
    fresh "$1" || return 1
    bootstrap=127.0.0.1:$KAFKA_PROXY
    start_daemon || return 1
    proxy latency 250
    in_background $((values / 5 + 50))
    wait "$load_pid"
    until_true 90 took "$values" || { echo "   with latency: not worked off"; return 1; }
    proxy clear
    proxy slice 100
    in_background $((values / 2 + 50))
    sleep 1
    for i in 1 2 3 4 5; do
        proxy reset
        sleep 0.5
    done
    wait "$load_pid"
    proxy clear
    for i in 1 2 3 4; do # answers end in the middle
        proxy cut $((RANDOM + 100))
        sleep 1
    done
    proxy clear
    in_background $((values / 2 + 50))
    proxy drop # half-open, for longer than the session; nothing turns in circles
    was=$(cpu_ticks)
    sleep 10
    [ $(($(cpu_ticks) - was)) -lt 200 ] || { echo "   $(($(cpu_ticks) - was)) ticks of CPU in 10 s of silence"; return 1; }
    proxy clear
    proxy refuse
    sleep 5
    proxy clear
    wait "$load_pid"
    judge "$1"
}

network_to_ehr() {
    fresh "$1" || return 1
    start_proxy "$work/ehr.port" || return 1
    ehr_url=http://127.0.0.1:$(cat "$work/proxy.port")/cards
    start_daemon || return 1
    in_background $((values / 6 + 50))
    for what in 'latency 300' 'reset' 'cut 40' 'slice 1' 'drop' 'reset' 'refuse' 'clear' 'reset' 'cut 120'; do
        proxy "$what"
        sleep 1
    done
    wait "$load_pid"
    proxy clear
    judge "$1"
}

ehr_back_late() { # nobody listens until everything has been sent
    fresh "$1" || return 1
    ehr_port=$(cat "$work/ehr.port")
    stop_ehr
    ehr_url=http://127.0.0.1:$ehr_port/cards
    start_daemon && replay "$work/load.ndjson" >/dev/null || return 1
    until_true 60 test "$(metric osteoguard_outbox_pending)" -gt 0
    kill_daemon
    start_daemon || return 1
    start_ehr "$1" || return 1
    judge "$1"
}

# ---- all of them ----

all=(
    "1   kill9_loop         kill -9 of the daemon at any moment, $kills times"
    "1   sigterm_under_load SIGTERM under load, three times"
    "3   zombie             stopped for longer than its session, taken over, going on"
    "4   broker_frozen      broker stopped for longer than the session"
    "5   broker_killed      broker killed and started again under load, three times"
    "5   one_of_three       each of three brokers lost in turn, leaders move"
    "6   two_of_three       two of three brokers lost: nothing can be written"
    "7   nobody_there       no broker at the start"
    "8   flapping           instances that come and go"
    "9   same_static_id     two instances with the same static id"
    "9   static_restart     static members that restart within their session"
    "10  network_to_kafka   latency, slices, resets, cut answers, silence to the broker"
    "13  network_to_ehr     the same to the EHR"
    "16  ehr_back_late      EHR gone until everything has been sent"
    "23  huge_message       a message of 95 MB among good ones"
    "23  far_behind         $backlog messages are waiting"
    "26  memory_limit       no more memory, with 1, 4, 16 and 64 MB to spare"
    "25  compacted          compacted topics, then a new store"
    "29  offsets_reset      offsets of all groups reset to the earliest"
    "29  records_recreated  the records topic deleted"
    "29  open_transaction   a sender's transaction that hangs"
    "29  partitions_added   partitions added to the sources under load"
    "30  rolling_upgrade    an older osteoguard replaced by this one, and back"
    "30  sighup_storm       SIGHUP, $storm times under load"
)
for row in "${all[@]}"; do
    read -r number function name <<<"$row"
    if [ $# -gt 0 ]; then
        case " $* " in *" $function "*) ;; *) continue ;; esac
    fi
    if [ "$function" = rolling_upgrade ] && [ -z "${OSTEOGUARD_OLD:-}" ] && [ $# -eq 0 ] &&
        [ "$(git rev-parse --is-shallow-repository 2>/dev/null)" != false ]; then
        skipped=$((skipped + 1)) # no history to build it from
        continue
    fi
    scenario "$number" "$name" "$function"
done
echo
cat "$table"
conclude
