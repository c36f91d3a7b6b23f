import { isDeepStrictEqual } from 'node:util';
import {
  array,
  assert,
  boolean,
  constant,
  constantFrom,
  dictionary,
  jsonValue,
  nat,
  oneof,
  property,
  record,
  string,
  subarray,
} from 'fast-check';
import t from 'tap';
import type { JsonValue } from '../../src/contract/json.ts';
import type { RequestEdit } from '../../src/contract/provider.ts';
import { editBody } from '../../src/gateway/body-edit.ts';
import { readChatRequest } from '../../src/gateway/chat-request.ts';
import { parseObject } from '../support/json-at.ts';

const messages = '"messages":[{"role":"user","content":"hi"}]';
const usageOptions = { include_usage: true };

type Edit = { set?: RequestEdit['set']; remove?: RequestEdit['remove'] };

function edited(text: string, { set = {}, remove = [] }: Edit): string {
  return editBody(readChatRequest(Buffer.from(text)), { set, remove, dropped: [] }).toString();
}

t.test('hands on the very buffer when nothing must change', (t) => {
  const rawBody = Buffer.from(` {"model" : "m",${messages},"big":12345678901234567890}\n`);
  t.equal(editBody(readChatRequest(rawBody), { set: {}, remove: [], dropped: [] }), rawBody);
  t.end();
});

t.test('writes the body again when another "model" stands in its bytes', (t) => {
  for (const member of ['"user":"model"', String.raw`"user":"\u006f"`, '"metadata":{"model":"dear"}']) {
    const text = `{ "model":"m",${messages},${member}}`;
    t.equal(edited(text, {}), JSON.stringify(parseObject(text)), member);
  }
  t.end();
});

t.test('replaces the model in place and leaves every other byte', (t) => {
  for (const blank of ['', ' ', '\n\t\r ']) {
    const head = `${blank}{${blank}"n":1,"big":12345678901234567890,"é":"\\u00e9",${blank}"model"${blank}:${blank}`;
    const tail = `${blank},${messages},"n":1${blank}}${blank}`;
    t.equal(edited(`${head}"m"${tail}`, { set: { model: 'vendor/"new" é' } }), `${head}"vendor/\\"new\\" é"${tail}`);
  }
  t.equal(edited(`{${messages},"model":"m"}`, { set: { model: 'n' } }), `{${messages},"model":"n"}`);
  t.end();
});

t.test('adds members right behind the brace', (t) => {
  const text = ` { "model": "m", ${messages} }`;
  const added = '"stream_options":{"include_usage":true},';
  const set = { stream_options: usageOptions };
  t.equal(edited(text, { set }), ` {${added} "model": "m", ${messages} }`);
  t.equal(edited(text, { set: { ...set, model: 'n' } }), ` {${added} "model": "n", ${messages} }`);
  t.end();
});

t.test('finds the model at either end of a large body', (t) => {
  const filler = `"metadata":{"text":"${'x'.repeat(300_000)}"}`;
  t.equal(
    edited(`{"model":"m",${messages},${filler}}`, { set: { model: 'n' } }),
    `{"model":"n",${messages},${filler}}`,
  );
  t.equal(
    edited(`{${filler},${messages},"model":"m"}`, { set: { model: 'n' } }),
    `{${filler},${messages},"model":"n"}`,
  );
  t.end();
});

t.test('is never misled by a "model" that is not the key', (t) => {
  for (const member of [
    String.raw`"user":"say \"model"`,
    String.raw`"user":"say \"model\": \"dear\""`,
    String.raw`"user":"\"model\":"`,
    '"user":"model"',
    '"tools":[{"function":{"parameters":{"properties":{"model":{"type":"string"}}}}}]',
    '"metadata":{"model":"dear"}',
  ]) {
    for (const text of [`{"model":"m",${messages},${member}}`, `{${member},${messages},"model":"m"}`]) {
      t.same(parseObject(edited(text, { set: { model: 'n' } })), { ...parseObject(text), model: 'n' }, text);
    }
  }
  t.end();
});

t.test('writes the body again when the name of the model holds escapes', (t) => {
  for (const name of [String.raw`a\"b`, String.raw`a\\`, String.raw`a\/b`, String.raw`\u00e9`]) {
    const text = `{"model":"${name}",${messages}}`;
    t.same(parseObject(edited(text, { set: { model: 'n' } })), { ...parseObject(text), model: 'n' }, name);
  }
  t.end();
});

t.test('writes the body again when a member is replaced or taken out', (t) => {
  const text = `{"model":"m",${messages},"stream":true,"stream_options":{"x":1},"seed":7,"seed":8}`;
  t.same(parseObject(edited(text, { set: { stream_options: usageOptions } })), {
    ...parseObject(text),
    stream_options: usageOptions,
  });
  const { seed: _, ...withoutSeed } = parseObject(text);
  t.same(parseObject(edited(text, { remove: ['seed', 'absent'] })), withoutSeed);
  t.same(parseObject(edited(text, { remove: ['seed'], set: { seed: 9 } })), { ...withoutSeed, seed: 9 });
  t.end();
});

