import { assert, constantFrom, dictionary, json, jsonValue, oneof, property, string, uint8Array } from 'fast-check';
import t from 'tap';
import { GatewayError } from '../../src/contract/errors.ts';
import { readChatRequest } from '../../src/gateway/chat-request.ts';
import { parseObject, thrownBy } from '../support/json-at.ts';

const messages = '"messages":[{"role":"user","content":"hi"}]';
const minimal = `{"model":"m",${messages}}`;
const body = (...members: string[]): string => `{${['"model":"m"', messages, ...members].join(',')}}`;
const read = (text: string | Buffer) => readChatRequest(Buffer.from(text));

function refusal(text: string | Buffer): GatewayError {
  const error = thrownBy(() => read(text));
  if (!(error instanceof GatewayError)) throw new Error(`not refused: ${text.toString().slice(0, 100)}`);
  return error;
}

type Refusal = { code: string; param: string | null };
type Case = [text: string | Buffer, expected: Refusal];

const refuses = (name: string, cases: readonly Case[]): void => {
  t.test(`refuses ${name}`, (t) => {
    for (const [text, expected] of cases) {
      const shown = text.toString().slice(0, 80);
      const error = refusal(text);
      t.equal(error.status, 400, shown);
      t.same({ code: error.code, param: error.param }, expected, shown);
      if (expected.param !== null) t.ok(error.message.includes(expected.param), `${shown} is told by its name`);
    }
    t.end();
  });
};

const malformed: Refusal = { code: 'invalid_json', param: null };
const wrongType = (param: string | null): Refusal => ({ code: 'invalid_type', param });
const refused = (code: string, param: string): Refusal => ({ code, param });

refuses(
  'what is no JSON',
  ['', ' ', '{', minimal.slice(0, -1), `${minimal}x`, '{} {}', "{'model':'m'}", '{"model":"m",}', '{"model":NaN}'].map(
    (text): Case => [text, malformed],
  ),
);

refuses(
  'bytes that are no UTF-8',
  [[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xe2, 0x82], [0xf5, 0x80, 0x80, 0x80]].map((bytes): Case => {
    const [head = '', tail = ''] = minimal.split('hi');
    return [Buffer.concat([Buffer.from(head), Buffer.from(bytes), Buffer.from(tail)]), malformed];
  }),
);

refuses(
  'a body that is no object',
  ['[]', '"text"', 'null', '12', 'true', `[${minimal}]`].map((text): Case => [text, wrongType(null)]),
);

refuses('a model that is no name', [
  [`{${messages}}`, refused('missing_required_parameter', 'model')],
  [`{"model":null,${messages}}`, refused('missing_required_parameter', 'model')],
  [`{"model":"",${messages}}`, refused('missing_required_parameter', 'model')],
  [`{"Model":"m",${messages}}`, refused('missing_required_parameter', 'model')],
  [`{"model":12,${messages}}`, wrongType('model')],
  [`{"model":["m"],${messages}}`, wrongType('model')],
  [`{"model":{"id":"m"},${messages}}`, wrongType('model')],
]);

const filler = '"metadata":{"text":"' + 'x'.repeat(300_000) + '"}';

refuses('a model that is given twice, however it is written', [
  [body('"model":"n"'), refused('duplicate_parameter', 'model')],
  [body('"model" : "m"'), refused('duplicate_parameter', 'model')],
  [body(String.raw`"mod\u0065l":"n"`), refused('duplicate_parameter', 'model')],
  [String.raw`{"\u006dode\u006C":"n",${messages},"model":"m"}`, refused('duplicate_parameter', 'model')],
  [String.raw`{"\u006dodel":"n",${messages},"m\u006fdel":"m"}`, refused('duplicate_parameter', 'model')],
  [body(filler, '"model":"n"'), refused('duplicate_parameter', 'model')],
]);

refuses('messages that are none', [
  ['{"model":"m"}', refused('missing_required_parameter', 'messages')],
  ['{"model":"m","messages":null}', refused('missing_required_parameter', 'messages')],
  ['{"model":"m","messages":"hi"}', wrongType('messages')],
  ['{"model":"m","messages":{"role":"user"}}', wrongType('messages')],
  ['{"model":"m","messages":[]}', refused('empty_array', 'messages')],
  ['{"model":"m","messages":["hi"]}', wrongType('messages[0]')],
  ['{"model":"m","messages":[null]}', wrongType('messages[0]')],
  ['{"model":"m","messages":[[]]}', wrongType('messages[0]')],
  ['{"model":"m","messages":[{"content":"hi"}]}', wrongType('messages[0].role')],
  ['{"model":"m","messages":[{"role":"user"},{"role":7}]}', wrongType('messages[1].role')],
  [
    `{"model":"m","messages":[${Array(4097).fill('{"role":"user"}').join(',')}]}`,
    refused('integer_above_max_value', 'messages'),
  ],
]);

