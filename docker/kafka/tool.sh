#!/usr/bin/env bash
# One file for all the command line tools: the name it is called by says which.
set -euo pipefail

case ${0##*/} in
    kafka-broker-api-versions.sh) class=org.apache.kafka.tools.BrokerApiVersionsCommand ;;
    kafka-configs.sh) class=kafka.admin.ConfigCommand ;;
    kafka-console-consumer.sh) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    kafka-console-producer.sh) class=org.apache.kafka.tools.ConsoleProducer ;;
    kafka-consumer-groups.sh) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
    kafka-get-offsets.sh) class=org.apache.kafka.tools.GetOffsetShell ;;
    kafka-topics.sh) class=org.apache.kafka.tools.TopicCommand ;;
    *)
        echo "${0##*/}: no such tool in this stand-in" >&2
        exit 1
        ;;
esac
exec /opt/kafka/bin/kafka-run-class.sh "$class" "$@"
