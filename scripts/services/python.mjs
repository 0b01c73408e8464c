// Python Celery, the newest supported version and the oldest, Flower, and what traces Celery. Their "URL" is the interpreter that has them.
import { pythonWith } from '../provide.mjs';

const peer = (name, requirements) => async () => ({ url: await pythonWith(name, requirements), stop: async () => {} });

export default {
  python: { variable: 'LOVAGE_TEST_PYTHON', start: peer('python', 'interop/python/requirements-5.6.txt') },
  'python-5.2': { variable: 'LOVAGE_TEST_PYTHON_52', start: peer('python-5.2', 'interop/python/requirements-5.2.txt') },
  traces: { variable: 'LOVAGE_TEST_TRACES_PYTHON', start: peer('traces', 'interop/python/requirements-traces.txt') },
  flower: { variable: 'LOVAGE_TEST_FLOWER_PYTHON', start: peer('flower', 'interop/python/requirements-flower.txt') },
};