refuses('stream and its options in another shape', [
  [body('"stream":"true"'), wrongType('stream')],
  [body('"stream":1'), wrongType('stream')],
  [body('"stream":true', '"stream_options":"usage"'), wrongType('stream_options')],
  [body('"stream":true', '"stream_options":[]'), wrongType('stream_options')],
  [body('"stream":true', '"stream_options":{"include_usage":"yes"}'), wrongType('stream_options.include_usage')],
  [body('"stream_options":{"include_usage":true}'), refused('invalid_value', 'stream_options')],
  [body('"stream":false', '"stream_options":{}'), refused('invalid_value', 'stream_options')],
]);

refuses('tools and stop in another shape', [
  [body('"tools":{}'), wrongType('tools')],
  [body('"tools":"search"'), wrongType('tools')],
  [body(`"tools":[${Array(513).fill('{}').join(',')}]`), refused('integer_above_max_value', 'tools')],
  [body('"stop":3'), wrongType('stop')],
  [body('"stop":{}'), wrongType('stop')],
  [body('"stop":true'), wrongType('stop')],
  [body('"stop":[1]'), wrongType('stop[0]')],
  [body('"stop":["a",null]'), wrongType('stop[1]')],
  [body('"stop":[["a"]]'), wrongType('stop[0]')],
]);

refuses('numbers out of range or of another type', [
  ...['n', 'max_tokens', 'max_completion_tokens'].flatMap((name): Case[] => [
    [body(`"${name}":-1`), refused('integer_below_min_value', name)],
    [body(`"${name}":0`), refused('integer_below_min_value', name)],
    [body(`"${name}":1e12`), refused('integer_above_max_value', name)],
    [body(`"${name}":1.5`), wrongType(name)],
    [body(`"${name}":"10"`), wrongType(name)],
    [body(`"${name}":true`), wrongType(name)],
    [body(`"${name}":[1]`), wrongType(name)],
  ]),
  [body('"n":129'), refused('integer_above_max_value', 'n')],
  [body('"temperature":-0.1'), refused('decimal_below_min_value', 'temperature')],
  [body('"temperature":2.1'), refused('decimal_above_max_value', 'temperature')],
  [body('"temperature":"hot"'), wrongType('temperature')],
  [body('"top_p":-1'), refused('decimal_below_min_value', 'top_p')],
  [body('"top_p":1.01'), refused('decimal_above_max_value', 'top_p')],
  [body('"top_p":{}'), wrongType('top_p')],
]);

