#!/usr/bin/env bash
# A real Apache Kafka (KRaft, one node, 127.0.0.1, free ports) for tests.
#   kafka.sh resolve DIR        fetch the broker from Maven Central; status 3 when it cannot be had
#   kafka.sh start DIR          format and start it; prints the bootstrap address when it answers
#   kafka.sh kill9|stop|cont DIR
#   kafka.sh restart DIR        start again on the same ports and data
#   kafka.sh down DIR           kill it and remove its data
# KAFKA_VERSION chooses another release (4.x as well).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
verb=${1:-}
dir=${2:-}
[ -n "$verb" ] && [ -n "$dir" ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$dir"
version=${KAFKA_VERSION:-3.9.1}
class_path=$dir/classpath.txt
heap=${KAFKA_HEAP:-320m}

java_run() {
    local logging="-Dlog4j.configuration=file:$dir/log4j.properties -Dlog4j2.level=WARN"
    # shellcheck disable=SC2086
    exec java -Xms128m "-Xmx$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true \
        $logging -cp "$(cat "$class_path")" "$@"
}

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

configure() {
    local port controller
    port=$(free_port)
    controller=$(free_port)
    echo "127.0.0.1:$port" >"$dir/bootstrap"
    cat >"$dir/log4j.properties" <<EOF
log4j.rootLogger=WARN,E
log4j.appender.E=org.apache.log4j.ConsoleAppender
log4j.appender.E.layout=org.apache.log4j.PatternLayout
log4j.appender.E.layout.ConversionPattern=[%d] %p %m (%c)%n
EOF
    # A small dedupe buffer: the default takes 128 MiB of heap. Static voters: format without --standalone.
    cat >"$dir/server.properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$dir/data
num.network.threads=2
num.io.threads=2
num.partitions=4
default.replication.factor=1
min.insync.replicas=1
auto.create.topics.enable=false
unclean.leader.election.enable=false
offsets.topic.num.partitions=2
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=6000
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.io.buffer.size=262144
message.max.bytes=8388608
replica.fetch.max.bytes=8388608
EOF
}

launch() {
    (java_run kafka.Kafka "$dir/server.properties") >>"$dir/kafka.log" 2>&1 &
    echo $! >"$dir/pid"
}

await() {
    local bootstrap
    bootstrap=$(cat "$dir/bootstrap")
    for _ in $(seq 1 240); do
        kcat -b "$bootstrap" -L -m 2 >/dev/null 2>&1 && { echo "$bootstrap"; return 0; }
        kill -0 "$(cat "$dir/pid")" 2>/dev/null || break
        sleep 0.25
    done
    echo "kafka.sh: the broker did not come up; the end of its log:" >&2
    tail -n 20 "$dir/kafka.log" >&2
    return 1
}

case $verb in
resolve)
    command -v mvn >/dev/null && command -v java >/dev/null || exit 3
    profile=ak3
    [ "${version%%.*}" -ge 4 ] && profile=ak4
    mvn -q -B -f "$here/pom.xml" "-Dkafka.version=$version" "-P$profile" dependency:build-classpath \
        -DincludeScope=runtime "-Dmdep.outputFile=$class_path" >"$dir/resolve.log" 2>&1 || exit 3
    ;;
start)
    for try in 1 2 3; do # a port may be taken between the look and the bind
        rm -rf "$dir/data"
        configure
        (java_run kafka.tools.StorageTool format --ignore-formatted -t MkU3OEVBNTcwNTJENDM2Qk \
            -c "$dir/server.properties") >"$dir/format.log" 2>&1
        launch
        await && exit 0
        kill -9 "$(cat "$dir/pid")" 2>/dev/null || true
    done
    exit 1
    ;;
restart) launch; await ;;
kill9) kill -9 "$(cat "$dir/pid")" ;;
stop) kill -STOP "$(cat "$dir/pid")" ;;
cont) kill -CONT "$(cat "$dir/pid")" ;;
down)
    [ -f "$dir/pid" ] && kill -9 "$(cat "$dir/pid")" 2>/dev/null || true
    rm -rf "$dir/data" "$dir/pid"
    ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
