import { welcome } from '../../../lovage/tasks';

export async function POST(request: Request): Promise<Response> {
  const { to } = (await request.json()) as { to?: unknown };
  if (typeof to !== 'string') return Response.json({ error: 'Expected {"to": "an address"}.' }, { status: 400 });
  const { id } = await welcome.delay(to);
  return Response.json({ id }, { status: 202 });
}
