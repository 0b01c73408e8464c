import type { SignatureDict } from '../canvas/signature-dict.ts';
import { encodeJson } from '../serialization/json.ts';

/**
 * The rest of a chain travels from message to message as it is. A worker that runs one step after the other neither
 * writes it anew for each nor reads what it has written itself.
 */

/** The JSON of signatures that came in a message; empty until one is passed on. */
const texts = new WeakMap<SignatureDict, string>();
const bodies = new WeakMap<Uint8Array, OwnBody>();

/** A body that this process has written. */
export interface OwnBody {
  /** Its JSON with null in place of the chain. */
  readonly rest: string;
  readonly chain: readonly SignatureDict[];
}

/** The third part of a body. */
export interface Embed {
  readonly callbacks: readonly SignatureDict[] | null;
  readonly errbacks: readonly SignatureDict[] | null;
  readonly chain: readonly SignatureDict[] | null;
  readonly chord: SignatureDict | null;
}

/** These came in a message: nobody changes them. */
export function markReceived(chain: readonly SignatureDict[]): void {
  for (const signature of chain) if (!texts.has(signature)) texts.set(signature, '');
}

/**
 * The JSON of a task's body as bytes; undefined when it has no chain, or one that did not come in a message. The chain is
 * the last key, so that its text can be put in. Throws `EncodeError` as {@link encodeJson} does.
 */
export function encodeAlong(
  args: readonly unknown[],
  kwargs: Readonly<Record<string, unknown>>,
  { chain, ...links }: Embed,
  maxDepth: number,
): Uint8Array | undefined {
  if (chain === null) return undefined;
  const parts: string[] = [];
  for (const signature of chain) {
    let text = texts.get(signature);
    if (text === undefined) return undefined;
    if (text === '') texts.set(signature, (text = encodeJson(signature)));
    parts.push(text);
  }
  const rest = encodeJson([args, kwargs, { ...links, chain: null }], maxDepth);
  const body = Buffer.from(`${rest.slice(0, -NO_CHAIN.length)}[${parts.join(',')}]}]`);
  bodies.set(body, { rest, chain });
  return body;
}

const NO_CHAIN = 'null}]';

/** What {@link encodeAlong} wrote into these bytes. */
export function ownBody(body: Uint8Array): OwnBody | undefined {
  return bodies.get(body);
}