t.test('replaces a member that is null instead of giving it twice', (t) => {
  const text = `{"model":"m",${messages},"stream":true,"stream_options":null}`;
  const result = edited(text, { set: { stream_options: usageOptions } });
  t.equal(result.split('"stream_options"').length, 2);
  t.same(parseObject(result)['stream_options'], usageOptions);
  t.end();
});

const treacherous = [
  'model',
  '"model"',
  '\\"model',
  'mod\\u0065l',
  'added',
  '","model":"dear',
  '{',
  '😀',
  '\u2028',
  'o',
];
const text = oneof(
  { weight: 1, arbitrary: constantFrom(...treacherous) },
  { weight: 6, arbitrary: string({ unit: 'grapheme' }) },
);
const blank = constantFrom('', ' ', '\n', '\t', '\r\n', '  \n\t');
const governed = new Set(['n', 'stop', 'tools', 'stream', 'stream_options', 'temperature', 'top_p', 'messages']);
const isFree = (key: string): boolean => !governed.has(key) && !key.startsWith('max_') && key !== '__proto__';

const written = record({
  members: dictionary(text.filter(isFree), jsonValue({ stringUnit: 'grapheme', maxDepth: 3 }), { maxKeys: 5 }),
  model: text.filter((name) => name !== ''),
  content: text,
  place: nat({ max: 6 }),
  blanks: array(blank, { minLength: 1, maxLength: 7 }),
  escapes: oneof(constant([false]), array(boolean(), { minLength: 1, maxLength: 5 })),
});

const wanted = record(
  {
    model: string({ unit: 'grapheme' }),
    stream_options: constant<JsonValue>(usageOptions),
    added: jsonValue(),
  },
  { requiredKeys: [] },
);

/** JSON with blanks wherever they may stand, and characters escaped here and there. */
function write(value: JsonValue, nextBlank: () => string, nextEscape: () => boolean): string {
  const inner = (entry: JsonValue): string => nextBlank() + write(entry, nextBlank, nextEscape) + nextBlank();
  if (typeof value === 'string') {
    const escaped = Array.from({ length: value.length }, (_, index) => {
      const plain = JSON.stringify(value[index]).slice(1, -1);
      return nextEscape() ? `\\u${value.charCodeAt(index).toString(16).padStart(4, '0')}` : plain;
    });
    // Single halves of a pair were escaped one by one, which reads back as the pair.
    return `"${escaped.join('')}"`;
  }
  if (Array.isArray(value)) return `[${value.length === 0 ? nextBlank() : value.map(inner).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).map(([key, entry]) => `${inner(key)}:${inner(entry ?? null)}`);
  return `{${entries.length === 0 ? nextBlank() : entries.join(',')}}`;
}

function cycle<T>(values: readonly T[], otherwise: T): () => T {
  let at = -1;
  return () => values[(at += 1) % values.length] ?? otherwise;
}

t.test('an edit reads back as the edited body, whatever the body is and however it is written', (t) => {
  const sameValue = (left: JsonValue, right: JsonValue): boolean =>
    // Negative zero does not survive JSON.stringify, and means nothing here.
    isDeepStrictEqual(JSON.parse(JSON.stringify(left)), JSON.parse(JSON.stringify(right)));
  let spliced = 0;
  t.doesNotThrow(() =>
    assert(
      property(
        written,
        wanted,
        oneof(constant<string[]>([]), subarray(['added', 'content'])),
        (source, set, remove) => {
          const entries: [string, JsonValue][] = Object.entries(source.members).flatMap(([key, value]) =>
            key === 'model' ? [] : [[key, value]],
          );
          entries.push(['messages', [{ role: 'user', content: source.content }]]);
          entries.splice(Math.min(source.place, entries.length), 0, ['model', source.model]);
          const whole: JsonValue = Object.fromEntries(entries);
          const nextBlank = cycle(source.blanks, '');
          const nextEscape = cycle(source.escapes, false);
          const rawText = nextBlank() + write(whole, nextBlank, nextEscape) + nextBlank();
          if (rawText.includes('__proto__') || JSON.stringify(whole).includes('__proto__')) return true;
          const request = readChatRequest(Buffer.from(rawText));
          if (request.canSplice && remove.length === 0) spliced += 1;
          const result = editBody(request, { set, remove, dropped: [] }).toString();
          const kept = Object.entries(parseObject(rawText)).filter(([key]) => !remove.includes(key));
          return sameValue(JSON.parse(result) as JsonValue, { ...Object.fromEntries(kept), ...set });
        },
      ),
      { numRuns: 1500 },
    ),
  );
  t.ok(spliced > 200, `${spliced} of the edits were splices`);
  t.end();
});
