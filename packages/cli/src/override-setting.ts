import type { SettingName } from '@lovage/core';

/** The four that Celery itself reads from the environment. */
const CELERY_VARIABLES: Readonly<Partial<Record<SettingName, string>>> = {
  brokerUrl: 'CELERY_BROKER_URL',
  brokerReadUrl: 'CELERY_BROKER_READ_URL',
  brokerWriteUrl: 'CELERY_BROKER_WRITE_URL',
  resultBackend: 'CELERY_RESULT_BACKEND',
};

/**
 * Gives a setting over whatever else says it: by the environment, where this process and the children of its pool read it.
 * To be called before the app is read.
 */
export function overrideSetting(name: SettingName, text: string): void {
  const own = `LOVAGE_${name.replace(/[A-Z]/g, '_$&').toUpperCase()}`;
  const celery = CELERY_VARIABLES[name];
  // Two variables of one setting must not disagree.
  if (celery !== undefined) delete process.env[own];
  process.env[celery ?? own] = text;
}
