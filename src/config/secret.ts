/** The value lives in a closure, so neither a logger that walks properties nor a debugger's print can reach it. */
import { inspect } from 'node:util';
import type { Secret } from './types.ts';

export const redacted = '[redacted]';

export function createSecret(value: string): Secret {
  const hide = (): string => redacted;
  return Object.freeze({
    reveal: () => value,
    toString: hide,
    toJSON: hide,
    [Symbol.toPrimitive]: hide,
    [inspect.custom]: hide,
  });
}
