"""confluent-kafka, which is librdkafka, as a program; README.md tells its verbs."""
import sys

from confluent_kafka import Consumer, Producer, TopicPartition

LOT = 100  # records a transaction


def lines():
    return [line.split(b"\t", 1) for line in sys.stdin.buffer.read().split(b"\n") if line]


def failure(err, _):
    if err:
        sys.exit(str(err))


def send(producer, topic, key, value, by=b"confluent"):
    producer.produce(topic, key=key, value=value, headers=[("by", by)], on_delivery=failure)
    producer.poll(0)


def produce(broker, topic, codec):
    producer = Producer({"bootstrap.servers": broker, "enable.idempotence": True, "compression.type": codec, "queue.buffering.max.messages": 1000000})
    for key, value in lines():
        send(producer, topic, key, value)
    producer.flush()


def consumer_of(broker, topic, group="", protocol="classic"):
    config = {"bootstrap.servers": broker, "group.id": group or "none", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    if group and protocol == "consumer":
        config["group.protocol"] = "consumer"
    elif group:
        config["partition.assignment.strategy"] = "range"
    consumer = Consumer(config)
    if group:
        consumer.subscribe([topic])
    else:
        consumer.assign([TopicPartition(topic, 0, 0)])
    return consumer


def take(consumer, count):
    while count > 0:
        record = consumer.poll(1)
        if record is None:
            continue
        if record.error():
            sys.exit(str(record.error()))
        count -= 1
        yield record


def consume(broker, topic, count, group="", protocol="classic"):
    consumer = consumer_of(broker, topic, group, protocol)
    for record in take(consumer, int(count)):
        sys.stdout.buffer.write(b"by=" + dict(record.headers())["by"] + b"\t" + record.key() + b"\t" + record.value() + b"\n")
        sys.stdout.buffer.flush()
        if group:
            consumer.commit(record, asynchronous=False)
    consumer.close()


def transactional(broker, name):
    producer = Producer({"bootstrap.servers": broker, "transactional.id": name})
    producer.init_transactions()
    return producer


def transact(broker, topic):
    producer, rest = transactional(broker, "confluent-" + topic), lines()
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


def copy(broker, source, target, group, count):
    consumer, producer, count = consumer_of(broker, source, group), transactional(broker, "confluent-" + target), int(count)
    while count > 0:
        lot = list(take(consumer, min(LOT, count)))
        count -= len(lot)
        producer.begin_transaction()
        for record in lot:
            send(producer, target, record.key(), record.value())
        producer.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata())
        producer.commit_transaction()
    consumer.close()


{"produce": produce, "consume": consume, "transact": transact, "copy": copy}[sys.argv[1]](*sys.argv[2:])
