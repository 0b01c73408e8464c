// The app of a sample: the test makes it, and each child of its worker makes it again.
import { Lovage } from '@lovage/core';
import { mapping, objects } from './settings.mjs';

export function sampleApp({ sample, spelling, ...place }) {
  const app = new Lovage('samples', {
    ...{ mapping, objects }[sample][spelling](place),
    // Neighbours on the server are none of ours.
    controlExchange: `${place.mark}control`,
    eventExchange: `${place.mark}events`,
    resolveFrom: import.meta.url,
  });
  app.task('tasks.add', (x, y) => x + y);
  app.task('tasks.fetch', (url) => url);
  app.task('tasks.greet_birthdays', () => ['Ada']);
  return app;
}
