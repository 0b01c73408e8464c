export { Control } from './control.ts';
export type { Answer, BroadcastOptions, ControlOptions, RevokeCommandOptions } from './control.ts';
export { CONTROL_COMMANDS, findCommand } from './commands.ts';
export type { ArgumentType, CommandInfo } from './commands.ts';
export { Inspect } from './inspect.ts';
export type { InspectOptions } from './inspect.ts';
export type * from './replies.ts';
