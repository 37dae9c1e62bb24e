#!/usr/bin/env bash
# Runs a class of Kafka's with the options that the official script takes from the environment. One
# compiler tier and the serial collector start soonest, which is what tests wait for.
set -euo pipefail

read -ra options <<<"${KAFKA_HEAP_OPTS:--Xmx256M} ${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseSerialGC -XX:TieredStopAtLevel=1} ${KAFKA_LOG4J_OPTS:--Dlog4j2.configurationFile=/opt/kafka/config/tools-log4j2.yaml} ${KAFKA_OPTS-}"
exec java "${options[@]}" -Dkafka.logs.dir=/opt/kafka/logs -cp '/opt/kafka/libs/*' "$@"
