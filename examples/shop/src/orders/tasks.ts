import { note } from '@lovage/example-audit-library';
import { app } from '../app.ts';

const PRICES: Readonly<Record<string, number>> = { tea: 4, cup: 9 };

export const total = app.task('orders.total', async (customer: string, items: string[]) => {
  await note.delay(customer, `ordered ${items.join(' and ')}`);
  return items.reduce((sum, item) => sum + (PRICES[item] ?? 0), 0);
});
