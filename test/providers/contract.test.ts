/**
 * What every registered provider must do, shown by its own fixtures: `request.json` becomes `upstream-request.json`,
 * `reply.json` becomes `reply.out.json`, `stream.in` becomes `stream.out`, and each row of `error.json` its `expected`.
 * A provider without fixtures fails here, and so does one whose output moved.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { registry } from '../../providers/index.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/contract/json.ts';
import type { ChatEndpoint, ProviderAdapter, SseEvent } from '../../src/contract/provider.ts';
import { replyContext } from '../support/reply-context.ts';
import { sentBody } from '../support/sent-body.ts';
import { sseEvents, sseText } from '../support/sse-lines.ts';

type UpstreamRequest = { path: string; upstreamModel: string; body: JsonObject; dropped: string[] };
type ErrorRow = { status: number; body?: JsonValue; expected: JsonObject };

const fixtures = join(import.meta.dirname, '../fixtures/providers');
const names = [
  'request.json',
  'upstream-request.json',
  'reply.json',
  'reply.out.json',
  'stream.in',
  'stream.out',
  'error.json',
];
const adapters: ProviderAdapter[] = Object.values(registry);

function chatOf(adapter: ProviderAdapter): ChatEndpoint {
  if (adapter.endpoints.chat === undefined) throw new Error(`${adapter.id} has no chat endpoint`);
  return adapter.endpoints.chat;
}

/** One run of a fresh translator over all events, as the corridor does it. */
function translated(chat: ChatEndpoint, events: readonly SseEvent[]): SseEvent[] {
  const translator = chat.stream?.(replyContext({ includeUsage: true }));
  if (translator === undefined) return [...events];
  const pushed = events.flatMap((event) => translator.push(event));
  return [...pushed, ...translator.end()];
}

for (const [key, adapter] of Object.entries<ProviderAdapter>(registry)) {
  const text = (name: string): string => readFileSync(join(fixtures, key, name), 'utf8');
  const json = (name: string): unknown => JSON.parse(text(name));

  t.test(`${key} has all fixtures`, (t) => {
    for (const name of names) t.ok(existsSync(join(fixtures, key, name)), name);
    t.end();
  });

  t.test(`${key} names itself`, (t) => {
    t.equal(adapter.id, key);
    t.match(adapter.id, /^[a-z][a-z0-9-]*$/);
    t.match(adapter.baseUrl, /^https?:\/\/.*[^/]$/);
    t.not(adapter.name, '');
    t.end();
  });

  t.test(`${key} adapts a request by its smallest edit`, (t) => {
    const body = json('request.json') as JsonObject;
    const before = structuredClone(body);
    const expected = json('upstream-request.json') as UpstreamRequest;
    const target = { upstreamModel: expected.upstreamModel, model: null };
    const edit = chatOf(adapter).request(body, target);
    t.equal(chatOf(adapter).path(target, body.stream === true), expected.path);
    t.same(sentBody(body, edit), expected.body);
    t.same(edit.dropped, expected.dropped);
    t.same(body, before, 'the body itself is untouched');
    t.same(chatOf(adapter).request(body, target), edit, 'a second attempt gives the same edit');
    const both = 'body' in edit ? [] : Object.keys(edit.set).filter((name) => edit.remove.includes(name));
    t.same(both, [], 'nothing is both set and removed');
    t.end();
  });

  t.test(`${key} adapts a reply`, (t) => {
    const body = json('reply.json') as JsonObject;
    const before = structuredClone(body);
    t.same(chatOf(adapter).response(body, replyContext()), json('reply.out.json'));
    t.same(body, before, 'the reply itself is untouched');
    t.equal(adapter.findError(body, ''), null, 'a good reply holds no error');
    t.end();
  });

  t.test(`${key} adapts a stream, and the same way again in a fresh translator`, (t) => {
    const events = sseEvents(text('stream.in'));
    const once = sseText(translated(chatOf(adapter), events));
    t.equal(once, text('stream.out'));
    t.equal(sseText(translated(chatOf(adapter), events)), once);
    t.end();
  });

  t.test(`${key} gives no end that the stream did not have, wherever it is cut`, (t) => {
    const events = sseEvents(text('stream.in'));
    const whole = sseText(translated(chatOf(adapter), events));
    for (let cut = 0; cut < events.length; cut += 1) {
      const translator = chatOf(adapter).stream?.(replyContext({ includeUsage: true }));
      if (translator === undefined) break;
      const pushed = events.slice(0, cut).flatMap((event) => translator.push(event));
      t.ok(whole.startsWith(sseText(pushed)), `what came before event ${cut} stays`);
      if (!translator.isComplete) t.same(translator.end(), [], `no tail before event ${cut}`);
    }
    t.ok(whole.endsWith('data: [DONE]\n\n'));
    t.end();
  });

  t.test(`${key} maps errors`, (t) => {
    for (const { status, body, expected } of json('error.json') as ErrorRow[]) {
      const error = adapter.mapError(status, body);
      t.match({ status: error.status, ...error.toBody().error }, expected);
      if (isJsonObject(body)) t.not(adapter.findError(body, ''), null, 'the same body inside a 200 is found');
    }
    const blind = adapter.mapError(502, undefined).toBody();
    t.notMatch(JSON.stringify(blind), /html|nginx/i);
    t.end();
  });

  t.test(`${key} sends its key only in the way it declares`, (t) => {
    const headers = adapter.authorize('canary-secret');
    t.ok(Object.values(headers).some((value) => value.includes('canary-secret')));
    t.ok(Object.keys(headers).every((name) => name === name.toLowerCase()));
    if (!adapter.needsKey) t.same(adapter.authorize(''), {});
    t.end();
  });

  if (adapter.answer !== undefined) {
    t.test(`${key} answers its own request with its own stream`, (t) => {
      const { path, body } = json('upstream-request.json') as UpstreamRequest;
      const script = adapter.answer?.({ path, body, context: replyContext() });
      t.equal([...(script?.chunks ?? [])].map((chunk) => chunk.data).join(''), text('stream.in'));
      t.equal(script?.status, 200);
      t.end();
    });
  }
}

t.test('a vendor of the factory is a page of data, and the factory knows no vendor', (t) => {
  const folder = join(import.meta.dirname, '../../providers');
  const texts = new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
  const vendors = [...texts].filter(
    ([, text]) => text.includes('= createOpenAiCompatible(') && !text.includes('createChatEndpoint'),
  );
  t.ok(vendors.length >= 20, `${vendors.length} vendors were read`);
  for (const [name, text] of vendors) t.ok(text.split('\n').length - 1 <= 40, `${name} has at most 40 lines`);
  const ids = Object.keys(registry).join('|');
  for (const [name, text] of texts) {
    if (!name.startsWith('openai-')) continue;
    t.notMatch(text, new RegExp(`['"](?:${ids})['"]`), `${name} asks for nobody's name`);
  }
  t.end();
});

t.test('ids are unique', (t) => {
  t.equal(new Set(adapters.map((adapter) => adapter.id)).size, adapters.length);
  t.end();
});
