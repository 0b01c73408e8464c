import { type BrokerChoice, resultsOf } from './brokers.ts';

export interface ProjectPlan {
  readonly name: string;
  readonly choice: BrokerChoice;
  /** Another store of results than that of the choice. */
  readonly resultBackend: string | undefined;
  /** Of the packages of Lovage. */
  readonly version: string;
  /** How a command of the project is run: `npx lovage`, `pnpm exec lovage`. */
  readonly exec: (...words: readonly string[]) => string;
  readonly runScript: (name: string) => string;
}

/** The files of a new project by their paths, `package.json` apart. */
export function projectFiles(plan: ProjectPlan): ReadonlyMap<string, string> {
  return new Map([
    ['lovage.config.ts', config(plan)],
    ['src/app.ts', APP(plan.name)],
    ['src/tasks.ts', TASKS],
    ['tsconfig.json', TSCONFIG],
    ['.gitignore', GITIGNORE],
    ['README.md', readme(plan)],
  ]);
}

export interface Manifest {
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

/** What `package.json` gets where it does not have it: only the chosen broker's packages. */
export function manifestParts({ choice, version, resultBackend }: ProjectPlan): Manifest {
  const { driver, transport } = choice;
  const own = ['core', 'cli', transport, ...(resultBackend === undefined ? [resultsOf(choice, '').package] : [])];
  return {
    scripts: {
      dev: 'lovage dev',
      worker: 'lovage worker -l info',
      beat: 'lovage beat -l info',
      check: 'tsc',
    },
    dependencies: {
      ...Object.fromEntries(own.toSorted().map((one) => [`@lovage/${one}`, `^${version}`])),
      ...(driver && { [driver[0]]: driver[1] }),
    },
    devDependencies: { '@types/node': '^20.19.0', typescript: '^5.9.0 || ^6.0.0 || ^7.0.0' },
  };
}

function config({ choice, resultBackend }: ProjectPlan): string {
  const { broker } = choice;
  const backend = resultBackend ?? resultsOf(choice, broker).backend;
  const server = choice.server === undefined ? '' : `  // One for this machine: ${choice.server}\n`;
  return `import { defineConfig } from '@lovage/core';

/** The settings of the app; src/app.ts gives them to it, and the lovage command reads them. */
export default defineConfig({
  app: './src/app.ts',
  tasks: 'src/**/tasks.ts',
  // LOVAGE_BROKER_URL and LOVAGE_RESULT_BACKEND in the environment win.
${server}  broker: ${quote(broker)},
  backend: ${quote(backend)},
  timezone: ${quote(Intl.DateTimeFormat().resolvedOptions().timeZone)},
});
`;
}

const APP = (name: string): string => `import { Lovage } from '@lovage/core';
import config from '../lovage.config.ts';

export const app: Lovage = new Lovage(${quote(name)}, config);
`;

const TASKS = `import { crontab } from '@lovage/core';
import { app } from './app.ts';

/** From anywhere in your code: \`const result = await add.delay(2, 2)\`, and \`await result.get()\` is 4. */
export const add = app.task('tasks.add', { params: ['x', 'y'] }, (x: number, y: number) => x + y);

export const greet = app.task('tasks.greet', (name: string) => {
  console.log(\`Good morning, \${name}\`);
});

// Every day at seven. "lovage schedule list" shows the next times.
greet.every(crontab({ minute: 0, hour: 7 }), ['Ada']);
`;

const TSCONFIG = `{
  "compilerOptions": {
    "target": "es2023",
    "module": "nodenext",
    "types": ["node"],
    "strict": true,
    "noUncheckedIndexedAccess": true,
    "erasableSyntaxOnly": true,
    "verbatimModuleSyntax": true,
    "allowImportingTsExtensions": true,
    "skipLibCheck": true,
    "noEmit": true
  },
  "include": ["src", "lovage.config.ts"]
}
`;

const GITIGNORE = `node_modules/
.env
*.log
# SQLite: messages, results, the schedule of beat
lovage.db*
celerybeat-schedule*
`;

function readme({ name, choice, exec, runScript }: ProjectPlan): string {
  const server = choice.server === undefined ? '' : `\nThe broker is ${choice.label}: \`${choice.server}\`\n`;
  return `# ${name}

Tasks with [Lovage](https://github.com/lovage-js/lovage).
${server}
\`\`\`sh
${runScript('dev')}    # a worker and a beat, started again when a file changes
${exec('lovage', 'call', 'tasks.add', '-a', "'[2, 2]'", '--wait')}    # 4
\`\`\`

| | |
|---|---|
| \`lovage.config.ts\` | settings: broker, result store, time zone |
| \`src/app.ts\` | the app |
| \`src/tasks.ts\` | tasks; any \`tasks.ts\` below \`src\` is found |
| \`${runScript('worker')}\` | a worker, as in production |
| \`${runScript('beat')}\` | sends periodic tasks; one is enough, more are spare |
| \`${exec('lovage', '--help')}\` | everything else: results, remote control, events, schedules |

Under systemd, Docker or another process manager start \`node_modules/.bin/lovage worker -l info\` itself: signals that stop
\`npx\` or a script of package.json do not reach the worker, which is then killed in the middle of its tasks.
`;
}

function quote(text: string): string {
  return `'${text.replaceAll('\\', String.raw`\\`).replaceAll("'", String.raw`\'`)}'`;
}
