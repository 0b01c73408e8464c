/** Whether a server's version is this one or a later one. */
export function isAtLeast(version: string, wanted: readonly [number, number, number]): boolean {
  const parts = version.split(/[.-]/).map(Number);
  for (const [index, part] of wanted.entries()) {
    const given = parts[index] ?? 0;
    if (given !== part) return given > part;
  }
  return true;
}
