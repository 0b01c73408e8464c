// What the client library and the server can do with the same message and nothing else: the floor.
//   redis enqueue N INFLIGHT | redis cycle N | amqp enqueue N INFLIGHT | amqp consume N
import { randomUUID } from 'node:crypto';
import amqplib from 'amqplib';
import { Redis } from 'ioredis';
import { lanes } from './measure.mjs';

const [broker, what, count, argument = '1000'] = process.argv.slice(2);
const total = Number(count);
const queue = process.env.QUEUE;
const report = (perSecond) => console.log(JSON.stringify({ perSecond }));

const headers = (id) => ({
  lang: 'py',
  task: 'bench.noop',
  id,
  shadow: null,
  eta: null,
  expires: null,
  group: null,
  group_index: null,
  retries: 0,
  timelimit: [null, null],
  root_id: id,
  parent_id: null,
  argsrepr: '(1,)',
  kwargsrepr: '{}',
  origin: 'gen1@bench',
  ignore_result: false,
  replaced_task_nesting: 0,
  stamped_headers: null,
  stamps: {},
});
const body = '[[1], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]';

function envelope() {
  const id = randomUUID();
  return JSON.stringify({
    body: Buffer.from(body).toString('base64'),
    'content-encoding': 'utf-8',
    'content-type': 'application/json',
    headers: headers(id),
    properties: {
      correlation_id: id,
      reply_to: id,
      delivery_mode: 2,
      delivery_info: { exchange: '', routing_key: queue },
      priority: 0,
      body_encoding: 'base64',
      delivery_tag: randomUUID(),
    },
  });
}

const TAKE = `
local taken = redis.call('RPOP', KEYS[1], ARGV[1])
if not taken then return {} end
local time = redis.call('TIME')
for index, message in ipairs(taken) do
  local tag = string.match(message, '"delivery_tag":"([^"]*)"')
  redis.call('HSET', KEYS[2], tag, message)
  redis.call('ZADD', KEYS[3], time[1], tag)
end
return taken`;

if (broker === 'redis') {
  const redis = new Redis(process.env.BROKER, { enableAutoPipelining: what === 'enqueue' && argument !== '1' });
  if (what === 'enqueue') {
    report(await lanes(total, Number(argument), () => redis.lpush(queue, envelope())));
  } else {
    // Batch of 100: fetch and record, parse, result, acknowledge; the next fetch overlaps.
    redis.defineCommand('take', { numberOfKeys: 3, lua: TAKE });
    const take = () => redis.take(queue, `${queue}.unacked`, `${queue}.index`, 100);
    let done = 0;
    let next = take();
    const began = performance.now();
    let writing = Promise.resolve();
    while (done < total) {
      const batch = await next;
      if (batch.length === 0) break;
      next = take();
      const pipeline = redis.pipeline();
      const tags = [];
      for (const text of batch) {
        const message = JSON.parse(text);
        JSON.parse(Buffer.from(message.body, 'base64').toString());
        tags.push(message.properties.delivery_tag);
        if (process.env.RESULTS) {
          const key = `celery-task-meta-${message.headers.id}`;
          const meta = JSON.stringify({
            status: 'SUCCESS',
            result: null,
            traceback: null,
            children: [],
            date_done: new Date().toISOString(),
            task_id: message.headers.id,
          });
          pipeline.setex(key, 86400, meta).publish(key, meta);
        }
      }
      pipeline.zrem(`${queue}.index`, ...tags).hdel(`${queue}.unacked`, ...tags);
      const before = writing;
      writing = pipeline.exec();
      await before;
      done += batch.length;
    }
    await writing;
    report((done / (performance.now() - began)) * 1000);
  }
  redis.disconnect();
} else {
  const connection = await amqplib.connect(process.env.BROKER, { noDelay: true });
  const properties = (id) => ({
    contentType: 'application/json',
    contentEncoding: 'utf-8',
    headers: headers(id),
    deliveryMode: 2,
    priority: 0,
    correlationId: id,
    replyTo: id,
  });
  if (what === 'enqueue') {
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue(queue, { durable: true });
    const publish = () =>
      new Promise((resolve, reject) =>
        channel.publish('', queue, Buffer.from(body), properties(randomUUID()), (error) =>
          error ? reject(error) : resolve(),
        ),
      );
    report(await lanes(total, Number(argument), publish));
  } else {
    const channel = await connection.createChannel();
    await channel.assertQueue(queue, { durable: true });
    await channel.prefetch(1000);
    let done = 0;
    let began = 0;
    await new Promise((resolve) => {
      void channel.consume(queue, (message) => {
        if (done++ === 0) began = performance.now();
        if (done % 250 === 0 || done === total) channel.ack(message, true);
        if (done === total) resolve();
      });
    });
    report((total / (performance.now() - began)) * 1000);
    await channel.close();
  }
  await connection.close();
}
