import Fastify from 'fastify';
import { app, welcome } from './tasks.ts';

const fastify = Fastify({ logger: true });
app.logger = fastify.log;
// fastify.close() ends what the app has opened, after the last request.
fastify.addHook('onClose', () => app.close());

fastify.post<{ Body: { to: string } }>(
  '/welcome',
  { schema: { body: { type: 'object', required: ['to'], properties: { to: { type: 'string' } } } } },
  async (request, reply) => {
    const { id } = await welcome.delay(request.body.to);
    return reply.code(202).send({ id });
  },
);

fastify.get<{ Params: { id: string } }>('/tasks/:id', async (request) => {
  const task = app.asyncResult(request.params.id);
  return { state: await task.state(), result: await task.result() };
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void fastify.close());
console.log(`ready on ${await fastify.listen({ port: Number(process.env['PORT'] ?? 3000) })}`);
