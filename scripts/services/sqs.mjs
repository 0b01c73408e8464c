// ElasticMQ, which speaks the protocol of Amazon SQS; there is no SQS to install.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { debianProgram, mavenJars } from '../provide.mjs';
import { freePort, server } from '../server-process.mjs';

const ELASTICMQ = 'org.elasticmq:elasticmq-server_3:1.7.1';

/** On disk before it is answered for. */
const durable = (dir) => `
queues-storage { enabled = true, path = "${dir}/queues.conf" }
messages-storage {
  enabled = true
  driver-class = "org.h2.Driver"
  uri = "jdbc:h2:${dir}/messages;WRITE_DELAY=0"
  username = "sa"
  password = ""
  prune-data-on-init = false
}
`;

async function startElasticMq(storage) {
  const java = await debianProgram('java', 'default-jre-headless');
  const jars = await mavenJars(ELASTICMQ);
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-elasticmq-'));
  writeFileSync(
    join(dir, 'elasticmq.conf'),
    `include classpath("application.conf")
pekko.loglevel = "ERROR"
node-address { protocol = http, host = "127.0.0.1", port = ${port}, context-path = "" }
rest-sqs { enabled = true, bind-hostname = "127.0.0.1", bind-port = ${port}, sqs-limits = strict }
rest-stats { enabled = false }
${storage(dir)}`,
  );
  const args = ['-Xmx256m', `-Dconfig.file=${dir}/elasticmq.conf`, '-cp', `${jars}/*`, 'org.elasticmq.server.Main'];
  return server(java, args, { dir, port, url: `sqs://key:secret@127.0.0.1:${port}`, deadlineMs: 40_000 });
}

export default {
  sqs: { variable: 'LOVAGE_TEST_SQS_URL', start: () => startElasticMq(() => '') },
  // For tests that kill the server: its messages outlive it, and nobody else uses it.
  'sqs-durable': { variable: 'LOVAGE_TEST_SQS_DURABLE_URL', start: () => startElasticMq(durable) },
};
