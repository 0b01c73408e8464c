import type { Lovage } from '@lovage/core';
import type { Connection } from '@lovage/core/transport';
import type { Command } from 'commander';
import { globalOptions, openApp, type GlobalOptions } from '../context.ts';

export interface OpenBroker {
  readonly app: Lovage;
  readonly connection: Connection;
  readonly globals: GlobalOptions;
}

/** Runs a command on one connection to the broker of the app, and closes both. */
export async function withBroker(command: Command, act: (open: OpenBroker) => Promise<void>): Promise<void> {
  const globals = globalOptions(command);
  const app = await openApp(globals);
  const link = app.connectBroker('read');
  try {
    const connection = await link.connection({ timeoutMs: app.settings.publishTimeoutSeconds * 1000 });
    await act({ app, connection, globals });
  } finally {
    await link.close();
    await app.close();
  }
}
