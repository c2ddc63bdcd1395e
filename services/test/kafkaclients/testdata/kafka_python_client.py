"""kafka-python as a program; README.md tells its verbs."""
import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

LOT = 100  # records a transaction


def lines():
    return [line.split(b"\t", 1) for line in sys.stdin.buffer.read().split(b"\n") if line]


def send(producer, topic, key, value):
    return producer.send(topic, key=key, value=value, headers=[("by", b"kafka-python")])


def produce(broker, topic, codec):
    producer = KafkaProducer(bootstrap_servers=broker, acks="all", compression_type=None if codec == "none" else codec)
    for sent in [send(producer, topic, key, value) for key, value in lines()]:
        sent.get(30)
    producer.close()


def consumer_of(broker, topic, group):
    consumer = KafkaConsumer(bootstrap_servers=broker, group_id=group or None, enable_auto_commit=False,
                             auto_offset_reset="earliest", isolation_level="read_committed")
    if group:
        consumer.subscribe([topic])
    else:
        consumer.assign([TopicPartition(topic, 0)])
    return consumer


def after(record):
    return {TopicPartition(record.topic, record.partition): OffsetAndMetadata(record.offset + 1, "", -1)}


def take(consumer, count):
    while count > 0:
        for records in consumer.poll(timeout_ms=1000, max_records=count).values():
            for record in records:
                count -= 1
                yield record


def consume(broker, topic, count, group=""):
    consumer = consumer_of(broker, topic, group)
    for record in take(consumer, int(count)):
        sys.stdout.buffer.write(b"by=" + dict(record.headers)["by"] + b"\t" + record.key + b"\t" + record.value + b"\n")
        sys.stdout.buffer.flush()
        if group:
            consumer.commit(after(record))
    consumer.close()


def transactional(broker, name):
    producer = KafkaProducer(bootstrap_servers=broker, transactional_id=name)
    producer.init_transactions()
    return producer


def transact(broker, topic):
    producer, rest = transactional(broker, "kafka-python-" + topic), lines()
    while rest:
        lot, rest = rest[:LOT], rest[LOT:]
        producer.begin_transaction()
        for key, value in lot:
            send(producer, topic, key, b"aborted " + value)
        producer.flush()
        producer.abort_transaction()
        producer.begin_transaction()
        for key, value in lot:
            send(producer, topic, key, value)
        producer.commit_transaction()
    producer.close()


def copy(broker, source, target, group, count):
    consumer, producer, count = consumer_of(broker, source, group), transactional(broker, "kafka-python-" + target), int(count)
    while count > 0:
        lot = list(take(consumer, min(LOT, count)))
        count -= len(lot)
        producer.begin_transaction()
        offsets = {}
        for record in lot:
            send(producer, target, record.key, record.value)
            offsets.update(after(record))
        producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
        producer.commit_transaction()
    consumer.close()
    producer.close()


{"produce": produce, "consume": consume, "transact": transact, "copy": copy}[sys.argv[1]](*sys.argv[2:])
