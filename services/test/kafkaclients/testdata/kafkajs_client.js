// kafkajs as a program; README.md tells its verbs. It reads only in groups.
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs');
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy');

const LOT = 100; // records a transaction
const codecs = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy };
const [verb, broker, ...args] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [broker], logLevel: logLevel.ERROR });

function messages() {
  return require('fs').readFileSync(0, 'utf8').split('\n').filter((line) => line !== '').map((line) => {
    const at = line.indexOf('\t');
    return { key: line.slice(0, at), value: line.slice(at + 1), headers: { by: 'kafkajs' } };
  });
}

async function produce(topic, codec) {
  const producer = kafka.producer({ idempotent: true });
  await producer.connect();
  await producer.send({ topic, acks: -1, compression: codecs[codec], messages: messages() });
  await producer.disconnect();
}

// take hands over records until there were count, and leaves the group.
async function take(topic, group, count, hand) {
  const consumer = kafka.consumer({ groupId: group, readUncommitted: false });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await new Promise((done, failed) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => failed(payload.error));
    consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: async ({ batch, resolveOffset }) => {
        const records = batch.messages.slice(0, count);
        if (records.length === 0) return;
        count -= records.length;
        const next = String(BigInt(records[records.length - 1].offset) + 1n);
        await hand(records, { topic, partition: batch.partition, offset: next }, consumer);
        resolveOffset(records[records.length - 1].offset);
        if (count === 0) done();
      },
    }).catch(failed);
  });
  await consumer.disconnect();
}

async function consume(topic, count, group) {
  await take(topic, group, Number(count), async (records, next, consumer) => {
    for (const { key, value, headers } of records) {
      process.stdout.write(Buffer.concat([Buffer.from(`by=${headers.by}\t${key}\t`), value, Buffer.from('\n')]));
    }
    await consumer.commitOffsets([next]);
  });
}

async function transactional(id) {
  const producer = kafka.producer({ transactionalId: id, maxInFlightRequests: 1, idempotent: true });
  await producer.connect();
  return producer;
}

async function transact(topic) {
  const producer = await transactional(`kafkajs-${topic}`);
  for (let rest = messages(); rest.length > 0; rest = rest.slice(LOT)) {
    const lot = rest.slice(0, LOT);
    const doomed = await producer.transaction();
    await doomed.send({ topic, messages: lot.map((m) => ({ ...m, value: 'aborted ' + m.value })) });
    await doomed.abort();
    const kept = await producer.transaction();
    await kept.send({ topic, messages: lot });
    await kept.commit();
  }
  await producer.disconnect();
}

async function copy(source, target, group, count) {
  const producer = await transactional(`kafkajs-${target}`);
  await take(source, group, Number(count), async (records, next) => {
    const transaction = await producer.transaction();
    await transaction.send({ topic: target, messages: records.map(({ key, value }) => ({ key, value, headers: { by: 'kafkajs' } })) });
    await transaction.sendOffsets({
      consumerGroupId: group,
      topics: [{ topic: source, partitions: [{ partition: next.partition, offset: next.offset }] }],
    });
    await transaction.commit();
  });
  await producer.disconnect();
}

({ produce, consume, transact, copy })[verb](...args).catch((err) => {
  console.error(err);
  process.exit(1);
});
