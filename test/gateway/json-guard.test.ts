import { assert, constantFrom, jsonValue, property, string, tuple, uniqueArray, array, oneof } from 'fast-check';
import t from 'tap';
import { countTopLevelKey, endOfString, findHazard, maximumDepth } from '../../src/gateway/json-guard.ts';
import { parseObject } from '../support/json-at.ts';

const hazardOf = (text: string) => findHazard(parseObject(text), Buffer.from(text));

t.test('finds nothing in a harmless body', (t) => {
  for (const text of ['{}', '{"a":[1,null,true,"x"]}', String.raw`{"a":"\ud83d\ude00","é":[{}]}`, '{"a":1e308}']) {
    t.equal(hazardOf(text), null, text);
  }
  t.end();
});

t.test('names the first hazard by its path', (t) => {
  t.same(hazardOf('{"a":{"b":[0,1e999]}}'), { kind: 'number', path: 'a.b[1]' });
  t.same(hazardOf(String.raw`{"a":[{"b":"\ud83d"}]}`), { kind: 'surrogate', path: 'a[0].b' });
  t.same(hazardOf(String.raw`{"a":{"\ud83d":1}}`), { kind: 'surrogate', path: 'a.\uFFFD' });
  t.same(hazardOf('{"a":{"__proto__":1}}'), { kind: 'prototype', path: 'a.__proto__' });
  t.same(hazardOf('{"a":1e999,"__proto__":1}'), { kind: 'number', path: 'a' });
  t.end();
});

t.test('allows 64 levels of containers and no more', (t) => {
  const deep = (levels: number): string => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;
  t.equal(hazardOf(deep(maximumDepth)), null);
  t.same(hazardOf(deep(maximumDepth + 1)), { kind: 'depth', path: 'a.a.a.a.a.a.a.a…' });
  t.equal(hazardOf(deep(10_000))?.kind, 'depth');
  t.end();
});

t.test('shortens a long path without cutting a character in two', (t) => {
  for (const name of ['😀'.repeat(300), `x${'😀'.repeat(300)}`]) {
    const path = hazardOf(`{"${name}":1e999}`)?.path ?? '';
    t.ok(path.isWellFormed());
    t.ok(path.length > 100 && path.length <= 200);
  }
  t.end();
});

t.test('counts a key at the top level only, however it is spelt', (t) => {
  const cases: [text: string, count: number][] = [
    ['{}', 0],
    ['{"model":1}', 1],
    ['{"model":1,"model":2}', 2],
    ['{"a":"model","b":["model"],"c":{"model":{"model":1}}}', 0],
    ['{"a":[{"model":1},{"model":2}],"model":"model"}', 1],
    [String.raw`{"mod\u0065l":1,"\u006Dodel":2}`, 2],
    [String.raw`{"a\\":"model","model":"\\"}`, 1],
    [String.raw`{"a":"\"model\":1,\\\"model","model\"":1}`, 0],
    ['{"a":"{","b":"}","model":1,"c":"[,"}', 1],
    [' { "a" : [ ] , "model" : { } , "b" : { "x" : "," } , "model" : 1 } ', 2],
  ];
  for (const [text, count] of cases) {
    t.doesNotThrow(() => parseObject(text), `${text} is JSON`);
    t.equal(countTopLevelKey(text, 'model'), count, text);
  }
  t.end();
});

t.test('finds the end of a string behind any run of backslashes', (t) => {
  for (let backslashes = 0; backslashes < 6; backslashes += 1) {
    const text = `"${'\\'.repeat(backslashes)}" "`;
    t.equal(endOfString(text, 0), backslashes % 2 === 0 ? backslashes + 2 : text.length, text);
  }
  t.equal(endOfString('"open', 0), 5);
  t.end();
});

t.test('agrees with the parser on arbitrary objects, with every name given as often as wanted', (t) => {
  const name = oneof(constantFrom('model', 'mode', 'model"', '\\model', '{', ','), string());
  const members = array(tuple(name, jsonValue()), { maxLength: 6 });
  t.doesNotThrow(() =>
    assert(
      property(members, uniqueArray(constantFrom(0, 1, 2), { maxLength: 2 }), (pairs, doubled) => {
        const all = [...pairs, ...doubled.flatMap((index) => pairs.slice(index, index + 1))];
        const text = `{${all.map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`).join(' , ')}}`;
        return all.every(([key]) => countTopLevelKey(text, key) === all.filter(([other]) => other === key).length);
      }),
    ),
  );
  t.end();
});
