// BullMQ's processor, in its own process when sandboxed.
import { compute, count } from './pool-work.mjs';

export default async function run({ name }) {
  if (name === 'cpu') compute();
  count();
}
