/**
 * The kinds of value that both files are written with: text, numbers with units, durations, flags, lists. Each says what
 * was expected; the range is checked by the parser that later gives the number.
 */
import { type TSchema, Type } from 'typebox';
import * as units from './units.ts';

export const closed = { additionalProperties: false };

export const text = (errorMessage: string, description: string) => Type.String({ errorMessage, description });
type Parse = (input: string | number) => units.Parsed<unknown>;

/** The range is checked by the very parser that later gives the number; JSON Schema sees the pattern alone. */
function inRange<T extends TSchema>(schema: T, parse: Parse) {
  const read = (value: unknown): units.Parsed<unknown> =>
    typeof value === 'string' || typeof value === 'number' ? parse(value) : parse('');
  const messageOf = (parsed: units.Parsed<unknown>): string => (parsed.ok ? '' : parsed.message);
  return Type.Refine<T, unknown>(
    schema,
    (value) => read(value).ok,
    (value) => messageOf(read(value)),
  );
}

export const number = ({ pattern, expected }: units.Form, parse: Parse, description: string) =>
  inRange(
    Type.Union([Type.Integer({ minimum: 0 }), Type.String({ pattern })], { errorMessage: expected, description }),
    parse,
  );
export const withUnit = ({ pattern, expected }: units.Form, parse: Parse, description: string) =>
  inRange(Type.String({ pattern, errorMessage: expected, description }), parse);
export const clock = (description: string) => withUnit(units.durationForm, units.parseDuration, description);
export const limit = (description: string) => number(units.countForm, units.parseCount, description);
export const flag = (description: string) =>
  Type.Union([Type.Boolean(), Type.Enum(['true', 'false'])], { errorMessage: 'expected true or false', description });
export const listOf = (item: string, description: string) =>
  Type.Array(Type.String({ minLength: 1, errorMessage: `expected ${item}` }), {
    errorMessage: `expected a list of ${item} entries`,
    description,
  });
