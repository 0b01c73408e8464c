import { currentApp, sharedTask } from '@lovage/core';

/** A library has no app: its tasks belong to every app that imports it. */
export const note = sharedTask('audit.note', (who: string, what: string) => `${currentApp().name}: ${who} ${what}`);
