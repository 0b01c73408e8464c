import { Lovage } from '@lovage/core';
import config from '../lovage.config.ts';

// The same settings for the worker and for whatever sends tasks.
export const app: Lovage = new Lovage('shop', config);
