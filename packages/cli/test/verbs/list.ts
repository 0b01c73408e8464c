import { brokerFaults } from '../support/faults.ts';
import type { VerbRows } from '../support/verbs.ts';

export default {
  'list bindings': [
    { args: ['list', 'bindings'], code: 0, out: /^Queue +Exchange +Routing Key\ncelery +celery +celery\n/, err: '' },
    {
      args: ['list', 'bindings', '--json'],
      code: 0,
      out: /^\{"from":"broker","bindings":\[\{"queue":"celery","exchange":"celery","routing_key":"celery"\}/,
      err: '',
    },
    ...brokerFaults('list', 'bindings'),
  ],
} satisfies VerbRows;
