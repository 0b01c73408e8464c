import { execFileSync } from 'node:child_process';
import { Command } from 'commander';
import { expect, test } from 'vitest';
import { createProgram } from '../src/program.ts';

const python = process.env.LOVAGE_TEST_PYTHON;

const SCRIPT = `
import json
from celery.bin.celery import celery

def flags(command):
    return [flag for param in command.params for flag in (*param.opts, *param.secondary_opts) if flag.startswith("-")]

def walk(command, name=""):
    yield name, flags(command)
    for one, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, f"{name} {one}".strip())

print(json.dumps(dict(walk(celery))))
`;

/** The verbs of `amqp` are its argument, to be asked for one by one; the steps in which Celery starts are Python's. */
const ELSEWHERE = /^amqp .|^graph bootsteps$/;

test.skipIf(python === undefined)("every flag of Celery's command is known", async () => {
  const theirs = JSON.parse(execFileSync(python as string, ['-c', SCRIPT], { encoding: 'utf8' })) as Readonly<
    Record<string, readonly string[]>
  >;
  const program = await createProgram();
  const missing = Object.entries(theirs).flatMap(([name, flags]) => {
    const words = name.split(' ').filter((word) => word !== '');
    const command = words.reduce<Command | undefined>(
      (found, word) => found?.commands.find((one) => one.name() === word || one.aliases().includes(word)),
      program,
    );
    if (command === undefined) return ELSEWHERE.test(name) ? [] : [name];
    const known = new Set(command.options.flatMap(({ short, long }) => [short, long]));
    return flags.filter((flag) => flag !== '--help' && !known.has(flag)).map((flag) => `${name} ${flag}`);
  });
  expect(missing).toEqual([]);
});
