import { arch, platform, release } from 'node:os';
import { describeSettings, loadedCopies, settingsWithoutEffect, type Lovage } from '@lovage/core';
import { Command } from 'commander';
import { configOf, globalOptions, openApp } from '../context.ts';
import { installedPackages } from '../installed-packages.ts';
import { packageVersion } from '../version.ts';

interface ReportOptions {
  readonly all?: boolean;
  readonly json?: boolean;
}

/** `lovage report`: versions and settings for a bug report, secrets masked. */
export function reportCommand(): Command {
  return new Command('report')
    .description('Print versions and settings for a bug report. Secrets are masked')
    .option('-a, --all', 'the settings that have their defaults too')
    .option('-j, --json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  lovage -A ./tasks report
  lovage report --all --json | jq .settings.broker_url`,
    )
    .action(async ({ all = false, json = false }: ReportOptions, command: Command) => {
      const app = await openApp(globalOptions(command));
      try {
        const facts = describe(app, all);
        process.stdout.write(json ? `${JSON.stringify(facts)}\n` : `${toText(facts)}\n`);
      } finally {
        await app.close();
      }
    });
}

type Facts = ReturnType<typeof describe>;

function describe(app: Lovage, withDefaults: boolean) {
  const all = describeSettings(app.settings, { withDefaults: true });
  const copies = loadedCopies();
  return {
    lovage: packageVersion(),
    node: process.version,
    platform: `${platform()} ${release()} ${arch()}`,
    packages: installedPackages(app.resolveFrom ?? process.cwd()),
    ...(copies.length > 1 ? { copies } : {}),
    app: app.name,
    config: configOf(app)?.configFile ?? null,
    broker: all['broker_url'],
    results: all['result_backend'] ?? 'disabled',
    tasks: app.tasks.names(),
    settings: withDefaults ? all : describeSettings(app.settings),
    withoutEffect: settingsWithoutEffect(app.settings),
  };
}

function toText({ settings, tasks, packages, copies, withoutEffect, ...facts }: Facts): string {
  const show = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
  return [
    ...Object.entries(facts).map(([key, value]) => `${key}: ${show(value ?? 'none')}`),
    'packages:',
    ...Object.entries(packages).map(([name, version]) => `  ${name} ${version}`),
    ...(copies === undefined ? [] : ['copies of @lovage/core that are loaded:', ...copies.map((copy) => `  ${copy}`)]),
    `tasks: ${tasks.length}`,
    ...tasks.map((name) => `  ${name}`),
    'settings:',
    ...Object.entries(settings).map(([key, value]) => `  ${key}: ${JSON.stringify(value)}`),
    ...(withoutEffect.length === 0 ? [] : [`settings without effect: ${withoutEffect.join(', ')}`]),
  ].join('\n');
}
