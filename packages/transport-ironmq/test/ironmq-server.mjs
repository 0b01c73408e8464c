// A test server written from IronMQ's published HTTP API (v3), not IronMQ. It keeps queues in memory.
//
//   node ironmq-server.mjs PORT PROJECT TOKEN
//
// What the published text leaves open is decided here, and stands beside it. Faults are asked for by
// `PUT /faults` with `{ "faults": [{ "match": "reservations", "times": 2, "kind": "status", "status": 503 }] }`.
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

const MAX_MESSAGES = 100;
const MAX_DELAY_S = 604_800;
const MAX_WAIT_S = 30;

/** Gives `listen(port)`, which resolves with the port, and `close()`. Reservations may be as short as `minTimeoutS`. */
export function createIronMq({ project, token, minTimeoutS = 1, maxBodyBytes = 256 * 1024 }) {
  const queues = new Map();
  let faults = [];
  let lastId = Date.now() * 1000;

  const server = createServer((request, reply) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => void answer(request, reply, Buffer.concat(chunks)).catch((error) => reply.destroy(error)));
  });

  async function answer(request, reply, bytes) {
    const send = (status, body, headers = {}) => {
      const text = JSON.stringify(body);
      reply.writeHead(status, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
        ...headers,
      });
      reply.end(text);
    };
    const path = new URL(request.url, 'http://x').pathname;
    if (path === '/faults') {
      faults = JSON.parse(bytes.toString()).faults;
      return send(200, { msg: 'OK' });
    }
    const fault = takeFault(`${request.method} ${path}`);
    if (fault?.kind === 'status') {
      const headers = fault.retryAfter === undefined ? {} : { 'retry-after': String(fault.retryAfter) };
      return send(fault.status, { msg: 'a fault that was asked for' }, headers);
    }
    if (fault?.kind === 'cutBefore') return reply.destroy();
    if (fault?.kind === 'slow') await new Promise((resolve) => setTimeout(resolve, fault.ms));
    if (request.headers.authorization !== `OAuth ${token}`)
      return send(401, { msg: 'Invalid authentication: tokens do not match.' });
    const [, version, projects, id, kind, name, what, messageId, act] = path.split('/').map(decodeURIComponent);
    if (version !== '3' || projects !== 'projects' || kind !== 'queues') return send(404, { msg: 'Not found' });
    if (id !== project) return send(401, { msg: 'Project not found' });
    let body = {};
    try {
      if (bytes.length > 0) body = JSON.parse(bytes.toString());
    } catch {
      return send(400, { msg: 'Invalid JSON' });
    }
    // "Message Size: includes the entire request".
    if (bytes.length > maxBodyBytes) return send(413, { msg: 'Request body is too large' });
    const call = { request, reply, body, name, messageId };
    const route = [request.method, what ?? '', messageId === undefined ? '' : 'ID', act ?? '']
      .filter(Boolean)
      .join(' ');
    const handler = name === undefined ? undefined : ROUTES[route];
    if (handler === undefined) return send(404, { msg: 'Not found' });
    const [status, answered] = await handler(call);
    // The work is done; what the client hears of it is another matter.
    if (fault?.kind === 'statusAfter') return send(fault.status, { msg: 'a fault that was asked for' });
    if (fault?.kind === 'cutAfter') {
      const text = JSON.stringify(answered);
      reply.writeHead(status, { 'content-length': Buffer.byteLength(text) });
      return reply.write(text.slice(0, text.length / 2), () => reply.destroy());
    }
    if (!reply.destroyed) send(status, answered);
  }

  function takeFault(what) {
    const fault = faults.find(({ match, times }) => times > 0 && new RegExp(match).test(what));
    if (fault !== undefined) fault.times--;
    return fault;
  }

  const ROUTES = {
    PUT: ({ name, body }) => {
      const queue = ensure(name);
      Object.assign(queue.settings, body.queue);
      return [200, { queue: describe(name, queue) }];
    },
    PATCH: ({ name, body }) =>
      existing(name, (queue) => {
        Object.assign(queue.settings, body.queue);
        return [200, { queue: describe(name, queue) }];
      }),
    GET: ({ name }) =>
      existing(name, (queue) => [
        200,
        { queue: { ...describe(name, queue), size: sizeOf(queue), total_messages: queue.total } },
      ]),
    DELETE: ({ name }) =>
      existing(name, () => {
        queues.delete(name);
        return [200, { msg: 'Deleted' }];
      }),
    'POST messages': ({ name, body }) => post(name, body),
    'POST reservations': ({ name, body, reply }) => existing(name, (queue) => reserve(queue, body, reply)),
    'DELETE messages': ({ name, body }) =>
      existing(name, (queue) => {
        if (body.ids === undefined) {
          // "Removes all messages": those that somebody has reserved stay his until their time is over.
          queue.waiting.length = 0;
          queue.delayed.length = 0;
          return [200, { msg: 'Cleared' }];
        }
        if (body.ids.length > MAX_MESSAGES) return [400, { msg: `Cannot delete more than ${MAX_MESSAGES} messages` }];
        // All or nothing: the published text does not say which of a batch were deleted when one cannot be.
        if (body.ids.some(({ id, reservation_id }) => held(queue, id, reservation_id) === undefined))
          return [403, { msg: 'Reservation timed out' }];
        for (const { id } of body.ids) queue.reserved.delete(String(id));
        return [200, { msg: 'Deleted' }];
      }),
    'DELETE messages ID': ({ name, messageId, body }) =>
      withReservation(name, messageId, body, (queue) => {
        queue.reserved.delete(messageId);
        return [200, { msg: 'Deleted' }];
      }),
    'POST messages ID touch': ({ name, messageId, body }) =>
      withReservation(name, messageId, body, (queue, message) => {
        message.reserved_count++;
        lease(message, body.timeout ?? queue.settings.message_timeout);
        return [200, { reservation_id: message.reservation, msg: 'Touched' }];
      }),
    'POST messages ID release': ({ name, messageId, body }) =>
      withReservation(name, messageId, body, (queue, message) => {
        queue.reserved.delete(messageId);
        if (body.delay > 0) queue.delayed.push({ ...message, due: Date.now() + body.delay * 1000 });
        else queue.waiting.unshift(message);
        wake(queue);
        return [200, { msg: 'Released' }];
      }),
  };

  function ensure(name) {
    let queue = queues.get(name);
    if (queue === undefined) {
      queue = {
        settings: { message_timeout: 60, message_expiration: 604_800, type: 'pull' },
        waiting: [],
        delayed: [],
        reserved: new Map(),
        waiters: new Set(),
        total: 0,
      };
      queues.set(name, queue);
    }
    return queue;
  }

  function existing(name, work) {
    const queue = queues.get(name);
    return queue === undefined ? [404, { msg: 'Queue not found' }] : work(queue);
  }

  const describe = (name, queue) => ({ project_id: project, name, ...queue.settings });

  /** Those that are reserved are not counted. */
  function sizeOf(queue) {
    settle(queue);
    return queue.waiting.length + queue.delayed.length;
  }

  function post(name, { messages }) {
    if (!Array.isArray(messages) || messages.length === 0) return [400, { msg: 'No messages' }];
    if (messages.length > MAX_MESSAGES) return [400, { msg: `Cannot post more than ${MAX_MESSAGES} messages` }];
    for (const { body, delay = 0 } of messages) {
      if (typeof body !== 'string') return [400, { msg: 'A message needs a body' }];
      if (!Number.isInteger(delay) || delay < 0 || delay > MAX_DELAY_S) return [400, { msg: 'Invalid delay' }];
    }
    const queue = ensure(name);
    const ids = messages.map(({ body, delay = 0 }) => {
      const message = { id: String(++lastId), body, reserved_count: 0 };
      if (delay > 0) queue.delayed.push({ ...message, due: Date.now() + delay * 1000 });
      else queue.waiting.push(message);
      return message.id;
    });
    queue.total += ids.length;
    wake(queue);
    return [201, { ids, msg: 'Messages put on queue.' }];
  }

  async function reserve(
    queue,
    { n = 1, timeout = queue.settings.message_timeout, wait = 0, delete: gone = false },
    reply,
  ) {
    if (n < 1 || n > MAX_MESSAGES) return [400, { msg: `n has to be 1 to ${MAX_MESSAGES}` }];
    if (timeout < minTimeoutS || timeout > 86_400) return [400, { msg: `timeout has to be ${minTimeoutS} to 86400` }];
    if (wait < 0 || wait > MAX_WAIT_S) return [400, { msg: `wait has to be 0 to ${MAX_WAIT_S}` }];
    const until = Date.now() + wait * 1000;
    for (;;) {
      settle(queue);
      // Who has gone does not take.
      if (reply.destroyed) return [200, { messages: [] }];
      const taken = queue.waiting.splice(0, n);
      if (taken.length > 0 || Date.now() >= until) {
        for (const message of taken) {
          message.reserved_count++;
          lease(message, timeout);
          if (!gone) queue.reserved.set(message.id, message);
        }
        const messages = taken.map(({ id, body, reserved_count, reservation }) => ({
          id,
          body,
          reserved_count,
          reservation_id: reservation,
        }));
        return [200, { messages }];
      }
      await waiting(queue, until, reply);
    }
  }

  /** Until something may have come: a post, a release, a delay or a reservation that is over. */
  function waiting(queue, until, reply) {
    return new Promise((resolve) => {
      const times = [
        until,
        ...queue.delayed.map(({ due }) => due),
        ...[...queue.reserved.values()].map(({ ends }) => ends),
      ];
      const end = () => {
        clearTimeout(timer);
        reply.off('close', end);
        queue.waiters.delete(end);
        resolve();
      };
      const timer = setTimeout(end, Math.max(1, Math.min(...times) - Date.now()));
      reply.once('close', end);
      queue.waiters.add(end);
    });
  }

  function wake(queue) {
    for (const end of queue.waiters) end();
  }

  function lease(message, timeout) {
    message.reservation = randomBytes(16).toString('hex');
    message.ends = Date.now() + timeout * 1000;
  }

  /** Timed out ones go to the front, in their order; due ones to the end. */
  function settle(queue) {
    const now = Date.now();
    const over = [...queue.reserved.values()].filter(({ ends }) => ends <= now);
    for (const message of over) queue.reserved.delete(message.id);
    queue.waiting.unshift(...over);
    const due = queue.delayed.filter((message) => message.due <= now).sort((a, b) => a.due - b.due);
    queue.delayed = queue.delayed.filter((message) => message.due > now);
    queue.waiting.push(...due);
  }

  function held(queue, id, reservation) {
    settle(queue);
    const message = queue.reserved.get(String(id));
    return message?.reservation === reservation ? message : undefined;
  }

  function withReservation(name, id, body, work) {
    return existing(name, (queue) => {
      const message = held(queue, id, body.reservation_id);
      if (message !== undefined) return work(queue, message);
      const isKnown = queue.reserved.has(id) || queue.waiting.some((one) => one.id === id);
      return isKnown ? [403, { msg: 'Reservation timed out' }] : [404, { msg: 'Message not found' }];
    });
  }

  return {
    listen: (port = 0) =>
      new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(server.address().port))),
    /** Reservations of a queue end at once, as if their time were over. */
    expire: (name) => {
      for (const message of queues.get(name)?.reserved.values() ?? []) message.ends = 0;
      wake(ensure(name));
    },
    /** Each waiting message is there twice, as after a fault of the service. */
    double: (name) => {
      const queue = ensure(name);
      queue.waiting = queue.waiting.flatMap((message) => [message, { ...message, id: String(++lastId) }]);
    },
    fault: (...asked) => {
      faults = asked;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  };
}

if (process.argv[1] === import.meta.filename) {
  const [port, project, token] = process.argv.slice(2);
  await createIronMq({ project, token }).listen(Number(port));
}
