// `fill N SECONDS` publishes tasks that are due in so many seconds; `count` says where Redis has them.
import { Redis } from 'ioredis';
import { app, noop } from './lovage-app.mjs';
import { lanes } from './measure.mjs';

const [what, count, seconds] = process.argv.slice(2);
if (what === 'fill') {
  const eta = new Date(Date.now() + Number(seconds) * 1000);
  await lanes(Number(count), 2000, (index) => noop.applyAsync([index], { eta }));
  console.log('{}');
  await app.close();
} else {
  const { hostname: host, port } = new URL(process.env.BROKER);
  const redis = new Redis({ host, port: Number(port) });
  const [waiting, held] = await Promise.all([redis.llen(process.env.QUEUE), redis.hlen('unacked')]);
  console.log(JSON.stringify({ waiting, held }));
  await redis.quit();
}
