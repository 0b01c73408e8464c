import { crontab } from '@lovage/core';
import { Every, Task } from '@lovage/nestjs';
import { Injectable } from '@nestjs/common';
import { Mailer } from './mailer.ts';

/** Methods that run in a worker, with what Nest injects here. */
@Injectable()
export class MailTasks {
  constructor(private readonly mailer: Mailer) {}

  @Task('mail.welcome', { retry: { maxRetries: 5, backoff: true } })
  welcome(to: string): Promise<string> {
    return this.mailer.send(to, 'Welcome');
  }

  @Every(crontab({ hour: 7, minute: 0 }))
  @Task('mail.digest')
  async digest(): Promise<void> {
    await this.mailer.send('everybody', 'What happened yesterday');
  }
}
