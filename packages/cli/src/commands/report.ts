import { arch, platform, release } from 'node:os';
import { describeSettings } from '@lovage/core';
import { Command } from 'commander';
import { globalOptions, openApp } from '../context.ts';
import { packageVersion } from '../version.ts';

/** `lovage report`: versions and settings for a bug report, secrets masked. */
export function reportCommand(): Command {
  return new Command('report')
    .description('Print versions and settings for a bug report. Secrets are masked')
    .option('-j, --json', 'print JSON')
    .action(async ({ json = false }: { readonly json?: boolean }, command: Command) => {
      const app = await openApp(globalOptions(command));
      try {
        const facts = {
          lovage: packageVersion(),
          node: process.version,
          platform: `${platform()} ${release()} ${arch()}`,
          app: app.name,
          tasks: app.tasks.names(),
          settings: describeSettings(app.settings),
        };
        if (json) {
          process.stdout.write(`${JSON.stringify(facts)}\n`);
          return;
        }
        const { settings, tasks, ...versions } = facts;
        const lines = [
          ...Object.entries(versions).map(([key, value]) => `${key}: ${value}`),
          `tasks: ${tasks.length}`,
          ...tasks.map((name) => `  ${name}`),
          'settings:',
          ...Object.entries(settings).map(([key, value]) => `  ${key}: ${JSON.stringify(value)}`),
        ];
        process.stdout.write(`${lines.join('\n')}\n`);
      } finally {
        await app.close();
      }
    });
}
