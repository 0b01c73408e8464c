import { describe, expect, test } from 'vitest';
import { createProgram, programFor } from '../program.ts';
import { workerCommand } from '../commands/worker.ts';
import { readNodes } from './nodes.ts';

const program = await createProgram('multi');

function show(line: string, before: readonly string[] = []): readonly string[] {
  const nodes = readNodes(line.split(' '), {
    program: 'lovage',
    globals: program.options,
    worker: workerCommand().options,
    before,
    host: 'host.example',
  });
  return nodes.map(({ args }) => args.join(' '));
}

const node = (name: string, options: string, globals = ''): string =>
  `lovage ${globals}worker --detach -n ${name} --pidfile=${name.split('@')[0]}.pid --logfile=${name.split('@')[0]}%I.log${options}`;

// Those of Celery's own documentation. Source: celery/bin/multi.py.
describe('nodes', () => {
  test.each<[string, readonly string[]]>([
    ['Leslie -E', [node('Leslie@host.example', ' -E')]],
    ['-E Leslie', [node('Leslie@host.example', ' -E')]],
    ['2 -c 3', [node('celery1@host.example', ' -c 3'), node('celery2@host.example', ' -c 3')]],
    [
      '2 --concurrency 3',
      [node('celery1@host.example', ' --concurrency=3'), node('celery2@host.example', ' --concurrency=3')],
    ],
    ['1 --range-prefix=worker -c 3', [node('worker1@host.example', ' -c 3')]],
    ['image video -c 3', [node('image@host.example', ' -c 3'), node('video@host.example', ' -c 3')]],
    ['1 --hostname=worker.example.com', [node('celery1@worker.example.com', '')]],
    ['1 -n other', [node('celery1@other', '')]],
    ['foo@w.example bar@%h', [node('foo@w.example', ''), node('bar@host.example', '')]],
    ['image video -c 3 -c:image 10', [node('image@host.example', ' -c 10'), node('video@host.example', ' -c 3')]],
    ['image video -c 3 -c:2 10', [node('image@host.example', ' -c 3'), node('video@host.example', ' -c 10')]],
    ['1 -A proj -l INFO', [node('celery1@host.example', ' -l INFO', '-A proj ')]],
    ['1 -Q q-%n -- --anything', [node('celery1@host.example', ' -Q q-celery1 --anything')]],
  ])('%s', (line, expected) => {
    expect(show(line)).toEqual(expected);
  });

  test('ranges and lists choose nodes by their place', () => {
    const lines = show('5 -l INFO -Q:1-3 images,video -Q:4,5 data -Q default -l:4,5 DEBUG --loglevel:1=debug');
    expect(lines.map((line) => line.slice(line.indexOf('%I.log') + 7))).toEqual([
      '-l INFO -Q images,video --loglevel=debug',
      '-l INFO -Q images,video',
      '-l INFO -Q images,video',
      '-l DEBUG -Q data',
      '-l DEBUG -Q data',
    ]);
  });

  test('files of their own, another executable, what stood before multi', () => {
    expect(show('1 --pidfile=/run/%n.pid -f /log/%n-%d.log', ['--app=proj'])).toEqual([
      'lovage --app=proj worker --detach -n celery1@host.example --pidfile=/run/celery1.pid --logfile=/log/celery1-host.example.log',
    ]);
  });

  test.each([
    ['-c 3', 'Which nodes?'],
    ['2 -c:3 10', 'no node number 3. Expected 1 to 2'],
    ['a b -c:c 10', 'no node "c". Expected one of: a, b'],
  ])('%s is refused', (line, message) => {
    expect(() => show(line)).toThrow(message);
  });

  test.each([
    ['-A multi multi start 2 -b:2 x', '-A multi multi -- start 2 -b:2 x'],
    ['multi --help', 'multi --help'],
    ['call multi -a []', 'call multi -a []'],
  ])('the parser of "%s" gets "%s"', async (given, expected) => {
    expect((await programFor(given.split(' '))).argv).toEqual(expected.split(' '));
  });
});
