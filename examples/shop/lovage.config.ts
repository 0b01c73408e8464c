import { defineConfig } from '@lovage/core';

export default defineConfig({
  app: './src/app.ts',
  tasks: 'src/**/tasks.ts',
  broker: process.env.BROKER ?? 'sqla+sqlite:///shop.db',
  backend: process.env.BACKEND ?? 'db+sqlite:///shop.db',
  taskRoutes: { 'mail.*': 'mail' },
});
