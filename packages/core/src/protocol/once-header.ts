/**
 * Header of a message that may be sent twice with the same task id, because its sender cannot always know whether it was
 * sent: the body of a chord, by the chord's group id. Workers run one of them.
 */
export const ONCE_HEADER = 'x-lovage-once';
