import express from 'express';
import { app, welcome } from './tasks.ts';

const web = express();
web.use(express.json());

web.post('/welcome', async (request, response) => {
  const { to } = request.body as { to?: unknown };
  if (typeof to !== 'string') {
    response.status(400).json({ error: 'Expected {"to": "an address"}.' });
    return;
  }
  const { id } = await welcome.delay(to);
  response.status(202).json({ id });
});

web.get('/tasks/:id', async (request, response) => {
  const task = app.asyncResult(request.params.id);
  response.json({ state: await task.state(), result: await task.result() });
});

const port = Number(process.env['PORT'] ?? 3000);
const server = web.listen(port, '127.0.0.1', () => console.log(`ready on http://127.0.0.1:${port}`));

// Requests end first, then what the app has opened.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => server.close(() => void app.close()));
}
