import { defineConfig } from 'vitest/config';

// Not "import", which is implied: Vitest hands these to Node, where a `require()` would then get modules. Not "module":
// what packages have under that name is for bundlers, and Node cannot load it.
const conditions = ['@lovage/source', 'node'];
// Nest's decorators are those of TypeScript before the standard ones.
const oxc = { decorator: { legacy: true } };
/** What a test polls for comes at once on an idle machine, and in the end on a loaded one. */
const patient = { expect: { poll: { timeout: 30_000 } } };
const shared = { resolve: { conditions }, ssr: { resolve: { conditions } }, oxc };

export default defineConfig({
  test: {
    projects: [
      {
        ...shared,
        test: {
          ...patient,
          name: 'unit',
          include: ['packages/*/src/**/*.test.ts'],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          typecheck: { enabled: true, include: ['packages/*/src/**/*.test-d.ts'], tsconfig: 'tsconfig.test.json' },
        },
      },
      {
        // What needs a broker or a second process; its servers come from `pnpm services`.
        ...shared,
        test: {
          ...patient,
          name: 'broker',
          include: ['packages/*/test/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          fileParallelism: false,
        },
      },
      {
        // The real Python Celery against the built packages.
        test: {
          name: 'interop',
          include: ['interop/test/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
