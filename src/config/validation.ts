/**
 * Holds a file against its schema and reports every mistake at its own line. Gives back what was right, so that the
 * steps after it can look for more mistakes in the rest instead of stopping at the first wrong key.
 */
import { type TObject, type TRecord, type TSchema, Type } from 'typebox';
import { Value } from 'typebox/value';
import { hint } from './nearest-name.ts';
import type { Path, Report } from './report.ts';
import type { YamlFile } from './yaml-file.ts';

type Check = { file: YamlFile; report: Report };

const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The parts of the file that fit the schema; undefined when nothing does. */
export function checkFile(schema: TSchema, file: YamlFile, report: Report): unknown {
  return check(schema, file.value, [], { file, report });
}

function check(schema: TSchema, value: unknown, path: Path, context: Check): unknown {
  if (context.file.isFaulty(path)) return undefined;
  if (Type.IsObject(schema)) return checkObject(schema, value, path, context);
  if (Type.IsRecord(schema)) return checkRecord(schema, value, path, context);
  const branch = Array.isArray(value) ? arrayBranch(schema) : null;
  if (branch !== null && Array.isArray(value) && value.length >= branch.minItems) {
    const items = value.map((item: unknown, index) => check(branch.items, item, [...path, index], context));
    return items.includes(undefined) ? undefined : items;
  }
  if (Value.Check(schema, value)) return value;
  context.report.refuse(context.file.place(path), path, expectation(schema, value));
  return undefined;
}

/** A list is looked into, so that the message points at the wrong item and not at the list. */
function arrayBranch(schema: TSchema): { items: TSchema; minItems: number } | null {
  if (Type.IsUnion(schema)) return schema.anyOf.map(arrayBranch).find((branch) => branch !== null) ?? null;
  if (!Type.IsArray(schema)) return null;
  return {
    items: schema.items,
    minItems: 'minItems' in schema && typeof schema.minItems === 'number' ? schema.minItems : 0,
  };
}

/** What a range check says is nearer to the mistake than the sentence about the form. */
const expectation = (schema: TSchema, value: unknown): string =>
  Value.Errors(schema, value).find(({ keyword }) => keyword === '~refine')?.message ?? formOf(schema);

const formOf = (schema: TSchema): string =>
  'errorMessage' in schema && typeof schema.errorMessage === 'string' ? schema.errorMessage : 'not a valid value';

function checkObject(schema: TObject, value: unknown, path: Path, context: Check): unknown {
  const { file, report } = context;
  if (!isMapping(value)) {
    report.refuse(
      file.place(path),
      path,
      path.length === 0
        ? 'expected a mapping of settings'
        : `expected a mapping with ${Object.keys(schema.properties).join(', ')}`,
    );
    return undefined;
  }
  const kept: [string, unknown][] = [];
  for (const [key, member] of Object.entries(value)) {
    const step = [...path, key];
    const expected = Object.hasOwn(schema.properties, key) ? schema.properties[key] : undefined;
    if (expected === undefined) {
      const unused = Object.keys(schema.properties).filter((name) => !Object.hasOwn(value, name));
      report.refuse(file.place(step, 'key'), step, `unknown key${hint(key, unused)}`);
    } else {
      const fitting = check(expected, member, step, context);
      if (fitting !== undefined) kept.push([key, fitting]);
    }
  }
  // TypeBox leaves the list out when every member is optional, whatever its type says.
  const required: readonly string[] = 'required' in schema ? schema.required : [];
  const missing = required.filter((name) => !Object.hasOwn(value, name));
  for (const name of missing) report.refuse(file.place(path, 'key'), path, `the key ${name} is missing`);
  return required.every((name) => kept.some(([key]) => key === name)) ? Object.fromEntries(kept) : undefined;
}

function checkRecord(schema: TRecord, value: unknown, path: Path, context: Check): unknown {
  const { file, report } = context;
  if (!isMapping(value)) {
    report.refuse(file.place(path), path, 'expected a mapping of names');
    return undefined;
  }
  const pattern = Type.RecordPattern(schema);
  const kept: [string, unknown][] = [];
  for (const [key, member] of Object.entries(value)) {
    const step = [...path, key];
    if (!new RegExp(pattern).test(key)) {
      report.refuse(file.place(step, 'key'), step, `not a usable name, it must match ${pattern}`);
      continue;
    }
    const fitting = check(Type.RecordValue(schema), member, step, context);
    if (fitting !== undefined) kept.push([key, fitting]);
  }
  if ('minProperties' in schema && Object.keys(value).length === 0) {
    report.refuse(file.place(path), path, 'expected at least one entry');
  }
  if ('minProperties' in schema && kept.length === 0) return undefined;
  return Object.fromEntries(kept);
}
