import t from 'tap';
import { schemaInstance } from '../../providers/demo-schema.ts';
import type { JsonValue } from '../../src/contract/json.ts';

t.test('makes an instance that the schema allows', (t) => {
  const rows: [JsonValue, JsonValue][] = [
    [{ type: 'string' }, 'demo'],
    [{ type: 'string', minLength: 6 }, 'demooo'],
    [{ type: 'string', format: 'ipv4' }, '192.0.2.1'],
    [{ type: 'string', format: 'unheard-of' }, 'demo'],
    [{ enum: ['b', 'a'] }, 'b'],
    [{ enum: [] }, null],
    [{ const: false }, false],
    [{ type: 'number', default: 4 }, 4],
    [{ type: 'integer' }, 1],
    [{ type: 'integer', maximum: -3 }, -3],
    [{ type: 'integer', minimum: 1.5 }, 2],
    [{ type: 'integer', exclusiveMinimum: 4 }, 5],
    [{ type: 'number', exclusiveMaximum: 0 }, -0.5],
    [{ type: 'number', minimum: 5, multipleOf: 4 }, 8],
    [{ type: 'boolean' }, true],
    [{ type: 'null' }, null],
    [{ type: ['null', 'integer'] }, 1],
    [{ type: ['null'] }, null],
    [{ type: 'array' }, [null]],
    [{ items: { type: 'boolean' }, minItems: 3, maxItems: 2 }, [true, true]],
    [{ properties: { a: { type: 'null' } } }, { a: null }],
    [{ type: 'object' }, {}],
    [{ oneOf: [{ type: 'null' }] }, null],
    [{ anyOf: [] }, null],
    [{ $ref: '#/nowhere' }, 'demo'],
    [{ $defs: { a: { properties: { x: {} } } }, allOf: [{ $ref: '#/$defs/a' }, true], required: ['x'] }, { x: 'demo' }],
    ['no schema', {}],
  ];
  for (const [schema, instance] of rows) t.same(schemaInstance(schema), instance, JSON.stringify(schema));
  t.end();
});

t.test('ends for a schema that holds itself', (t) => {
  const endless = { type: 'object', properties: { next: { $ref: '#' } }, required: ['next'] };
  const text = JSON.stringify(schemaInstance(endless));
  t.match(text, /^(?:\{"next":)+null\}+$/);
  t.end();
});
