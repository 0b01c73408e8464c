import type { TransportFault } from './fault.ts';
import { tcpTransport } from './tcp-broker.ts';

/** Faults that show when a link breaks: clients of a small broker behind a socket. */
export const linkFaults: readonly TransportFault[] = [
  {
    name: 'does not notice a silent peer',
    fails: ['loss: a silent peer is lost after two heartbeats'],
    transport: tcpTransport({ missesSilence: true }),
  },
  {
    name: 'waits for ever to connect',
    fails: ['loss: connect() to a silent peer ends in time'],
    transport: tcpTransport({ waitsForEver: true }),
  },
  {
    name: 'confirms what it does not know when its link is cut',
    fails: ['loss: no message whose publish resolved is missing, wherever the link is cut'],
    mayFail: /^loss: |^close: /,
    transport: tcpTransport({ resolvesWhatIsLost: true }),
  },
  {
    name: 'leaves its socket open when connecting fails',
    fails: [
      'abort: connect() that waits rejects with the reason, and leaves nothing open',
      'loss: connect() to a silent peer ends in time',
    ],
    transport: tcpTransport({ staysOpenOnAbort: true }),
  },
  {
    name: 'takes what arrives at once for whole messages',
    fails: ['loss: bytes that come one by one, and late, are the same bytes'],
    // Whatever is longer than one read.
    mayFail: /./,
    transport: tcpTransport({ takesChunksForLines: true }),
  },
  {
    name: 'throws the errors of its socket',
    fails: ['loss: connect() to nobody is a ConnectError'],
    transport: tcpTransport({ throwsRawErrors: true }),
  },
];
