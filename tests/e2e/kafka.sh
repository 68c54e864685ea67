#!/usr/bin/env bash
# A real Apache Kafka (KRaft, 127.0.0.1, free ports) for tests.
#   kafka.sh resolve DIR           fetch the broker from Maven Central; status 3 when it cannot be had
#   kafka.sh start DIR             format and start it; prints the bootstrap addresses when it answers
#   kafka.sh kill9|stop|cont DIR [NODE]
#   kafka.sh restart DIR [NODE]    start again on the same ports and data
#   kafka.sh down DIR              kill all and remove their data
#   kafka.sh admin DIR topics|groups|configs ARG...   Kafka's own tools of that name
# KAFKA_VERSION chooses another release (4.x as well), KAFKA_NODES their number (1). KAFKA_PROXY=PORT: node 1 has a
# second listener (its port stands in DIR/proxied) that clients are to reach through a proxy at PORT.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
verb=${1:-}
dir=${2:-}
[ -n "$verb" ] && [ -n "$dir" ] || { sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$dir"
version=${KAFKA_VERSION:-3.9.1}
class_path=$dir/classpath.txt
heap=${KAFKA_HEAP:-320m}
nodes=${KAFKA_NODES:-1}

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
    local node voters='' bootstrap='' replicas=$nodes insync=1 listeners advertised protocols ports=() controllers=()
    [ "$nodes" -ge 3 ] && replicas=3 insync=2
    for ((node = 1; node <= nodes; node++)); do
        ports[node]=$(free_port) controllers[node]=$(free_port)
        voters+=,$node@127.0.0.1:${controllers[node]}
        bootstrap+=,127.0.0.1:${ports[node]}
    done
    echo "${bootstrap#,}" >"$dir/bootstrap"
    cat >"$dir/log4j.properties" <<END
log4j.rootLogger=WARN,E
log4j.appender.E=org.apache.log4j.ConsoleAppender
log4j.appender.E.layout=org.apache.log4j.PatternLayout
log4j.appender.E.layout.ConversionPattern=[%d] %p %m (%c)%n
END
    for ((node = 1; node <= nodes; node++)); do
        listeners=PLAINTEXT://127.0.0.1:${ports[node]},CONTROLLER://127.0.0.1:${controllers[node]}
        advertised=PLAINTEXT://127.0.0.1:${ports[node]}
        protocols=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
        if [ "$node" -eq 1 ] && [ -n "${KAFKA_PROXY:-}" ]; then
            free_port >"$dir/proxied"
            listeners+=,PROXIED://127.0.0.1:$(cat "$dir/proxied")
            advertised+=,PROXIED://127.0.0.1:$KAFKA_PROXY
            protocols+=,PROXIED:PLAINTEXT
        fi
        mkdir -p "$dir/node$node"
        # A small dedupe buffer: the default takes 128 MiB of heap. Static voters: format without --standalone.
        cat >"$dir/node$node/server.properties" <<END
process.roles=broker,controller
node.id=$node
controller.quorum.voters=${voters#,}
controller.listener.names=CONTROLLER
listeners=$listeners
advertised.listeners=$advertised
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=$protocols
log.dirs=$dir/node$node/data
num.network.threads=2
num.io.threads=2
num.partitions=4
default.replication.factor=$replicas
min.insync.replicas=$insync
auto.create.topics.enable=false
unclean.leader.election.enable=false
offsets.topic.num.partitions=2
offsets.topic.replication.factor=$replicas
transaction.state.log.num.partitions=2
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=6000
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.io.buffer.size=262144
log.cleaner.backoff.ms=500
message.max.bytes=8388608
replica.fetch.max.bytes=8388608
END
    done
}

launch() { # launch NODE
    (java_run kafka.Kafka "$dir/node$1/server.properties") >>"$dir/node$1/kafka.log" 2>&1 &
    echo $! >"$dir/node$1/pid"
}

pid() { cat "$dir/node$1/pid"; }

await() { # await NODE: until it knows all topics again and says who leads them
    local bootstrap
    bootstrap=$(cut -d, -f"$1" "$dir/bootstrap")
    for _ in $(seq 1 240); do
        kcat -b "$bootstrap" -L -m 2 >/dev/null 2>&1 && return 0
        kill -0 "$(pid "$1")" 2>/dev/null || break
        sleep 0.25
    done
    echo "kafka.sh: broker $1 did not come up; the end of its log:" >&2
    tail -n 20 "$dir/node$1/kafka.log" >&2
    return 1
}

down() {
    local node
    for node in "$dir"/node*/pid; do
        [ -f "$node" ] && kill -9 "$(cat "$node")" 2>/dev/null || true
    done
    rm -rf "$dir"/node[0-9]*
}

start_all() {
    local node
    down
    configure
    for ((node = 1; node <= nodes; node++)); do
        (java_run kafka.tools.StorageTool format --ignore-formatted -t MkU3OEVBNTcwNTJENDM2Qk \
            -c "$dir/node$node/server.properties") >"$dir/node$node/format.log" 2>&1
        launch "$node"
    done
    for ((node = 1; node <= nodes; node++)); do
        await "$node" || return 1
    done
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
        start_all && { cat "$dir/bootstrap"; exit 0; }
    done
    exit 1
    ;;
restart) launch "${3:-1}"; await "${3:-1}" ;;
kill9) kill -9 "$(pid "${3:-1}")" ;;
stop) kill -STOP "$(pid "${3:-1}")" ;;
cont) kill -CONT "$(pid "${3:-1}")" ;;
down) down ;;
admin)
    case $3 in
    topics) class=org.apache.kafka.tools.TopicCommand ;;
    groups) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
    configs) class=kafka.admin.ConfigCommand ;;
    *) exit 2 ;;
    esac
    shift 3
    (java_run "$class" --bootstrap-server "$(cat "$dir/bootstrap")" "$@")
    ;;
*) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
