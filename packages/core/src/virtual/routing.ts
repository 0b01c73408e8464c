import type { ExchangeType } from '../transport/topology.ts';

/**
 * The regular expression that Kombu keeps with a topic binding. Python peers match with this text, and an empty one
 * matches everything, so it is written to the letter: `a.*.#` is `^a\..*?[^\.]\..*?$`.
 * Source: kombu/transport/virtual/exchange.py, TopicExchange.key_to_pattern; kombu/utils/text.py, escape_regex.
 */
export function topicPattern(bindingKey: string): string {
  const words = escapeRegex(bindingKey).split('.');
  return `^${words.map((word) => (word === '*' ? '.*?[^\\.]' : word === '#' ? '.*?' : word)).join('\\.')}$`;
}

function escapeRegex(text: string): string {
  return text.replace(/[^\p{L}\p{N}.#*]/gu, (char) => (char === '\0' ? '\\000' : `\\${char}`));
}

/** Whether an exchange of this type sends a message with `routingKey` along a binding with `bindingKey`. */
export function isRouted(type: ExchangeType, bindingKey: string, routingKey: string): boolean {
  switch (type) {
    case 'fanout':
      return true;
    case 'topic':
      return matchesTopic(bindingKey, routingKey);
    case 'direct':
    case 'headers':
      return bindingKey === routingKey;
  }
}

/**
 * Kombu's rule for topics, which is not AMQP's: a word `*` stands for one or more characters, dots included, of which
 * the last is no dot (`a.*.c` takes `a.b.x.c`); a word `#` stands for any characters, also none, between the dots that
 * surround it (`a.#` does not take `a`). A `*` inside a word repeats the character before it, as in the stored
 * expression.
 *
 * The stored expression is never run: the time is at most the product of both lengths, whatever the key.
 */
export function matchesTopic(bindingKey: string, routingKey: string): boolean {
  if (bindingKey === '#') return true;
  if (!bindingKey.includes('*') && !bindingKey.includes('#')) return bindingKey === routingKey;
  return run(compile(bindingKey), routingKey);
}

/** One step of a compiled key: one character, or a repetition of one. */
type Step = { readonly one: string } | { readonly many: string };

/** Not characters, so they stand beside them. */
const NOT_A_DOT = 'not a dot';
const ANYTHING = 'anything';

const compiled = new Map<string, readonly Step[]>();
const MAX_COMPILED = 1000;

function compile(bindingKey: string): readonly Step[] {
  let steps = compiled.get(bindingKey);
  if (steps === undefined) {
    if (compiled.size >= MAX_COMPILED) compiled.clear();
    steps = bindingKey.split('.').flatMap((word, index) => [...(index === 0 ? [] : [{ one: '.' }]), ...stepsOf(word)]);
    compiled.set(bindingKey, steps);
  }
  return steps;
}

function stepsOf(word: string): readonly Step[] {
  if (word === '#') return [{ many: ANYTHING }];
  if (word === '*') return [{ many: ANYTHING }, { one: NOT_A_DOT }];
  const steps: Step[] = [];
  for (const char of word) {
    const last = steps.at(-1);
    if (char === '*' && last !== undefined && 'one' in last) steps[steps.length - 1] = { many: last.one };
    else steps.push({ one: char });
  }
  return steps;
}

/** Follows all ways through the steps at once: `reached[i]` says that the first `i` steps match what was read so far. */
function run(steps: readonly Step[], text: string): boolean {
  let reached = new Uint8Array(steps.length + 1);
  reached[0] = 1;
  skipRepetitions(steps, reached);
  for (const char of text) {
    const next = new Uint8Array(steps.length + 1);
    for (let index = 0; index < steps.length; index++) {
      if (reached[index] === 0) continue;
      const step = steps[index] as Step;
      if ('one' in step) {
        if (step.one === NOT_A_DOT ? char !== '.' : step.one === char) next[index + 1] = 1;
      } else if (step.many === ANYTHING || step.many === char) next[index] = 1;
    }
    skipRepetitions(steps, next);
    reached = next;
  }
  return reached[steps.length] === 1;
}

/** A repetition may be empty. */
function skipRepetitions(steps: readonly Step[], reached: Uint8Array): void {
  for (let index = 0; index < steps.length; index++) {
    if (reached[index] === 1 && 'many' in (steps[index] as Step)) reached[index + 1] = 1;
  }
}
