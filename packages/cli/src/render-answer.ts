export interface RenderOptions {
  readonly colour: boolean;
  /** Only whether it went well. */
  readonly hideBody?: boolean;
}

/** One worker's answer for people: `->  celery@host: OK`, and what it says below. Source: celery/bin/base.py, pretty. */
export function renderAnswer(node: string, answer: unknown, { colour, hideBody = false }: RenderOptions): string {
  const paint = (code: string, text: string): string => (colour ? `\u001B[${code}m${text}\u001B[0m` : text);
  const head = (status: string): string => `->  ${paint('36;1', `${clean(node)}:`)} ${status}\n`;
  if (isError(answer)) return `${head(paint('31;1', 'ERROR'))}        ${clean(answer.error)}\n`;
  const body = isOk(answer) ? clean(String(answer.ok)) : renderValue(answer);
  return hideBody || body === '' ? head(paint('32;1', 'OK')) : `${head(paint('32;1', 'OK'))}${indent(body)}\n`;
}

function renderValue(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (!Array.isArray(value)) return typeof value === 'object' ? renderRecord(value) : clean(scalar(value));
  if (value.length === 0) return '- empty -';
  if (value.every(isRequest)) return renderRequests(value);
  if (value.every(isQueue))
    return renderTable(['queue', 'exchange', 'type', 'routing key', 'durable'], value.map(queueRow));
  return value.map((item) => `* ${clean(scalar(item))}`).join('\n');
}

/** Names aligned, nested objects below their name. */
function renderRecord(record: object): string {
  const entries = Object.entries(record);
  const plain = entries.filter(([, value]) => !isObject(value));
  const width = Math.max(0, ...plain.map(([name]) => name.length));
  return entries
    .map(([name, value]) =>
      isObject(value) && Object.keys(value).length > 0 && !Array.isArray(value)
        ? `${clean(name)}:\n${indent(renderRecord(value), 2)}`
        : `${clean(name).padEnd(width)}  ${clean(scalar(value))}`,
    )
    .join('\n');
}

interface Request {
  readonly id: string;
  readonly name: string;
  readonly args: unknown;
  readonly kwargs: unknown;
  readonly time_start: unknown;
}

function renderRequests(items: readonly (Request | Scheduled)[]): string {
  const rows = items.map((item) => {
    const request = 'request' in item ? item.request : item;
    const start = request.time_start;
    const when =
      'eta' in item ? scalar(item.eta) : typeof start === 'number' ? `${(Date.now() / 1000 - start).toFixed(1)}s` : '';
    return [request.id, request.name, when, `${scalar(request.args)} ${scalar(request.kwargs)}`];
  });
  const when = items.some((item) => 'eta' in item) ? 'eta' : 'running for';
  return renderTable(['id', 'task', when, 'arguments'], rows);
}

interface Scheduled {
  readonly eta: unknown;
  readonly request: Request;
}

interface QueueLike {
  readonly name: string;
  readonly exchange: { readonly name: string; readonly type: string };
  readonly routing_key: string;
  readonly durable: boolean;
}

function queueRow({ name, exchange, routing_key: key, durable }: QueueLike): readonly string[] {
  return [name, exchange.name, exchange.type, key, durable ? 'yes' : 'no'];
}

const WIDEST = 60;

export function renderTable(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [titles, ...rows].map((row) => row.map((cell) => cut(clean(cell), WIDEST)));
  const widths = titles.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  return cells
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function scalar(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}

function cut(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 3)}...`;
}

function indent(text: string, spaces = 4): string {
  return text.replace(/^(?=.)/gm, ' '.repeat(spaces));
}

/** Answers come from outside: they move no cursor. */
function clean(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u202A-\u202E\u2066-\u2069]/g, '\uFFFD');
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function isError(value: unknown): value is { readonly error: string } {
  return isObject(value) && typeof (value as { error?: unknown }).error === 'string' && Object.keys(value).length === 1;
}

function isOk(value: unknown): value is { readonly ok: unknown } {
  return isObject(value) && Object.keys(value).length === 1 && Object.hasOwn(value, 'ok');
}

function isRequest(value: unknown): value is Request | Scheduled {
  if (!isObject(value)) return false;
  const { request, id, name } = value as { request?: unknown; id?: unknown; name?: unknown };
  return isIdentified(request) || (typeof id === 'string' && typeof name === 'string');
}

function isIdentified(value: unknown): boolean {
  return isObject(value) && typeof (value as { id?: unknown }).id === 'string';
}

function isQueue(value: unknown): value is QueueLike {
  return isObject(value) && isObject((value as { exchange?: unknown }).exchange) && 'routing_key' in value;
}
