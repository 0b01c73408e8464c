/** A broker that a new project can begin with. */
export interface BrokerChoice {
  /** As given to `--broker`. */
  readonly name: string;
  readonly label: string;
  readonly hint: string;
  readonly broker: string;
  /** Where results are kept: in the same server, on their way back to the sender, or in a file of SQLite. */
  readonly results: 'same' | 'rpc' | 'sqlite';
  readonly transport: string;
  /** The driver that the transport leaves to the application. */
  readonly driver?: readonly [name: string, range: string];
  /** How to have one on this machine. */
  readonly server?: string;
}

/** The embedded default first. The URL of any other broker can be given too. */
export const BROKERS: readonly BrokerChoice[] = [
  {
    name: 'sqlite',
    label: 'SQLite',
    hint: 'a file, no server; for one machine',
    broker: 'sqla+sqlite:///lovage.db',
    transport: 'transport-sql',
    results: 'same',
  },
  {
    name: 'redis',
    label: 'Redis or Valkey',
    hint: 'broker and results',
    broker: 'redis://localhost:6379/0',
    transport: 'transport-redis',
    results: 'same',
    server: 'docker run -p 6379:6379 redis',
  },
  {
    name: 'amqp',
    label: 'RabbitMQ',
    hint: 'results come back as messages',
    broker: 'amqp://guest:guest@localhost:5672//',
    transport: 'transport-amqp',
    results: 'rpc',
    server: 'docker run -p 5672:5672 rabbitmq',
  },
  {
    name: 'postgresql',
    label: 'PostgreSQL',
    hint: 'broker and results',
    broker: 'sqla+postgresql://postgres:postgres@localhost:5432/postgres',
    transport: 'transport-sql',
    results: 'same',
    driver: ['pg', '^8.23.1'],
    server: 'docker run -p 5432:5432 -e POSTGRES_PASSWORD=postgres postgres',
  },
  {
    name: 'mysql',
    label: 'MySQL or MariaDB',
    hint: 'broker and results',
    broker: 'sqla+mysql://root:root@localhost:3306/lovage',
    transport: 'transport-sql',
    results: 'same',
    driver: ['mysql2', '^3.24.6'],
    server: 'docker run -p 3306:3306 -e MARIADB_ROOT_PASSWORD=root -e MARIADB_DATABASE=lovage mariadb',
  },
  {
    name: 'mongodb',
    label: 'MongoDB',
    hint: 'broker and results',
    broker: 'mongodb://localhost:27017/lovage',
    transport: 'transport-mongodb',
    results: 'same',
    server: 'docker run -p 27017:27017 mongo',
  },
  {
    name: 'nats',
    label: 'NATS JetStream',
    hint: 'broker and results',
    broker: 'nats://localhost:4222',
    transport: 'transport-nats',
    results: 'same',
    server: 'docker run -p 4222:4222 nats -js',
  },
  {
    name: 'sqs',
    label: 'Amazon SQS',
    hint: 'results in SQLite until you choose a store',
    broker: 'sqs://',
    transport: 'transport-sqs',
    results: 'sqlite',
  },
  {
    name: 'beanstalk',
    label: 'Beanstalkd',
    hint: 'results in SQLite until you choose a store',
    broker: 'beanstalk://localhost:11300',
    transport: 'transport-beanstalk',
    results: 'sqlite',
    server: 'docker run -p 11300:11300 schickling/beanstalkd',
  },
  {
    name: 'couchdb',
    label: 'CouchDB',
    hint: 'broker and results',
    broker: 'couchdb://admin:admin@localhost:5984/lovage',
    transport: 'transport-couchdb',
    results: 'same',
    server: 'docker run -p 5984:5984 -e COUCHDB_USER=admin -e COUCHDB_PASSWORD=admin couchdb',
  },
  {
    name: 'ironmq',
    label: 'IronMQ',
    hint: 'results in SQLite until you choose a store',
    broker: 'ironmq://',
    transport: 'transport-ironmq',
    results: 'sqlite',
  },
];

/** Where results of a broker's tasks go, and the package that brings them there. */
export function resultsOf({ results, transport }: BrokerChoice, broker: string): { backend: string; package: string } {
  switch (results) {
    case 'rpc':
      return { backend: 'rpc://', package: 'backend-rpc' };
    case 'sqlite':
      return { backend: 'db+sqlite:///lovage.db', package: 'backend-sql' };
    case 'same':
      return { backend: broker.replace(/^sqla\+/, 'db+'), package: transport.replace('transport-', 'backend-') };
  }
}

/** A broker by its name here, by another name people know it by, or by its URL. undefined: none of these. */
export function findBroker(given: string): BrokerChoice | undefined {
  const scheme = /^([\w+.-]+):\/\//.exec(given)?.[1]?.toLowerCase();
  const name = scheme ?? given.toLowerCase();
  const found = BROKERS.find((choice) => choice.name === (ALIASES[name] ?? name));
  return found === undefined || scheme === undefined ? found : { ...found, broker: given };
}

const ALIASES: Readonly<Record<string, string>> = {
  rabbitmq: 'amqp',
  amqps: 'amqp',
  pyamqp: 'amqp',
  valkey: 'redis',
  rediss: 'redis',
  'redis+socket': 'redis',
  sentinel: 'redis',
  postgres: 'postgresql',
  mariadb: 'mysql',
  mongo: 'mongodb',
  'mongodb+srv': 'mongodb',
  'tls+nats': 'nats',
  beanstalkd: 'beanstalk',
  couchdbs: 'couchdb',
  'sqla+sqlite': 'sqlite',
  'sqla+postgresql': 'postgresql',
  'sqla+mysql': 'mysql',
  'sqla+mariadb': 'mysql',
};
