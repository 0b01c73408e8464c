import { LovageModule } from '@lovage/nestjs';
import { Module } from '@nestjs/common';
import { Mailer } from './mailer.ts';
import { MailTasks } from './mail-tasks.ts';
import { WelcomeController } from './welcome.controller.ts';

@Module({
  imports: [
    LovageModule.forRoot({
      name: 'nest-example',
      broker: process.env['BROKER'] ?? 'sqla+sqlite:///lovage.db',
      backend: process.env['BACKEND'] ?? 'db+sqlite:///lovage.db',
      // true: tasks run in the web process as well. Here a worker of its own runs them, see worker.ts.
      worker: process.env['WORKER'] === 'here',
    }),
  ],
  providers: [Mailer, MailTasks],
  controllers: [WelcomeController],
})
export class AppModule {}
