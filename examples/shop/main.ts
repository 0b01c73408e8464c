import assert from 'node:assert/strict';
import { chain } from '@lovage/core';
import { note } from '@lovage/example-audit-library';
import { app } from './src/app.ts';
import { receipt } from './src/mail/tasks.ts';
import { total } from './src/orders/tasks.ts';

const sent = await chain(total.s('Ada', ['tea', 'cup', 'tea']), receipt.s('Ada')).delay();
const text = await sent.get({ timeout: 30 });
console.log(text);
assert.equal(text, 'Dear Ada: 17.00');

// The library's task goes to the app of this program.
const noted = await (await note.delay('Ada', 'paid')).get({ timeout: 30 });
console.log(noted);
assert.equal(noted, 'shop: Ada paid');
await app.close();
