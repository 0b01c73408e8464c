import { once } from 'node:events';
import { connect } from 'node:net';

/** Sends commands as they are and gives back all that beanstalkd says until it closes. */
export async function say(port: number, ...commands: (string | Uint8Array)[]): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  for (const command of commands) socket.write(command);
  socket.write('quit\r\n');
  await once(socket, 'close');
  return Buffer.concat(chunks).toString('latin1');
}

/** Puts bytes into a tube, as any other client would. */
export async function put(port: number, tube: string, bytes: Uint8Array, ttrSeconds = 120): Promise<void> {
  const said = await say(port, `use ${tube}\r\nput 0 0 ${ttrSeconds} ${bytes.length}\r\n`, bytes, '\r\n');
  if (!said.includes('INSERTED')) throw new Error(`beanstalkd said ${JSON.stringify(said)}`);
}
