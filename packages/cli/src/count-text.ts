/** `1 message`, `2 messages`. */
export function messages(count: number): string {
  return counted(count, 'message', 'messages');
}

/** `1 message waits`, `2 messages wait`. */
export function messagesWait(count: number): string {
  return counted(count, 'message waits', 'messages wait');
}

export function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
