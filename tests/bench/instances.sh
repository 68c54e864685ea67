#!/usr/bin/env bash
# instances.sh BUILD_DIR KAFKA_DIR [MESSAGES [PERCENT]]: how much more two instances do than one, over a real Kafka
# (KAFKA_DIR: after `tests/e2e/kafka.sh resolve`). Each instance may use PERCENT of one core (25), so that the broker
# and the EHR stand-in, which share the machine, do not decide. A backlog of MESSAGES (20000) is worked off by one, then
# by two, from nothing. Prints seconds, messages a second and the ratio; nothing is asserted. Needs control groups.
set -uo pipefail
cd "$(dirname "$0")/../.."
build=$PWD/$1
kit=$2
backlog=${3:-20000}
percent=${4:-25}
. tests/e2e/flow.sh

# ---- a share of one core ----

group_of() { # the control group of an instance: version 2, or the cpu controller of version 1
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        echo "/sys/fs/cgroup/osteoguard-$$-$1"
    else
        echo "/sys/fs/cgroup/cpu/osteoguard-$$-$1"
    fi
}

limit() { # limit NAME: the running instance
    local group
    group=$(group_of "$1")
    mkdir -p "$group" || return 1
    if [ -f "$group/cpu.max" ]; then
        echo "$((percent * 1000)) 100000" >"$group/cpu.max" || return 1
    else
        echo 100000 >"$group/cpu.cfs_period_us" && echo $((percent * 1000)) >"$group/cpu.cfs_quota_us" || return 1
    fi
    echo "$(on "$1" daemon_pid)" >"$group/cgroup.procs"
}

unlimit() { rmdir "$(group_of one)" "$(group_of two)" 2>/dev/null; }

# ---- the work ----

# Other patients each time, so that every message is news.
for ((sent = 0; sent < backlog; sent += $(wc -l <tests/fixtures/sample/stream.ndjson))); do
    sed "s/sample-/s$sent-sample-/g" tests/fixtures/sample/stream.ndjson
done >"$work/load.ndjson"
sent=$(wc -l <"$work/load.ndjson")

all_read() { # by those who take part
    local name sum=0
    for name in "$@"; do
        sum=$((sum + $(on "$name" metric osteoguard_messages_total)))
        on "$name" worked_off || return 1
    done
    [ "$sum" -ge "$sent" ]
}

takes_part() { [ "$(metric osteoguard_partitions)" -gt 0 ]; }

measure() { # measure NAME...: seconds for the backlog
    local name from
    rm -rf "$work"/*.store
    start_kafka && start_ehr "$#" || return 1
    for name in "$@"; do on "$name" start_daemon || return 1; done
    for name in "$@"; do until_true 60 on "$name" takes_part && limit "$name" || return 1; done
    from=$(date +%s%N)
    replay "$work/load.ndjson" >/dev/null || return 1
    until_true 1800 all_read "$@" || return 1
    took=$(($(date +%s%N) - from))
    for name in "$@"; do on "$name" kill_daemon 2>/dev/null; done
    stop_ehr
    unlimit
    awk -v n="$sent" -v ns="$took" -v who="$#" 'BEGIN { printf "%d instance(s): %d messages in %.1f s, %.0f/s\n", who, n, ns / 1e9, n / (ns / 1e9) }'
}

measure one || { echo "cannot be measured with one"; exit 1; }
alone=$took
measure one two || { echo "cannot be measured with two"; exit 1; }
awk -v a="$alone" -v b="$took" 'BEGIN { printf "two instances do %.2f times as much as one\n", a / b }'
