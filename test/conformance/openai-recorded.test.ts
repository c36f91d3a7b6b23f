/**
 * Recorded answers of OpenAI, served again by the upstream and read twice by the `openai` package: straight from there,
 * and through the gateway. Nothing that the package sees may differ but the request id.
 */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import OpenAI, { APIError } from 'openai';
import t from 'tap';
import { isJsonObject, type JsonObject } from '../../src/contract/json.ts';
import { at, parseObject, textAt } from '../support/json-at.ts';
import { collect, messages, rejection, startSdkWorld } from './sdk-world.ts';

const folder = join(import.meta.dirname, '../../../shared/fixtures/openai/dev');

type Exchange = {
  name: string;
  request: JsonObject;
  status: number;
  headers: Record<string, string>;
  text: string;
};

function exchanges(): Exchange[] {
  return globSync('*.json', { cwd: folder })
    .sort()
    .flatMap((name) => {
      const { request, response } = parseObject(readFileSync(join(folder, name), 'utf8'));
      if (!textAt(request, 'url').endsWith('/chat/completions') || !isJsonObject(response)) return [];
      const body = at(request, 'body');
      const headers = Object.entries(isJsonObject(response.headers) ? response.headers : {});
      return [
        {
          name,
          request: isJsonObject(body) ? body : {},
          status: Number(response.status),
          headers: Object.fromEntries(headers.map(([key, value]) => [key, typeof value === 'string' ? value : ''])),
          // As OpenAI writes its replies: two spaces.
          text: textAt(response, 'body_text') || JSON.stringify(response.body, null, 2),
        },
      ];
    });
}

const ofTheConnection = new Set(['connection', 'content-length', 'transfer-encoding', 'date', 'content-encoding']);
const mayBeEqual = new Set(['content-type', 'openai-version', 'x-content-type-options']);

const recorded = existsSync(folder) ? exchanges() : [];
if (recorded.length === 0) t.comment('fixtures absent: the recorded answers are not beside this repository');

const world = await startSdkWorld(t);
const direct = new OpenAI({ apiKey: 'any', baseURL: world.upstream.url, maxRetries: 0 });

/** Serves the recording in pieces of an odd size, so that events and characters are split. */
function serve({ status, headers, text }: Exchange): void {
  const kept = Object.entries(headers).filter(([name]) => !ofTheConnection.has(name));
  world.upstream.answer = async (_request, response) => {
    response.writeHead(status, Object.fromEntries(kept));
    const bytes = Buffer.from(text);
    for (let start = 0; start < bytes.length; start += 997) {
      response.write(bytes.subarray(start, start + 997));
      await new Promise((resolve) => setImmediate(resolve));
    }
    response.end();
  };
}

/** The recorded body under the provider's own name for the model. What the gateway refuses by itself is left out. */
function paramsOf({ request, status }: Exchange): JsonObject {
  return status < 400 ? request : { model: request.model, messages: [...messages] };
}

const throughGateway = (params: JsonObject): JsonObject => ({ ...params, model: `openai/${textAt(params, 'model')}` });

async function read(client: OpenAI, params: JsonObject): Promise<{ value: unknown; response: Response }> {
  const call = client.chat.completions.create(params as never);
  const { data, response } = await call.withResponse();
  const value: unknown = Symbol.asyncIterator in data ? await collect(data as AsyncIterable<unknown>) : data;
  return { value, response };
}

const withoutId = (value: unknown): unknown =>
  isJsonObject(value) ? Object.fromEntries(Object.entries(value).filter(([key]) => key !== '_request_id')) : value;

/** The last usage that the recording shows. */
function recordedUsage(text: string): JsonObject {
  const bodies = text.startsWith('data:')
    ? text.split('\n').flatMap((line) => (line.startsWith('data: {') ? [parseObject(line.slice(6))] : []))
    : [parseObject(text)];
  const usage = bodies.map((body) => body.usage).findLast(isJsonObject);
  return usage ?? {};
}

for (const exchange of recorded.filter(({ status }) => status < 400)) {
  t.test(`reads ${exchange.name} as from OpenAI itself`, async (t) => {
    serve(exchange);
    const params = paramsOf(exchange);
    const expected = await read(direct, params);
    const { value, response } = await read(world.client, throughGateway(params));
    t.strictSame(withoutId(value), withoutId(expected.value));
    t.strictSame(world.lastRequest().body, params, 'the request arrived as it was recorded');
    for (const [name, recordedValue] of Object.entries(exchange.headers)) {
      if (!mayBeEqual.has(name) && !ofTheConnection.has(name)) {
        t.not(response.headers.get(name), recordedValue, `${name} is not the upstream's`);
      }
    }
    const usage = recordedUsage(exchange.text);
    const row = (await world.gateway.row(response.headers.get('x-request-id'))) ?? {};
    const figures = ['prompt_tokens', 'completion_tokens', 'cached_tokens', 'reasoning_tokens'];
    t.strictSame(
      figures.map((name) => Number(row[name])),
      [
        usage.prompt_tokens,
        usage.completion_tokens,
        at(usage, 'prompt_tokens_details', 'cached_tokens') ?? 0,
        at(usage, 'completion_tokens_details', 'reasoning_tokens') ?? 0,
      ],
      'the row has the recorded figures',
    );
    t.equal(row['usage_source'], 'provider');
  });
}

const isUsageChunk = (chunk: JsonObject): boolean =>
  Array.isArray(chunk.choices) && chunk.choices.length === 0 && isJsonObject(chunk.usage);

function withoutUsage(chunk: JsonObject): JsonObject {
  const { usage, ...rest } = chunk;
  return usage === null ? rest : chunk;
}

for (const exchange of recorded.filter(({ request }) => at(request, 'stream_options', 'include_usage') === true)) {
  t.test(`reads ${exchange.name} without its usage when it was not asked for`, async (t) => {
    serve(exchange);
    const { stream_options: _theirs, ...params } = exchange.request;
    const asked = (await read(direct, params)).value as JsonObject[];
    const { value } = await read(world.client, throughGateway(params));
    t.strictSame(value, asked.filter((chunk) => !isUsageChunk(chunk)).map(withoutUsage));
    t.strictSame(world.lastRequest().body, { ...params, stream_options: { include_usage: true } });
  });
}

for (const exchange of recorded.filter(({ status }) => status >= 400)) {
  t.test(`raises the error of ${exchange.name} as from OpenAI itself`, async (t) => {
    serve(exchange);
    const params = paramsOf(exchange);
    const expected = await rejection(read(direct, params));
    const error = await rejection(read(world.client, throughGateway(params)));
    t.ok(expected instanceof APIError && error instanceof APIError);
    if (!(expected instanceof APIError && error instanceof APIError)) return;
    t.equal(error.constructor, expected.constructor);
    for (const member of ['status', 'message', 'type', 'param', 'code'] as const) {
      t.equal(error[member], expected[member], member);
    }
    t.not(error.requestID, expected.requestID);
  });
}

t.test('found every kind of recording when they are there', (t) => {
  const isThere = existsSync(folder);
  t.equal(recorded.length > 30, isThere);
  t.equal(
    recorded.some(({ text }) => text.startsWith('data:')),
    isThere,
  );
  t.equal(
    recorded.some(({ status }) => status >= 400),
    isThere,
  );
  t.end();
});
