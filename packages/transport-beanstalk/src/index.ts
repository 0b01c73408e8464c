import { type Transport, virtualTransport } from '@lovage/core/transport';
import { openBeanstalkDriver } from './driver.ts';

export type { BeanstalkTransportOptions } from './options.ts';

/** The broker beanstalkd, in the layout of Kombu 3: scheme `beanstalk`; options as {@link BeanstalkTransportOptions}. */
export const beanstalkTransport: Transport = virtualTransport({ schemes: ['beanstalk'], open: openBeanstalkDriver });
