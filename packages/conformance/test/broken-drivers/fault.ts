import type { Backend } from '@lovage/core/backend';
import type { Transport } from '@lovage/core/transport';

export interface Fault {
  /** What it does wrong. */
  readonly name: string;
  /** The tests that have to fail, and no others. */
  readonly fails: readonly string[];
  /** Tests that meet the fault only when the moment is right. */
  readonly mayFail?: RegExp;
}

/** A transport that is right in all but one thing. */
export interface TransportFault extends Fault {
  readonly transport: Transport;
  /** Leased messages, for faults that show there. */
  readonly leaseMs?: number;
  readonly maxMessageBytes?: number;
}

/** A result store that is right in all but one thing. */
export interface BackendFault extends Fault {
  readonly backend: Backend;
}

/** One turn of the event loop, as a trip to a server takes at least. */
export function trip(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** `target` with some of its members replaced; methods keep their own `this`. */
export function replace<T extends object>(target: T, members: Partial<T>): T {
  return new Proxy(target, {
    get(_, key) {
      const source: object = Object.hasOwn(members, key) ? members : target;
      const value: unknown = Reflect.get(source, key, source);
      return typeof value === 'function' ? (value.bind(source) as unknown) : value;
    },
  });
}
