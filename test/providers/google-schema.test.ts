/** JSON schemas as the older models take them. Spec: fidelity 5.1. */
import t from 'tap';
import { isEmptyObject, toOpenApiSchema } from '../../providers/google-schema.ts';
import type { JsonObject } from '../../src/contract/json.ts';
import { thrownBy } from '../support/json-at.ts';

const cases: Record<string, [JsonObject, JsonObject]> = {
  'types in capitals': [
    { type: 'array', items: { type: 'number', minimum: 1 }, minItems: 2 },
    { type: 'ARRAY', items: { type: 'NUMBER', minimum: 1 }, minItems: 2 },
  ],
  'null among the types': [{ type: ['string', 'null'] }, { type: 'STRING', nullable: true }],
  'several types': [
    { type: ['string', 'integer', 'null'], description: 'd' },
    { anyOf: [{ type: 'STRING' }, { type: 'INTEGER' }], nullable: true, description: 'd' },
  ],
  'null among alternatives': [
    { anyOf: [{ type: 'string', maxLength: 3 }, { type: 'null' }], title: 't' },
    { type: 'STRING', maxLength: 3, nullable: true, title: 't' },
  ],
  alternatives: [
    { oneOf: [{ type: 'string' }, { type: 'boolean' }] },
    { anyOf: [{ type: 'STRING' }, { type: 'BOOLEAN' }] },
  ],
  'a constant': [{ const: 'a' }, { type: 'STRING', enum: ['a'] }],
  'a list of values, with null': [{ enum: ['a', 'b', null] }, { type: 'STRING', enum: ['a', 'b'] }],
  'numbers of which one is meant': [
    { type: 'integer', enum: [1, 2] },
    { type: 'INTEGER', description: 'one of: 1, 2' },
  ],
  'keywords that have no place': [
    { type: 'string', format: 'email', description: 'mail', contentEncoding: 'base64' },
    { type: 'STRING', description: 'mail\ncontentEncoding: "base64"; format: email' },
  ],
  'a format that is known': [
    { type: 'string', format: 'date-time' },
    { type: 'STRING', format: 'date-time' },
  ],
  'an object that is closed': [
    { $schema: 'x', properties: { a: { type: 'string' } }, required: ['a'], additionalProperties: false },
    { type: 'OBJECT', properties: { a: { type: 'STRING' } }, required: ['a'] },
  ],
  'a list of anything': [{ type: 'array' }, { type: 'ARRAY', items: {} }],
  references: [
    {
      type: 'object',
      properties: { a: { $ref: '#/$defs/a~1b', description: 'one' }, c: { $ref: '#/definitions/c' } },
      $defs: { 'a/b': { type: 'string', description: 'any' } },
      definitions: { c: { $ref: '#/$defs/a~1b' } },
    },
    {
      type: 'OBJECT',
      properties: { a: { type: 'STRING', description: 'one' }, c: { type: 'STRING', description: 'any' } },
    },
  ],
  'a schema that holds itself': [
    {
      $ref: '#/$defs/tree',
      $defs: {
        tree: { type: 'object', properties: { leaves: { type: 'array', items: { $ref: '#/$defs/tree' } } } },
      },
    },
    { type: 'OBJECT', properties: { leaves: { type: 'ARRAY', items: { type: 'OBJECT' } } } },
  ],
  'a reference to nothing, or to the prototype': [
    { properties: { a: { $ref: '#/$defs/no' }, b: { $ref: '#/constructor' } } },
    { type: 'OBJECT', properties: { a: {}, b: {} } },
  ],
  'all of several': [
    {
      allOf: [
        { properties: { a: { type: 'string' } }, required: ['a'] },
        { properties: { b: { type: 'string' } }, required: ['b'] },
      ],
    },
    { type: 'OBJECT', properties: { a: { type: 'STRING' }, b: { type: 'STRING' } }, required: ['a', 'b'] },
  ],
  'all of one that is referred to': [
    { allOf: [{ $ref: '#/$defs/a' }], $defs: { a: { type: 'string' } } },
    { type: 'STRING' },
  ],
};

for (const [name, [schema, expected]] of Object.entries(cases)) {
  t.test(`writes ${name}`, (t) => {
    const before = structuredClone(schema);
    t.same(toOpenApiSchema(schema, 'tools[0]'), expected);
    t.same(schema, before, 'the schema itself is untouched');
    t.end();
  });
}

t.test('writes two references that must both hold', (t) => {
  const schema = {
    allOf: [{ $ref: '#/$defs/a' }, { $ref: '#/$defs/b' }],
    $defs: {
      a: { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] },
      b: { type: 'object', properties: { b: { $ref: '#/$defs/a' } } },
    },
  };
  const a = { type: 'OBJECT', properties: { a: { type: 'STRING' } }, required: ['a'] };
  t.same(toOpenApiSchema(schema, 'x'), {
    type: 'OBJECT',
    properties: { a: { type: 'STRING' }, b: { type: 'OBJECT' } },
    required: ['a'],
  });
  t.same(toOpenApiSchema({ ...schema, allOf: [{ $ref: '#/$defs/b' }] }, 'x'), { type: 'OBJECT', properties: { b: a } });
  t.end();
});

t.test('refuses a schema that grows without measure, and ends one that goes round', (t) => {
  const levels = Array.from({ length: 40 }, (_, level) => {
    const next = { $ref: `#/$defs/d${level + 1}` };
    return [`d${level}`, { type: 'object', properties: { one: next, other: next } }] as const;
  });
  const bomb = { $ref: '#/$defs/d0', $defs: Object.fromEntries(levels) };
  t.match(
    thrownBy(() => toOpenApiSchema(bomb, 'tools[0]')),
    { status: 400, param: 'tools[0]' },
  );
  const both = { allOf: [{ $ref: '#/$defs/a' }, { $ref: '#/$defs/a' }] };
  t.same(toOpenApiSchema({ ...both, $defs: { a: both } }, 'x'), { type: 'OBJECT' });
  const chain = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`c${at}`, { $ref: `#/$defs/c${at + 1}` }]));
  t.same(toOpenApiSchema({ $ref: '#/$defs/c0', $defs: chain }, 'x'), { type: 'OBJECT' });
  t.end();
});

t.test('knows an object of which nothing is said', (t) => {
  for (const schema of [{}, { type: 'object' }, { type: 'object', properties: {}, additionalProperties: false }]) {
    t.ok(isEmptyObject(schema), JSON.stringify(schema));
  }
  for (const schema of [
    { type: 'string' },
    { properties: { a: {} } },
    { $ref: '#/a' },
    { anyOf: [] },
    { required: [] },
  ]) {
    t.notOk(isEmptyObject(schema), JSON.stringify(schema));
  }
  t.end();
});
