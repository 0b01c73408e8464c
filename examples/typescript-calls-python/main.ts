// Calls a task of a Python Celery worker: celery -A tasks worker
import { Lovage } from '@lovage/core';

const app = new Lovage('web', { broker: process.env.BROKER as string, backend: process.env.BROKER as string });

/** The Python task, with its types. */
const size =
  app.remote<(width: number, height: number, scale?: number) => { width: number; height: number }>('images.size');

const small = await (await size.delay(800, 600, 0.5)).get({ timeout: 20 });
console.log('from Python:', small);
const named = await app.sendTask('images.size', { kwargs: { width: 640, height: 480 } });
console.log('from Python, with keyword arguments:', await named.get({ timeout: 20 }));
await app.close();
