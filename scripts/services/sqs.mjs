// ElasticMQ, which speaks the protocol of Amazon SQS and keeps messages in a file database; there is no SQS to install.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { debianProgram, mavenJars } from '../provide.mjs';
import { freePort, server } from '../server-process.mjs';

const ELASTICMQ = 'org.elasticmq:elasticmq-server_3:1.7.1';

async function startElasticMq() {
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
queues-storage { enabled = true, path = "${dir}/queues.conf" }
messages-storage {
  enabled = true
  driver-class = "org.h2.Driver"
  # Written before it is answered for.
  uri = "jdbc:h2:${dir}/messages;WRITE_DELAY=0"
  username = "sa"
  password = ""
  prune-data-on-init = false
}
`,
  );
  const args = ['-Xmx256m', `-Dconfig.file=${dir}/elasticmq.conf`, '-cp', `${jars}/*`, 'org.elasticmq.server.Main'];
  return server(java, args, { dir, port, url: `sqs://key:secret@127.0.0.1:${port}`, deadlineMs: 40_000 });
}

export default { sqs: { variable: 'LOVAGE_TEST_SQS_URL', start: startElasticMq } };
