/** Colours for a person at a terminal who has not said no with `-C` or NO_COLOR; FORCE_COLOR wants them anywhere. */
export function wantsColour({ color }: { readonly color?: boolean }, stream: { readonly isTTY?: boolean }): boolean {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env;
  if (color === false || NO_COLOR) return false;
  if (FORCE_COLOR !== undefined) return FORCE_COLOR !== '0' && FORCE_COLOR !== 'false';
  return stream.isTTY === true && TERM !== 'dumb';
}
