import { afterEach, expect, test, vi } from 'vitest';
import { EXIT } from './exit-codes.ts';
import { main } from './program.ts';

afterEach(() => vi.restoreAllMocks());

test.each([
  ['worker -c 0', '"0" is no whole number above 0.'],
  ['worker -c 2.5', '"2.5" is no whole number above 0.'],
  ['worker --prefetch-multiplier -1', '"-1" is no whole number from 0 up.'],
  ['worker --autoscale 5,many', '"many" is not a number.'],
  ['worker --time-limit 0', '"0" is no time. Expected seconds above 0.'],
  ['worker --heartbeat-interval -2', '"-2" is no time. Expected seconds from 0 up.'],
  ['worker --health-port 70000', '"70000" is no port. Expected 0 to 65535.'],
  ['worker worker.concurency=3', 'There is no setting "worker.concurency". Did you mean'],
  ['worker mail', '"mail" is no setting. Expected NAME=VALUE'],
  [
    'beat .max_loop_interval=often',
    'The value of .max_loop_interval is wrong. Expected a number of seconds from 0 up.',
  ],
  ['beat --max-interval -1', '"-1" is no time. Expected seconds above 0.'],
  ['beat --lease 0', '"0" is no time. Expected seconds above 0.'],
  ['call t --wait -1', '"-1" is no time. Expected seconds from 0 up.'],
  ['result t --wait -1', '"-1" is no time. Expected seconds from 0 up.'],
  ['inspect ping -t -1', '"-1" is no time. Expected seconds from 0 up.'],
  ['events -F 0', '"0" is no time. Expected seconds above 0.'],
  ['migrate a b -t 0', '"0" is no time. Expected seconds above 0.'],
  ['schedule next t -n 0', '"0" is no whole number above 0.'],
])('%s is wrong usage', async (line, message) => {
  let said = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => (said += String(text)) !== '');
  expect(await main(line.split(' '))).toBe(EXIT.usage);
  expect(said).toContain(message);
});
