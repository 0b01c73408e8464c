import { Lovage } from '@lovage/core';
import { InjectTask, type TaskOf } from '@lovage/nestjs';
import { Body, Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import { MailTasks } from './mail-tasks.ts';

/** What the web asks for, and how it learns what came of it. */
@Controller()
export class WelcomeController {
  constructor(
    @InjectTask(MailTasks, 'welcome') private readonly welcome: TaskOf<MailTasks, 'welcome'>,
    private readonly lovage: Lovage,
  ) {}

  @Post('welcome')
  @HttpCode(202)
  async send(@Body('to') to: string): Promise<{ id: string }> {
    const { id } = await this.welcome.delay(to);
    return { id };
  }

  @Get('tasks/:id')
  async state(@Param('id') id: string): Promise<{ state: string; result: unknown }> {
    const result = this.lovage.asyncResult(id);
    return { state: await result.state(), result: await result.result() };
  }
}
