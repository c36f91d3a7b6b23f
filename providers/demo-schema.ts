/** An instance of a JSON Schema, always the same for the same schema: enough of the language for tools and structured output. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';

/** Below this nesting only required members are made, and twice as deep nothing is: schemas may refer to themselves. */
const fullDepth = 4;

const formats: Readonly<Record<string, string>> = {
  'date-time': '2025-01-01T12:00:00Z',
  date: '2025-01-01',
  time: '12:00:00Z',
  duration: 'P1D',
  email: 'someone@example.com',
  hostname: 'example.com',
  uri: 'https://example.com/',
  ipv4: '192.0.2.1',
  ipv6: '2001:db8::1',
  uuid: '00000000-0000-4000-8000-000000000000',
};

const number = (value: JsonValue | undefined): number | null => (typeof value === 'number' ? value : null);

function stringInstance(schema: JsonObject): string {
  const formatted = typeof schema.format === 'string' ? formats[schema.format] : undefined;
  const text = formatted ?? 'demo';
  const padded = text.padEnd(Math.min(number(schema.minLength) ?? 0, 1000), 'o');
  return padded.slice(0, number(schema.maxLength) ?? undefined);
}

function numberInstance(schema: JsonObject, isInteger: boolean): number {
  const above = number(schema.exclusiveMinimum);
  const below = number(schema.exclusiveMaximum);
  const least = number(schema.minimum) ?? (above === null ? null : above + (isInteger ? 1 : 0.5));
  const most = number(schema.maximum) ?? (below === null ? null : below - (isInteger ? 1 : 0.5));
  const step = number(schema.multipleOf);
  const wanted = Math.min(Math.max(1, least ?? 1), most ?? Infinity);
  const value = step === null || step <= 0 ? wanted : Math.ceil(wanted / step) * step;
  return isInteger ? Math.ceil(value) : value;
}

/** `#/$defs/x` and the like, inside the document that the schema came in. */
function resolve(root: JsonObject, pointer: string): JsonObject {
  const found = pointer
    .replace(/^#\/?/, '')
    .split('/')
    .filter(Boolean)
    .reduce<JsonValue | undefined>((node, key) => (isJsonObject(node) ? node[key] : undefined), root);
  return isJsonObject(found) ? found : {};
}

function typeOf(schema: JsonObject): string {
  const { type } = schema;
  const named = Array.isArray(type) ? (type.find((member) => member !== 'null') ?? 'null') : type;
  if (typeof named === 'string') return named;
  return isJsonObject(schema.properties) ? 'object' : schema.items === undefined ? 'string' : 'array';
}

function objectInstance(schema: JsonObject, root: JsonObject, depth: number): JsonObject {
  const required = Array.isArray(schema.required) ? schema.required : [];
  const properties = Object.entries(isJsonObject(schema.properties) ? schema.properties : {});
  const wanted = properties.filter(([key]) => depth < fullDepth || required.includes(key));
  return Object.fromEntries(wanted.map(([key, property]) => [key, instanceAt(property, root, depth + 1)]));
}

function arrayInstance(schema: JsonObject, root: JsonObject, depth: number): JsonValue[] {
  const least = number(schema.minItems) ?? (depth < fullDepth ? 1 : 0);
  const length = Math.min(least, number(schema.maxItems) ?? least, 10);
  return Array.from({ length }, () => instanceAt(schema.items, root, depth + 1));
}

function mergeAll(schemas: readonly JsonValue[], root: JsonObject): JsonObject {
  const merged: JsonObject = { type: 'object', properties: {}, required: [] };
  for (const member of schemas) {
    if (!isJsonObject(member)) continue;
    const schema = typeof member.$ref === 'string' ? resolve(root, member.$ref) : member;
    Object.assign(merged, schema, {
      properties: {
        ...(merged.properties as JsonObject),
        ...(isJsonObject(schema.properties) ? schema.properties : {}),
      },
      required: [...(merged.required as JsonValue[]), ...(Array.isArray(schema.required) ? schema.required : [])],
    });
  }
  return merged;
}

function instanceAt(schema: JsonValue | undefined, root: JsonObject, depth: number): JsonValue {
  if (!isJsonObject(schema) || depth > fullDepth * 2) return null;
  if (schema.const !== undefined) return schema.const;
  if (schema.default !== undefined) return schema.default;
  if (Array.isArray(schema.enum)) return schema.enum[0] ?? null;
  if (typeof schema.$ref === 'string') return instanceAt(resolve(root, schema.$ref), root, depth + 1);
  const choices = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(choices)) {
    const choice = choices.find((member) => isJsonObject(member) && member.type !== 'null') ?? choices[0];
    return instanceAt(choice, root, depth + 1);
  }
  if (Array.isArray(schema.allOf))
    return instanceAt(mergeAll([...schema.allOf, withoutAllOf(schema)], root), root, depth);
  switch (typeOf(schema)) {
    case 'object':
      return objectInstance(schema, root, depth);
    case 'array':
      return arrayInstance(schema, root, depth);
    case 'integer':
      return numberInstance(schema, true);
    case 'number':
      return numberInstance(schema, false);
    case 'boolean':
      return true;
    case 'null':
      return null;
    default:
      return stringInstance(schema);
  }
}

function withoutAllOf(schema: JsonObject): JsonObject {
  const { allOf: _, ...rest } = schema;
  return rest;
}

export function schemaInstance(schema: JsonValue | undefined): JsonValue {
  return isJsonObject(schema) ? instanceAt(schema, schema, 0) : {};
}
