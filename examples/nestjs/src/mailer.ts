import { Injectable, Logger } from '@nestjs/common';

/** Stands for what sends mail. */
@Injectable()
export class Mailer {
  private readonly log = new Logger(Mailer.name);

  async send(to: string, subject: string): Promise<string> {
    this.log.log(`to ${to}: ${subject}`);
    return `sent to ${to}`;
  }
}
