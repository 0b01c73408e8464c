import { Lovage } from '@lovage/core';

export const app = new Lovage('pricing', {
  broker: process.env.BROKER as string,
  backend: process.env.BROKER as string,
});

/** `params` names the arguments, so that Python may pass them by keyword too. */
export const price = app.task(
  'pricing.price',
  { params: ['net', 'vat'] },
  (net: number, vat = 0.2) => Math.round(net * (1 + vat) * 100) / 100,
);
