import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { BrokerUrl, type Capabilities } from '@lovage/core/transport';
import type { TestOutcome } from '../suite.ts';
import type { TransportTrial } from './trial.ts';

/** One line of a report: how a test ended, and what the session that it used claims. */
export interface TransportReportLine extends TestOutcome {
  /** Scheme of the URL. */
  readonly broker: string;
  /** It passed since what it asks for was refused, as the contract allows. */
  readonly refused: boolean;
  readonly capabilities: Capabilities | undefined;
}

/**
 * Where `LOVAGE_KIT_REPORT` names a folder, every test leaves a line of JSON, {@link TransportReportLine}, in
 * `<scheme>.jsonl` there.
 */
export function transportReport(url: string): { report?: (outcome: TestOutcome, trial?: TransportTrial) => void } {
  const folder = process.env['LOVAGE_KIT_REPORT'];
  if (folder === undefined || folder === '') return {};
  const broker = new BrokerUrl(url).scheme;
  return {
    report: (outcome, trial) => {
      const line: TransportReportLine = {
        broker,
        ...outcome,
        refused: trial?.isRefused ?? false,
        capabilities: trial?.capabilities,
      };
      mkdirSync(folder, { recursive: true });
      appendFileSync(join(folder, `${broker}.jsonl`), `${JSON.stringify(line)}\n`);
    },
  };
}
