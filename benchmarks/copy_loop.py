"""The floor that the dedupe room is measured against: consume and produce with librdkafka, and nothing in between.

`python -m benchmarks.copy_loop BOOTSTRAP FROM TO PARTITIONS BATCH` copies FROM to its end, then prints how many records and CPU seconds.
"""

from __future__ import annotations

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition


def main() -> None:
    """Copies once."""
    bootstrap, source, target, partitions, batch = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "copy-loop",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
            "delivery.report.only.error": True,
        }
    )
    consumer.assign([TopicPartition(source, partition, 0) for partition in range(partitions)])
    open_partitions, copied, began = set(range(partitions)), 0, time.process_time()
    while open_partitions:
        for message in consumer.consume(batch, 0.05):
            error = message.error()
            if error is None:
                producer.produce(target, message.value(), message.key(), message.partition() or 0)
                copied += 1
            elif error.code() == KafkaError._PARTITION_EOF:
                open_partitions.discard(message.partition())
            else:
                raise KafkaException(error)
        producer.flush()
    sys.stdout.write(f"{copied} {time.process_time() - began}\n")


if __name__ == "__main__":
    main()
