import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.ts';

const app = await NestFactory.create(AppModule);
app.enableShutdownHooks(); // SIGTERM: running tasks end, then everything else
await app.listen(Number(process.env['PORT'] ?? 3000), '127.0.0.1');
console.log(`ready on ${await app.getUrl()}`);
