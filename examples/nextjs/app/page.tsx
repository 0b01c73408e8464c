import { revalidatePath } from 'next/cache';
import type { ReactNode } from 'react';
import { welcome } from '../lovage/tasks';

/** A server action sends a task as a route does. */
async function signUp(form: FormData): Promise<void> {
  'use server';
  const to = form.get('to');
  if (typeof to === 'string') await welcome.delay(to);
  revalidatePath('/');
}

export default function Page(): ReactNode {
  return (
    <form action={signUp}>
      <input name="to" type="email" placeholder="ada@example.org" required />
      <button type="submit">Sign up</button>
    </form>
  );
}
