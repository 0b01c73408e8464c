// Python Celery, the newest supported version and the oldest, and Flower. Their "URL" is the interpreter that has them.
import { pythonWith } from '../provide.mjs';

const peer = (name, requirements) => async () => ({ url: await pythonWith(name, requirements), stop: async () => {} });

export default {
  python: { variable: 'LOVAGE_TEST_PYTHON', start: peer('python', 'interop/python/requirements-5.6.txt') },
  'python-5.2': { variable: 'LOVAGE_TEST_PYTHON_52', start: peer('python-5.2', 'interop/python/requirements-5.2.txt') },
  flower: { variable: 'LOVAGE_TEST_FLOWER_PYTHON', start: peer('flower', 'interop/python/requirements-flower.txt') },
};