const nested = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`;

refuses('depth bombs', [
  [body(`"metadata":${nested(10_000)}`), refused('nesting_too_deep', `metadata${'[0]'.repeat(7)}…`)],
  [body(`"x":${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`), refused('nesting_too_deep', `x${'.a'.repeat(7)}…`)],
  [body(`"metadata":${nested(64)}`), refused('nesting_too_deep', `metadata${'[0]'.repeat(7)}…`)],
  [body(`"metadata":${'['.repeat(100_000)}`), malformed],
]);

refuses('names that reach behind an object', [
  [body('"__proto__":{"polluted":true}'), refused('invalid_value', '__proto__')],
  [body(String.raw`"\u005f_proto__":{"polluted":true}`), refused('invalid_value', '__proto__')],
  [body(String.raw`"__pr\u006fto__":1`), refused('invalid_value', '__proto__')],
  [body('"metadata":{"__proto__":null}'), refused('invalid_value', 'metadata.__proto__')],
  [
    '{"model":"m","messages":[{"role":"user","content":[{"__proto__":1}]}]}',
    refused('invalid_value', 'messages[0].content[0].__proto__'),
  ],
]);

refuses('half a surrogate pair, and numbers that are none', [
  [body(String.raw`"user":"a\ud83d"`), refused('invalid_value', 'user')],
  [body(String.raw`"user":"\uDE00"`), refused('invalid_value', 'user')],
  [body(String.raw`"user":"\ude00\ud83d"`), refused('invalid_value', 'user')],
  [body(String.raw`"stop":["a","\ud83d"]`), refused('invalid_value', 'stop[1]')],
  [body(String.raw`"metadata":{"a\ud83d":1}`), refused('invalid_value', 'metadata.a\uFFFD')],
  [body(String.raw`"b\ud83d":1`), refused('invalid_value', 'b\uFFFD')],
  [String.raw`{"model":"\ud83d",${messages}}`, refused('invalid_value', 'model')],
  [body('"seed":1e400'), refused('invalid_value', 'seed')],
  [body('"logit_bias":{"50256":-1e999}'), refused('invalid_value', 'logit_bias.50256')],
  [body('"max_tokens":1e400'), refused('invalid_value', 'max_tokens')],
]);

t.test('changes no object of the process when a body names a prototype', (t) => {
  refusal(body('"__proto__":{"polluted":true}', '"constructor":{"prototype":{"polluted":true}}'));
  t.doesNotThrow(() => read(body('"constructor":{"prototype":{"polluted":true}}', '"toString":1')));
  t.notOk('polluted' in {});
  t.end();
});

t.test('accepts what stands just inside the limits', (t) => {
  for (const text of [
    body(`"metadata":${nested(63)}`),
    body('"temperature":0', '"top_p":1', '"n":128', '"max_tokens":1'),
    body('"temperature":2', '"top_p":0', '"n":1', '"max_completion_tokens":1000000000'),
    body('"stop":"a"', `"tools":[${Array(512).fill('{}').join(',')}]`),
    body('"stop":[]', '"tools":[]'),
    body(String.raw`"user":"\ud83d\ude00 \u00e9"`),
    body('"temperature":1e-400'),
    `\n\t {"model" : "m" , ${messages} }\r\n`,
    `{"model":"m","messages":[${Array(4096).fill('{"role":"user"}').join(',')}]}`,
  ]) {
    t.doesNotThrow(() => read(text), text.slice(0, 80));
  }
  t.end();
});

t.test('takes null for absent', (t) => {
  const names = ['stream', 'stream_options', 'tools', 'stop', 'n', 'max_tokens', 'max_completion_tokens'];
  const request = read(body(...[...names, 'temperature', 'top_p'].map((name) => `"${name}":null`)));
  t.match(request, { model: 'm', stream: false, includeUsage: false });
  t.match(read(body('"stream":true', '"stream_options":{"include_usage":null}')), { includeUsage: false });
  t.end();
});

t.test('gives the bytes themselves, and what the gateway acts on', (t) => {
  const rawBody = Buffer.from(body('"stream":true', '"stream_options":{"include_usage":true}', '"new_field":[1]'));
  const request = readChatRequest(rawBody);
  t.equal(request.rawBody, rawBody);
  t.same(request.body, parseObject(rawBody.toString()));
  t.match(request, { model: 'm', stream: true, includeUsage: true, canSplice: true });
  t.match(read(body('"stream":true')), { stream: true, includeUsage: false });
  t.match(read(body('"stream":false')), { stream: false });
  t.end();
});

t.test('edits bytes only where the one "model" is certainly the key', (t) => {
  const schema = '"tools":[{"function":{"parameters":{"properties":{"model":{"type":"string"}}}}}]';
  const cases: [name: string, text: string, canSplice: boolean][] = [
    ['plain', minimal, true],
    ['with blanks', `{ "model"\n:\t"m", ${messages}}`, true],
    ['at the end of a large body', `{${messages},${filler},"model":"m"}`, true],
    ['at the beginning of a large body', body(filler), true],
    ['a nested key in a tool schema', body(schema), false],
    ['a value', body('"user":"model"'), false],
    ['the end of a text', body(String.raw`"user":"say \"model"`), false],
    ['quoted inside a text', body(String.raw`"user":"say \"model\" now"`), true],
    ['an escape of the key', String.raw`{"mod\u0065l":"m",${messages}}`, false],
    ['an escape that could spell it', body(String.raw`"user":"\u006fk"`), false],
    ['an escape that could not', body(String.raw`"user":"\u00e9"`), true],
  ];
  for (const [name, text, canSplice] of cases) {
    const request = read(text);
    t.match(request, { model: 'm', canSplice }, name);
  }
  t.end();
});

t.test('tells the place of a mistake and never repeats the text around it', (t) => {
  t.match(refusal('{"a":1,}').message, 'at character 7');
  t.match(refusal(`${minimal} x`).message, `at character ${minimal.length + 1}`);
  t.notMatch(refusal('[at position 9]').message, '9', 'a number out of the text is no place');
  t.notMatch(refusal('{"key":"sk-secret" "model"').message, 'secret');
  t.notMatch(refusal('sk-secret').message, 'secret');
  t.end();
});

t.test('every message is text that any client can print', (t) => {
  const faces = '😀'.repeat(500);
  for (const name of [faces, `x${faces}`, String.raw`\ud83d`, String.raw`\u0000\n`, 'é'.repeat(300)]) {
    const error = refusal(body(`"${name}":{"a":1e400}`));
    t.ok(error.message.isWellFormed() && error.param?.isWellFormed(), name.slice(0, 10));
    t.ok(error.message.length < 400);
    t.same(parseObject(JSON.stringify(error.toBody())), error.toBody());
  }
  t.end();
});

const governed = ['model', 'messages', 'stream', 'stream_options', 'tools', 'stop', 'n', 'max_tokens', 'temperature'];

function endsWell(text: string | Uint8Array): boolean {
  const error = thrownBy(() => readChatRequest(Buffer.from(text)));
  return error === undefined || (error instanceof GatewayError && error.status === 400);
}

t.test('answers anything at all with a request or a 400', (t) => {
  const names = oneof(constantFrom(...governed), string());
  t.doesNotThrow(() => {
    assert(property(uint8Array(), endsWell));
    assert(property(json(), endsWell));
    assert(
      property(dictionary(names, jsonValue()), (members) =>
        endsWell(JSON.stringify({ model: 'm', messages: [{ role: 'user' }], ...members })),
      ),
    );
    assert(
      property(string(), (text) => endsWell(body(`"user":"${text}"`))),
      { numRuns: 300 },
    );
  });
  t.end();
});
