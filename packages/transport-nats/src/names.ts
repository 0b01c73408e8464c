import { subjectToken } from '@lovage/nats';

/** Everything of Lovage's own lies below; what Kombu has too has Kombu's names. */
const OWN = 'lovage';
/** More is no readable subject any more, and beyond 4096 the server cuts the link. */
const MAX_SUBJECT_LENGTH = 200;

/**
 * Where the messages of a queue are published: the queue's own name, as Kombu has it, unless it would be no plain subject,
 * a pattern, one of the server's or one of Lovage's own.
 */
export function queueSubject(queue: string, prefix: string): string {
  const isPlain =
    queue.length <= MAX_SUBJECT_LENGTH &&
    !/[\p{C}\p{Z}*>]/u.test(queue) &&
    queue.split('.').every((token) => token !== '') &&
    !queue.startsWith('$') &&
    (prefix !== '' || !new RegExp(`^(${OWN}|_INBOX|_R_)(\\.|$)`).test(queue));
  return isPlain ? prefix + queue : `${prefix}${OWN}.queue.${subjectToken(queue)}`;
}

/** Where messages of a higher priority are published, on queues that have `x-max-priority`: of one step, or `*` for all. */
export function prioritySubject(queue: string, step: string, prefix: string): string {
  return `${prefix}${OWN}.priority.${step}.${subjectToken(queue)}`;
}

/** Where delayed messages wait, each on a subject of its own: `id` of one message, `*` for all. */
export function delaySubject(queue: string, id: string, prefix: string): string {
  return `${prefix}${OWN}.delayed.${subjectToken(queue)}.${id}`;
}

/** Where a binding is kept: of an exchange and a hash of the rest, or `*` for all. */
export function bindingSubject(exchange: string, id: string, prefix: string): string {
  return `${prefix}${OWN}.binding.${exchange === '*' ? '*' : `=${subjectToken(exchange)}`}.${id}`;
}

/** Where the messages of a fanout exchange are sent, by core NATS. Source: the same, _fanout_subject. */
export function fanoutSubject(exchange: string): string {
  const subject = `celery.fanout.${exchange}`;
  const isPlain = !/[\p{C}\p{Z}*>]/u.test(subject) && subject.split('.').every((token) => token !== '');
  return isPlain ? subject : `${OWN}.fanout.${subjectToken(exchange)}`;
}
