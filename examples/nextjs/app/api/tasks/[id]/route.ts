import { app } from '../../../../lovage/tasks';

export async function GET(_request: Request, { params }: { params: Promise<{ id: string }> }): Promise<Response> {
  const task = app.asyncResult((await params).id);
  return Response.json({ state: await task.state(), result: await task.result() });
}
