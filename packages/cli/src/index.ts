export { createProgram, main } from './program.ts';
export { expandNodeName } from './node-name.ts';
