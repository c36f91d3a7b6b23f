/** The gateway's own limits and the network, as users of the `openai` package meet them: true waits, and no vain retry. */
import {
  APIConnectionError,
  APIConnectionTimeoutError,
  APIError,
  BadRequestError,
  InternalServerError,
  RateLimitError,
} from 'openai';
import t, { type Test } from 'tap';
import { completion, sendJson } from '../support/upstream.ts';
import { checkError } from './sdk-errors.ts';
import { messages, model, rejection, startSdkWorld, type CountedClient } from './sdk-world.ts';

const world = await startSdkWorld(t, {
  yaml: `
timeouts: { first_byte: 150ms }
tiers:
  free: { price: 0,  rpm: 10,   tpm: 20k,  concurrency: 2,   history: 7d,  models: "*" }
  shut: { price: 0,  rpm: 0,    tpm: 20k,  concurrency: 2,   history: 7d,  models: "*" }
  broke: { models: "*", budget: { total: 0 } }
  plus: { price: 99, rpm: 5000, tpm: 100m, concurrency: 500, history: 90d, models: "*" }
`,
});
const { upstream, gateway } = world;

/** The default of the package: two retries. */
const retrying = (apiKey = world.key.token): CountedClient => world.newClient({ apiKey, maxRetries: 2 });
const ask = (client: CountedClient, more: object = {}): Promise<unknown> =>
  rejection(client.chat.completions.create({ model, messages, ...more }));

/** Asks until the limit says no. */
async function exhaust(t: Test, apiKey: string, limit: number): Promise<RateLimitError> {
  const client = world.newClient({ apiKey });
  for (let count = 0; count <= limit; count += 1) {
    try {
      await client.chat.completions.create({ model, messages });
    } catch (error) {
      if (!(error instanceof RateLimitError)) throw error;
      t.equal(count, limit, 'all that the limit allows, and no more');
      return error;
    }
  }
  throw new Error('the limit was not reached');
}

t.test('c9 RateLimitError with true figures when our own limit is reached', async (t) => {
  upstream.answer = (_request, response) => sendJson(response, completion('hello'));
  const { token } = await gateway.createKey('free');
  const error = await exhaust(t, token, 10);
  checkError(t, error, { type: RateLimitError, status: 429, code: 'rate_limit_exceeded', errorType: 'requests' });
  t.match(error, { message: /Limit 10, Used 10, Requested 1\. Please try again in \d+(\.\d+)?s\./ });
  const waitMs = Number(error.headers.get('retry-after-ms'));
  t.ok(waitMs > 0 && waitMs <= 6000, 'a tenth of a minute at most');
  t.equal(error.headers.get('retry-after'), String(Math.ceil(waitMs / 1000)));
  t.equal(error.headers.get('x-should-retry'), null);
  t.match(error.headers.get('x-ratelimit-reset-requests'), /^(?:\d+m)?\d+(?:\.\d+)?s$/);
  t.equal(error.headers.get('x-ratelimit-limit-requests'), '10');
  t.equal(error.headers.get('x-ratelimit-remaining-requests'), '0');
});

t.test('waits as long as it is told, and succeeds, when the package may retry', async (t) => {
  const { token } = await gateway.createKey('plus', { limits: { tokensPerMinute: 60_000 } });
  const asked = { model, messages, max_tokens: 10 };
  // The provider counts more than the whole bucket: the debt is paid back at a thousand tokens a second.
  upstream.answer = (_request, response) =>
    sendJson(
      response,
      completion('dear', { usage: { prompt_tokens: 62_000, completion_tokens: 0, total_tokens: 62_000 } }),
    );
  await world.newClient({ apiKey: token }).chat.completions.create(asked);
  upstream.answer = (_request, response) => sendJson(response, completion('after the wait'));
  const before = upstream.requests.length;
  const patient = retrying(token);
  const reply = await patient.chat.completions.create(asked);
  t.equal(reply.choices[0]?.message.content, 'after the wait');
  t.equal(patient.sent(), 2, 'one wait was enough');
  t.equal(upstream.requests.length - before, 1, 'a refusal costs the upstream nothing');
});

t.test('RateLimitError, asked once, when no wait would help', async (t) => {
  const client = retrying((await gateway.createKey('shut')).token);
  const error = await ask(client);
  checkError(t, error, { type: RateLimitError, status: 429, code: 'rate_limit_exceeded', errorType: 'requests' });
  t.equal(client.sent(), 1);
});

t.test('c10 RateLimitError insufficient_quota, asked once, when the budget is gone', async (t) => {
  const client = retrying((await gateway.createKey('broke')).token);
  const error = await ask(client);
  checkError(t, error, {
    type: RateLimitError,
    status: 429,
    code: 'insufficient_quota',
    errorType: 'insufficient_quota',
  });
  t.equal(error instanceof APIError ? error.headers?.get('x-should-retry') : null, 'false');
  t.equal(client.sent(), 1);
});

t.test('BadRequestError when a request can never fit its limit', async (t) => {
  const client = retrying((await gateway.createKey('free')).token);
  const error = await ask(client, { messages: [{ role: 'user', content: 'x'.repeat(200_000) }] });
  checkError(t, error, {
    type: BadRequestError,
    status: 400,
    code: 'request_exceeds_limit',
    errorType: 'invalid_request_error',
  });
  t.equal(client.sent(), 1);
});

t.test('c89 APIError 413 when the body is over the limit', async (t) => {
  const client = retrying();
  const error = await ask(client, { messages: [{ role: 'user', content: 'x'.repeat(5 * 1024 * 1024) }] });
  checkError(t, error, { type: APIError, status: 413, code: 'request_too_large', errorType: 'invalid_request_error' });
  t.equal(client.sent(), 1);
});

t.test('InternalServerError 504, asked once, when no stream begins in time', async (t) => {
  upstream.answer = () => undefined;
  const client = retrying();
  checkError(t, await ask(client, { stream: true }), {
    type: InternalServerError,
    status: 504,
    code: 'timeout',
    errorType: 'server_error',
  });
  t.equal(client.sent(), 1, 'a request that nobody answered may have been billed');
});

t.test('APIConnectionTimeoutError when the package waits no longer', async (t) => {
  upstream.answer = () => undefined;
  const client = world.newClient({ timeout: 300 });
  t.type(await ask(client), APIConnectionTimeoutError);
  await world.lastRequest().closedEarly;
});

t.test('InternalServerError 502 when nobody listens where the provider should be, then no connection', async (t) => {
  const other = await startSdkWorld(t, { environment: { OPENAI_BASE_URL: 'http://127.0.0.1:9/v1' } });
  const error = await ask(other.client);
  checkError(t, error, {
    type: InternalServerError,
    status: 502,
    code: 'upstream_error',
    errorType: 'server_error',
  });
  t.notMatch(error, { message: /127\.0\.0\.1/ });
  await other.gateway.app.close({ delayMs: 0, deadlineMs: 0 });
  t.type(await ask(other.client), APIConnectionError, 'the gateway is gone');
});
