import 'reflect-metadata';
import { lovageApp } from '@lovage/nestjs';
import { AppModule } from './app.module.ts';

// For the lovage command: lovage -A ./src/worker.ts worker
export const app = await lovageApp(AppModule);
