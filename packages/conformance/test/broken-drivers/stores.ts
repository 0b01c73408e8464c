import { type Backend, EncodeError, isKept, type KeyValueWrite, type ResultBackend } from '@lovage/core/backend';
import { memoryBackend } from '@lovage/core/memory';
import { arrayBackend } from './array-store.ts';
import { type BackendFault, replace, trip } from './fault.ts';

function broken(members: (backend: ResultBackend) => Partial<ResultBackend>): Backend {
  return {
    schemes: ['memory'],
    async open(url, options) {
      const backend = await memoryBackend.open(url, options);
      return replace(backend, members(backend));
    },
  };
}

/** Faults of result stores. */
export const backendFaults: readonly BackendFault[] = [
  {
    name: 'overwrites a success',
    fails: [
      'success: no later state overwrites it',
      'success: nothing that follows in its batch or its tick overwrites it',
      'success: no state that another process stores at the same time overwrites it',
      'success: an end stays when a state arrives late that the task was in before',
    ],
    backend: arrayBackend({
      set: async (shelf, writes) => {
        for (const one of writes) shelf.put(one);
        return writes.map(() => undefined);
      },
    }),
  },
  {
    name: 'overwrites a failure with what was before it',
    fails: ['success: an end stays when a state arrives late that the task was in before'],
    backend: arrayBackend({
      set: async (shelf, writes) => {
        for (const one of writes) {
          const present = shelf.get(one.key);
          if (present === undefined || one.guard?.isSuccess(present.value) !== true) shelf.put(one);
        }
        return writes.map(() => undefined);
      },
    }),
  },
  {
    name: 'reads before it writes, as Celery does, which two processes do at once',
    fails: ['success: no state that another process stores at the same time overwrites it'],
    backend: arrayBackend({
      set: async (shelf, writes) => {
        const isFree = (one: KeyValueWrite): boolean => {
          const present = shelf.get(one.key);
          return present === undefined || !isKept(present.value, one);
        };
        const before = new Map(writes.map((one) => [one.key, isFree(one)]));
        await trip();
        const own = new Set<string>();
        for (const one of writes) {
          // Within a batch it knows what it wrote itself.
          if (own.has(one.key) ? isFree(one) : before.get(one.key) === true) shelf.put(one);
          own.add(one.key);
        }
        return writes.map(() => undefined);
      },
    }),
  },
  {
    name: 'writes documents whatever their version',
    fails: [
      'documents: nothing is written over a version that was not read',
      'documents: of many who write at once over the same version, one is first',
    ],
    backend: broken(({ documents }) => {
      if (documents === undefined) throw new TypeError('The memory store keeps documents.');
      return {
        documents: {
          read: (name) => documents.read(name),
          async write(name, text) {
            for (;;) {
              const version = await documents.write(name, text, (await documents.read(name))?.version);
              if (version !== undefined) return version;
            }
          },
        },
      };
    }),
  },
  {
    name: 'loses the end of a large batch',
    fails: ['store: many writes of one tick are all kept'],
    backend: arrayBackend({
      set: async (shelf, writes) => {
        for (const one of writes.slice(0, 250)) {
          const present = shelf.get(one.key);
          if (present === undefined || !isKept(present.value, one)) shelf.put(one);
        }
        return writes.map(() => undefined);
      },
    }),
  },
  {
    name: 'says that a result is kept when it is closed before',
    fails: ['close: keeps every result whose store() resolved'],
    backend: broken((backend) => {
      let isClosing = false;
      return {
        store: async (writes) => {
          const isEarly = !isClosing;
          await trip();
          if (isEarly && isClosing) return;
          await backend.store(writes);
        },
        close: async () => {
          isClosing = true;
          await backend.close();
        },
      };
    }),
  },
  {
    name: 'misses what is stored between subscribing and loading',
    fails: [
      'subscribe: one at a time, what is stored between subscribing and loading is not missed',
      'subscribe: subscribing and then loading misses no result, whenever it is stored',
    ],
    // Whatever waits by a subscription.
    mayFail: /^subscribe: |^close: |^success: /,
    backend: broken((backend) => ({
      subscribe: async (taskIds, listener) => {
        let subscription: Awaited<ReturnType<ResultBackend['subscribe']>> | undefined;
        let isOver = false;
        const subscribing = async (): Promise<void> => {
          for (let turn = 0; turn < 5; turn++) await trip();
          if (!isOver) subscription = await backend.subscribe(taskIds, listener);
        };
        subscribing().catch(() => {});
        return {
          unsubscribe: () => {
            isOver = true;
            subscription?.unsubscribe();
          },
        };
      },
    })),
  },
  {
    name: 'lets one bad write fail its batch',
    fails: ['store: a write that cannot be kept rejects, and the others of its batch are kept'],
    backend: broken((backend) => ({
      store: async (writes) => {
        const isBad = writes.some(({ meta }) => JSON.stringify(meta.result) === '{}' && hasSymbol(meta.result));
        if (isBad) throw new EncodeError('One of the values cannot be written.');
        await backend.store(writes);
      },
    })),
  },
  {
    name: 'never expires',
    fails: ['expiry: a result is gone after its time', 'expiry: a group is gone after its time'],
    // They wait for a result that expires beside.
    mayFail:
      /^(expiry: a result without a time stays|chords: what is left of one that never ended is gone after its time)$/,
    backend: {
      schemes: ['memory'],
      open: (url, options) => memoryBackend.open(url, { ...options, expiresSeconds: undefined }),
    },
  },
  {
    name: 'expires what has no expiry',
    fails: ['expiry: a result without a time stays'],
    backend: {
      schemes: ['memory'],
      open: (url, options) => memoryBackend.open(url, { ...options, expiresSeconds: options.expiresSeconds ?? 1 }),
    },
  },
  {
    name: 'tells after unsubscribe()',
    fails: [
      'subscribe: after unsubscribe() nothing is told, and the store goes on',
      'subscribe: two subscriptions to one task are both told, and ending one leaves the other',
    ],
    backend: broken((backend) => ({
      subscribe: async (taskIds, listener) => {
        await backend.subscribe(taskIds, listener);
        return { unsubscribe: () => {} };
      },
    })),
  },
  {
    name: 'ends every subscription of a task with one',
    fails: ['subscribe: two subscriptions to one task are both told, and ending one leaves the other'],
    backend: broken((backend) => {
      const byTask = new Map<string, Set<{ unsubscribe(): void }>>();
      return {
        subscribe: async (taskIds, listener) => {
          const own = await backend.subscribe(taskIds, listener);
          for (const id of taskIds) byTask.set(id, (byTask.get(id) ?? new Set()).add(own));
          return {
            unsubscribe: () => {
              for (const id of taskIds) for (const one of byTask.get(id) ?? []) one.unsubscribe();
            },
          };
        },
      };
    }),
  },
  {
    name: 'forgets nothing',
    fails: [
      'forget: a task may be stored again after it',
      'forget: what is forgotten is gone, the rest stays, and unknown ids are no error',
    ],
    backend: broken((backend) => ({ forget: async (taskIds) => void (await backend.load(taskIds)) })),
  },
  {
    name: 'answers load() in its own order',
    fails: [
      'forget: what is forgotten is gone, the rest stays, and unknown ids are no error',
      'store: load() answers in the order asked, and undefined where nothing is kept',
    ],
    backend: broken((backend) => ({
      load: async (taskIds) => {
        const metas = await backend.load(taskIds);
        return [...metas.filter((meta) => meta !== undefined), ...metas.filter((meta) => meta === undefined)];
      },
    })),
  },
  {
    name: 'keeps groups for one process',
    fails: ['groups: a saved group is loaded by any process, and forgotten', 'expiry: a group is gone after its time'],
    backend: broken(() => {
      const groups = new Map<string, unknown>();
      return {
        saveGroup: async (id, tuple) => void groups.set(id, tuple),
        loadGroup: async (id) => groups.get(id),
        forgetGroup: async (id) => void groups.delete(id),
      };
    }),
  },
];

function hasSymbol(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.values(value).some((item) => typeof item === 'symbol');
}
