import { Lovage } from '@lovage/core';

export const app = new Lovage('nextjs-example', {
  broker: process.env.BROKER ?? 'sqla+sqlite:///lovage.db',
  backend: process.env.BACKEND ?? 'db+sqlite:///lovage.db',
});

/** Runs in a worker: `npm run worker`. */
export const welcome = app.task('mail.welcome', (to: string): string => {
  console.log(`mail to ${to}: Welcome`);
  return `sent to ${to}`;
});

// In development each edit loads this module again: the app of the one before is closed. In production a build may hold
// the module twice, and both apps are in use.
if (process.env.NODE_ENV === 'development') {
  const shared = globalThis as { lovageOfBefore?: Lovage };
  void shared.lovageOfBefore?.close();
  shared.lovageOfBefore = app;
}
