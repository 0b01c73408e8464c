import { app } from '../app.ts';

export const receipt = app.task('mail.receipt', (total: number, customer: string) => `Dear ${customer}: ${total}.00`);
