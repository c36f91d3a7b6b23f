/**
 * A JSON schema as the older models take it: a subset of OpenAPI's, without references, unions of types or constants.
 * What has no keyword there becomes words that the model reads. Spec: fidelity 5.1.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { objectOf, objectsIn, textOf } from './json-values.ts';

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

/** The definitions of the whole schema, and the references that are open around a place. */
type Scope = { root: JsonObject; open: readonly string[] };

function resolve(reference: string, root: JsonObject): JsonObject {
  const steps = reference.replace(/^#\/?/, '').split('/').filter(Boolean);
  return steps.reduce<JsonObject>((node, step) => {
    const name = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
    return Object.hasOwn(node, name) ? objectOf(node[name]) : {};
  }, root);
}

/** One schema of all that must hold; of several objects, the members of all. */
function merged(schema: JsonObject): JsonObject {
  const { allOf, ...rest } = schema;
  return objectsIn(allOf).reduce<JsonObject>((sum, part) => {
    const both = { ...sum, ...merged(part) };
    if (isJsonObject(sum.properties) && isJsonObject(part.properties)) {
      both.properties = { ...sum.properties, ...part.properties };
    }
    if (Array.isArray(sum.required) && Array.isArray(part.required)) {
      both.required = [...new Set([...sum.required, ...part.required])];
    }
    return both;
  }, rest);
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

function convert(source: JsonObject, scope: Scope): JsonObject {
  const reference = textOf(source.$ref);
  if (reference !== '') {
    // A schema that holds itself cannot be written out; from there on any object will do.
    if (scope.open.includes(reference)) return { type: 'OBJECT' };
    const { $ref: _, ...beside } = source;
    return convert({ ...resolve(reference, scope.root), ...beside }, { ...scope, open: [...scope.open, reference] });
  }
  const schema = merged(source);
  if (textOf(schema.$ref) !== '') return convert(schema, scope);
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

export const toOpenApiSchema = (schema: JsonObject): JsonObject => convert(schema, { root: schema, open: [] });

/** An object of which nothing is said. */
export const isEmptyObject = ({ type, properties, ...others }: JsonObject): boolean =>
  (type === undefined || type === 'object') &&
  Object.keys(objectOf(properties)).length === 0 &&
  Object.keys(others).every((key) => silent.has(key) && !['$ref', 'anyOf', 'oneOf', 'allOf'].includes(key));
