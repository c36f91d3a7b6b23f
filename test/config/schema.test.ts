import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { GatewayFile, renderGatewaySchema } from '../../src/config/schema.ts';

const root = join(import.meta.dirname, '..', '..');

t.test('is the schema that the repository ships for editors', (t) => {
  const committed = readFileSync(join(root, 'config/gateway.schema.json'), 'utf8');
  t.equal(committed, renderGatewaySchema(), 'node src/main.ts config schema > config/gateway.schema.json');
  t.end();
});

t.test('closes every object and describes every key', (t) => {
  let keys = 0;
  function walk(schema: unknown, path: string): void {
    if (typeof schema !== 'object' || schema === null) return;
    if ('properties' in schema || 'patternProperties' in schema) {
      t.match(schema, { additionalProperties: false }, `${path} is closed`);
    }
    for (const [name, member] of Object.entries('properties' in schema ? (schema.properties ?? {}) : {})) {
      keys += 1;
      t.match(member, { description: /\S/ }, `${path}.${name} has a description`);
      walk(member, `${path}.${name}`);
    }
    for (const member of Object.values('patternProperties' in schema ? (schema.patternProperties ?? {}) : {})) {
      walk(member, `${path}.*`);
    }
  }
  walk(GatewayFile, '');
  t.ok(keys > 25, 'the walk has been somewhere');
  t.end();
});

t.test('is named by the first line of the shipped file', (t) => {
  const [firstLine] = readFileSync(join(root, 'config/gateway.yaml'), 'utf8').split('\n');
  t.equal(firstLine, '# yaml-language-server: $schema=./gateway.schema.json');
  t.end();
});
