/**
 * A JSON schema as the older models take it: a subset of OpenAPI's, without references, unions of types or constants.
 * What has no keyword there becomes words that the model reads. Spec: fidelity 5.1.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { objectOf, objectsIn, textOf } from './json-values.ts';
import { refuseValue } from './openai-draft.ts';

const kept = new Set([
  'title',
  'description',
  'default',
  'example',
  'nullable',
  'required',
  'propertyOrdering',
  'minItems',
  'maxItems',
  'minProperties',
  'maxProperties',
  'minimum',
  'maximum',
  'minLength',
  'maxLength',
  'pattern',
]);
const silent = new Set([
  '$schema',
  '$id',
  '$defs',
  '$ref',
  'definitions',
  'additionalProperties',
  'strict',
  'type',
  'format',
  'enum',
  'const',
  'anyOf',
  'oneOf',
  'allOf',
  'properties',
  'items',
]);
const formats = new Set(['date-time', 'float', 'double', 'int32', 'int64', 'enum']);

type Scope = {
  /** Holds the definitions. */
  root: JsonObject;
  /** The references that are open around a place. */
  open: readonly string[];
  /** How many more schemas may be written. */
  left: { schemas: number };
  param: string;
};

/** References multiply what a caller has to write down, and here all of it is written out. */
const mostSchemas = 5_000;
const deepestReferences = 50;

function resolve(reference: string, root: JsonObject): JsonObject {
  const steps = reference.replace(/^#\/?/, '').split('/').filter(Boolean);
  return steps.reduce<JsonObject>((node, step) => {
    const name = step.replaceAll('~1', '/').replaceAll('~0', '~');
    return Object.hasOwn(node, name) ? objectOf(node[name]) : {};
  }, root);
}

/** One schema of two that must both hold; of objects, the members of both. */
function joined(one: JsonObject, other: JsonObject): JsonObject {
  const both = { ...one, ...other };
  if (isJsonObject(one.properties) && isJsonObject(other.properties)) {
    both.properties = { ...one.properties, ...other.properties };
  }
  if (Array.isArray(one.required) && Array.isArray(other.required)) {
    both.required = [...new Set([...one.required, ...other.required])];
  }
  return both;
}

/** The schema itself, with what it refers to and all that must hold beside it, and what is open in there. */
function gathered(source: JsonObject, scope: Scope): { schema: JsonObject; open: readonly string[] } {
  const { $ref: reference, allOf, ...rest } = source;
  const parts = objectsIn(allOf);
  if (typeof reference === 'string') parts.unshift({ ...resolve(reference, scope.root), ...rest });
  if (parts.length === 0) return { schema: source, open: scope.open };
  scope.left.schemas -= parts.length;
  checkSize(scope);
  const isCircular = typeof reference === 'string' && scope.open.includes(reference);
  // A schema that holds itself cannot be written out; from there on any object will do.
  if (isCircular || scope.open.length > deepestReferences) return { schema: { type: 'object' }, open: scope.open };
  const inner = typeof reference === 'string' ? { ...scope, open: [...scope.open, reference] } : scope;
  const all = parts.map((part) => gathered(part, inner));
  const schema = all.reduce((sum, part) => joined(sum, part.schema), rest);
  return { schema, open: [...new Set(all.flatMap(({ open }) => open))] };
}

function checkSize({ left, param }: Scope): void {
  if (left.schemas < 0)
    refuseValue(param, `The schema in \`${param}\` is too large once its references are written out.`);
}

const isNull = (schema: JsonObject): boolean => schema.type === 'null' || schema.const === null;

/** Alternatives, with null taken out of them: it has a keyword of its own. */
function alternatives(schema: JsonObject): JsonObject[] {
  const listed = [...objectsIn(schema.anyOf), ...objectsIn(schema.oneOf)];
  if (listed.length > 0 || !Array.isArray(schema.type)) return listed;
  return schema.type.map((type) => ({ type }));
}

function convertType(clean: JsonObject, schema: JsonObject, scope: Scope): void {
  const listed = alternatives(schema);
  const others = listed.filter((alternative) => !isNull(alternative));
  if (others.length < listed.length) clean.nullable = true;
  if (typeof schema.type === 'string') clean.type = schema.type.toUpperCase();
  else if (others.length === 1) Object.assign(clean, { ...convert(others[0] ?? {}, scope), ...clean });
  else if (others.length > 1) clean.anyOf = others.map((alternative) => convert(alternative, scope));
}

function convertValues(clean: JsonObject, schema: JsonObject, words: string[]): void {
  const constants = schema.const === undefined ? [] : [schema.const];
  const values = (Array.isArray(schema.enum) ? schema.enum : constants).filter((value) => value !== null);
  if (values.length === 0) return;
  if (values.every((value) => typeof value === 'string')) Object.assign(clean, { type: 'STRING', enum: values });
  else words.push(`one of: ${values.map((value) => JSON.stringify(value)).join(', ')}`);
}

function convertFormat(clean: JsonObject, format: JsonValue | undefined, words: string[]): void {
  if (typeof format !== 'string') return;
  if (formats.has(format)) clean.format = format;
  else words.push(`format: ${format}`);
}

function convert(source: JsonObject, outer: Scope): JsonObject {
  outer.left.schemas -= 1;
  checkSize(outer);
  const { schema, open } = gathered(source, outer);
  const scope = { ...outer, open };
  const clean: JsonObject = {};
  const words: string[] = [];
  for (const [key, value] of Object.entries(schema)) {
    if (kept.has(key)) clean[key] = value;
    else if (!silent.has(key)) words.push(`${key}: ${JSON.stringify(value)}`);
  }
  convertType(clean, schema, scope);
  convertValues(clean, schema, words);
  convertFormat(clean, schema.format, words);
  convertMembers(clean, schema, scope);
  if (words.length > 0) clean.description = [textOf(clean.description), words.join('; ')].filter(Boolean).join('\n');
  return clean;
}

function convertMembers(clean: JsonObject, schema: JsonObject, scope: Scope): void {
  const { properties, items } = schema;
  if (isJsonObject(properties)) {
    clean.type ??= 'OBJECT';
    clean.properties = Object.fromEntries(
      Object.entries(properties).map(([name, member]) => [name, convert(objectOf(member), scope)]),
    );
  }
  if (clean.type === 'ARRAY' || isJsonObject(items)) clean.items = convert(objectOf(items), scope);
}

/** Throws for a schema at `param` that would grow without measure. */
export const toOpenApiSchema = (schema: JsonObject, param: string): JsonObject =>
  convert(schema, { root: schema, open: [], left: { schemas: mostSchemas }, param });

/** An object of which nothing is said. */
export const isEmptyObject = ({ type, properties, ...others }: JsonObject): boolean =>
  (type === undefined || type === 'object') &&
  Object.keys(objectOf(properties)).length === 0 &&
  Object.keys(others).every((key) => silent.has(key) && !['$ref', 'anyOf', 'oneOf', 'allOf'].includes(key));
