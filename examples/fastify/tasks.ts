import { Lovage } from '@lovage/core';

export const app = new Lovage('fastify-example', {
  broker: process.env['BROKER'] ?? 'sqla+sqlite:///lovage.db',
  backend: process.env['BACKEND'] ?? 'db+sqlite:///lovage.db',
});

/** Runs in a worker. */
export const welcome = app.task('mail.welcome', (to: string): string => {
  console.log(`mail to ${to}: Welcome`);
  return `sent to ${to}`;
});
