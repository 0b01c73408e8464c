/** Header of a message that our beat has sent: the instant that it stands for. Sent twice, it has the same task id twice. */
export const INSTANT_HEADER = 'x-lovage-instant';
/** Header with the name of the periodic task, as django-celery-beat has it. */
export const PERIODIC_NAME_HEADER = 'periodic_task_name';
