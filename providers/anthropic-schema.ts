/**
 * A JSON schema as Anthropic's structured output takes it: what it cannot enforce becomes words that the model reads.
 * Spec: fidelity 4.2.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';

const formats = new Set(['date-time', 'time', 'date', 'duration', 'email', 'hostname', 'uri', 'ipv4', 'ipv6', 'uuid']);

const constraints = new Set([
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'multipleOf',
  'minLength',
  'maxLength',
  'pattern',
  'minItems',
  'maxItems',
  'uniqueItems',
  'contains',
  'minContains',
  'maxContains',
  'prefixItems',
  'additionalItems',
  'unevaluatedItems',
  'minProperties',
  'maxProperties',
  'patternProperties',
  'propertyNames',
  'unevaluatedProperties',
  'dependentRequired',
  'dependentSchemas',
  'not',
  'if',
  'then',
  'else',
]);

/** Members whose values are schemas by name, lists of schemas, or a schema. */
const byName = new Set(['properties', '$defs', 'definitions']);
const lists = new Set(['anyOf', 'allOf', 'oneOf']);

const isObjectSchema = ({ type, properties }: JsonObject): boolean =>
  type === 'object' || isJsonObject(properties) || (Array.isArray(type) && type.includes('object'));

function isWordsOnly(key: string, value: JsonValue, isObject: boolean): boolean {
  if (key === 'format') return typeof value !== 'string' || !formats.has(value);
  if (key === 'additionalProperties') return isObject && isJsonObject(value);
  return constraints.has(key);
}

function sanitiseMember(key: string, value: JsonValue): JsonValue {
  if (byName.has(key) && isJsonObject(value)) {
    return Object.fromEntries(Object.entries(value).map(([name, schema]) => [name, sanitise(schema ?? {})]));
  }
  if (lists.has(key) && Array.isArray(value)) return value.map(sanitise);
  return key === 'items' && isJsonObject(value) ? sanitise(value) : value;
}

function sanitise(schema: JsonValue): JsonValue {
  return isJsonObject(schema) ? sanitiseSchema(schema) : schema;
}

function addAlternatives(clean: JsonObject, anyOf: JsonValue[]): void {
  if (clean.anyOf === undefined) clean.anyOf = anyOf;
  else clean.allOf = [...(Array.isArray(clean.allOf) ? clean.allOf : []), { anyOf }];
}

export function sanitiseSchema(schema: JsonObject): JsonObject {
  const clean: JsonObject = {};
  const words: string[] = [];
  const isObject = isObjectSchema(schema);
  for (const [key, value] of Object.entries(schema)) {
    if (value === undefined) continue;
    if (isWordsOnly(key, value, isObject)) words.push(`${key}: ${JSON.stringify(value)}`);
    else if (key !== 'oneOf') clean[key] = sanitiseMember(key, value);
  }
  if (Array.isArray(schema.oneOf)) addAlternatives(clean, schema.oneOf.map(sanitise));
  if (isObject) clean.additionalProperties = false;
  if (words.length > 0) {
    const said = typeof clean.description === 'string' ? `${clean.description}\n\n` : '';
    clean.description = `${said}{${words.join(', ')}}`;
  }
  return clean;
}
