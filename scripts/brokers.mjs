// Every broker as the demo, the kill tests and the benchmarks meet it: its services, the URL of it and of a store for
// results. Where `restartable`, a kill test may kill the first service and start it again on its data; `standsStillMs`:
// so long it waits for progress. `transport` and `driver` are what an application installs where that is not
// `transport-NAME` alone.
const file = (dir) => `db+sqlite:///${dir}/results.db`;
const at = (variable) => (env) => env[variable];

/** A broker that keeps no results: an SQLite file keeps them. */
const row = (service, variable, more = {}) => ({
  services: [service],
  broker: at(variable),
  backend: (_, dir) => file(dir),
  ...more,
});

export const BROKERS = {
  sqlite: {
    services: [],
    transport: 'transport-sql',
    broker: (_, dir) => `sqla+sqlite:///${dir}/broker.db`,
    backend: (_, dir) => file(dir),
  },
  redis: row('redis', 'LOVAGE_TEST_REDIS_URL', { backend: at('LOVAGE_TEST_REDIS_URL') }),
  postgresql: {
    services: ['postgresql'],
    transport: 'transport-sql',
    driver: 'pg',
    restartable: true,
    broker: (env) => `sqla+${env.LOVAGE_TEST_POSTGRESQL_URL}`,
    backend: (env) => `db+${env.LOVAGE_TEST_POSTGRESQL_URL}`,
  },
  mysql: {
    services: ['mariadb'],
    transport: 'transport-sql',
    driver: 'mysql2',
    restartable: true,
    broker: (env) => `sqla+${env.LOVAGE_TEST_MARIADB_URL}`,
    backend: (env) => `db+${env.LOVAGE_TEST_MARIADB_URL}`,
  },
  nats: row('nats', 'LOVAGE_TEST_NATS_URL', { backend: at('LOVAGE_TEST_NATS_URL'), restartable: true }),
  mongodb: row('mongodb', 'LOVAGE_TEST_MONGODB_URL', { backend: at('LOVAGE_TEST_MONGODB_URL'), restartable: true }),
  beanstalk: row('beanstalk-durable', 'LOVAGE_TEST_BEANSTALK_DURABLE_URL', { restartable: true }),
  amqp: row('amqp', 'LOVAGE_TEST_AMQP_URL', { backend: () => 'rpc://' }),
  // A test server written from IronMQ's published HTTP API, which keeps nothing.
  ironmq: row('ironmq', 'LOVAGE_TEST_IRONMQ_URL'),
  // PouchDB Server answers nobody while it brings its views up to date.
  couchdb: row('couchdb', 'LOVAGE_TEST_COUCHDB_URL', { restartable: true, standsStillMs: 120_000 }),
  sqs: row('sqs', 'LOVAGE_TEST_SQS_URL'),
  filesystem: {
    services: [],
    broker: (_, dir) => `filesystem://${dir}/broker`,
    backend: (_, dir) => file(dir),
  },
};
