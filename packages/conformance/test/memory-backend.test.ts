import { memoryBackend } from '@lovage/core/memory';
import { describe, test } from 'vitest';
import { backendConformance } from '@lovage/conformance';

describe('memory', () => {
  backendConformance({ test, backend: memoryBackend, url: 'cache+memory://conformance' });
});
