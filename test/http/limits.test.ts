/** Limits over real sockets: who is refused, when, with which figures, and when they may come again. */
import t, { type Test } from 'tap';
import { post, startGateway } from '../support/gateway.ts';
import { chunk, completion, endMarker, openStream, sendJson, startUpstream, type Answer } from '../support/upstream.ts';

const messages = [{ role: 'user', content: 'hi' }];
const asked = { model: 'gpt-4o-mini', messages, max_tokens: 10 };

const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('hello')));
const gateway = await startGateway(t, {
  environment: { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url },
  yaml: `
tiers:
  free: { price: 0,  rpm: 10,   tpm: 20k,  concurrency: 2,   history: 7d,  models: "*" }
  fast: { price: 0,  rpm: 600,  tpm: 60k,  concurrency: 50,  history: 7d,  models: "*" }
  plus: { price: 99, rpm: 5000, tpm: 100m, concurrency: 500, history: 90d, models: "*" }
`,
});
const quick: Answer = (_request, response) => sendJson(response, completion('hello'));

type Told = { status: number; headers: Record<string, string>; body: string };

async function ask(token: string, body: object = asked): Promise<Told> {
  const response = await post(gateway, token, body);
  return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.text() };
}

/** The waits and the figures must agree with each other, and the whole envelope must be there. */
function checkLimited(t: Test, told: Told, { type, message }: { type: string; message: RegExp }): number {
  t.equal(told.status, 429);
  const { error } = JSON.parse(told.body) as { error: Record<string, string | null> };
  t.strictSame(Object.keys(error), ['message', 'type', 'param', 'code']);
  t.match(error, { type, param: null, code: 'rate_limit_exceeded', message });
  t.match(told.headers['x-request-id'], /^req_[0-9a-f]{32}$/);
  const waitMs = Number(told.headers['retry-after-ms']);
  t.ok(Number.isInteger(waitMs) && waitMs >= 1);
  t.equal(told.headers['retry-after'], String(Math.ceil(waitMs / 1000)));
  for (const rule of ['requests', 'tokens']) {
    t.match(told.headers[`x-ratelimit-limit-${rule}`], /^\d+$/);
    t.match(told.headers[`x-ratelimit-remaining-${rule}`], /^\d+$/);
    t.match(told.headers[`x-ratelimit-reset-${rule}`], /^(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?m?s$/);
  }
  return waitMs;
}

t.test('c9 refuses the eleventh request in a minute of the free tier, with true figures', async (t) => {
  upstream.answer = quick;
  const { token } = await gateway.createKey('free');
  const before = upstream.requests.length;
  for (let count = 1; count <= 10; count += 1) {
    const told = await ask(token);
    t.equal(told.status, 200);
    t.equal(told.headers['x-ratelimit-limit-requests'], '10');
    t.equal(told.headers['x-ratelimit-remaining-requests'], String(10 - count));
    t.equal(told.headers['x-ratelimit-limit-tokens'], '20000');
  }
  for (let count = 0; count < 5; count += 1) {
    const told = await ask(token);
    const waitMs = checkLimited(t, told, {
      type: 'requests',
      message: /Limit 10, Used 10, Requested 1\. Please try again/,
    });
    t.ok(waitMs <= 6000);
    t.equal(told.headers['x-ratelimit-remaining-requests'], '0');
  }
  t.equal(upstream.requests.length - before, 10, 'a refusal goes nowhere');
  const { token: other } = await gateway.createKey('free');
  t.equal((await ask(other)).status, 200, 'another account has its own');
});

t.test('refuses the third request at once of the free tier, and gives the place of who has ended', async (t) => {
  const waiting: (() => void)[] = [];
  let arrived = (): void => undefined;
  upstream.answer = async (_request, response) => {
    openStream(response);
    response.write(chunk({ role: 'assistant', content: 'a' }));
    arrived();
    await new Promise<void>((resolve) => waiting.push(resolve));
    response.end(chunk({}, 'stop') + endMarker);
  };
  const { token } = await gateway.createKey('free');
  const open = async (): Promise<Response> => {
    const isHere = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const response = await post(gateway, token, { ...asked, stream: true });
    await isHere;
    return response;
  };
  const first = await open();
  const second = await open();
  const told = await ask(token);
  checkLimited(t, told, {
    type: 'requests',
    message: /running at the same time: Limit 2, Used 2, Requested 1\. Please try/,
  });
  t.equal(told.headers['x-ratelimit-remaining-requests'], '8', 'and it has cost nothing');
  waiting.shift()?.();
  await first.text();
  const third = await open();
  t.equal(third.status, 200);
  for (const resume of waiting) resume();
  await Promise.all([second.text(), third.text()]);
});

t.test('admits a client that waits as long as it was told', async (t) => {
  const { token } = await gateway.createKey('fast');
  // The provider counts more than the whole bucket: the debt is paid back at a thousand tokens a second.
  const usage = { prompt_tokens: 62_000, completion_tokens: 0, total_tokens: 62_000 };
  upstream.answer = (_request, response) => sendJson(response, completion('dear', { usage }));
  t.equal((await ask(token)).status, 200);
  upstream.answer = quick;
  const told = await ask(token);
  const waitMs = checkLimited(t, told, { type: 'tokens', message: /tokens per min \(TPM\).*Limit 60000/ });
  t.equal(told.headers['x-ratelimit-remaining-tokens'], '0');
  t.ok(waitMs <= 2100, 'what is owed and what is asked, at the rate of the tier');
  await new Promise((resolve) => setTimeout(resolve, waitMs));
  t.equal((await ask(token)).status, 200);
});

t.test('refuses for ever what can never fit, and says so', async (t) => {
  upstream.answer = quick;
  const { token } = await gateway.createKey('free');
  const told = await ask(token, { ...asked, messages: [{ role: 'user', content: 'x'.repeat(60_000) }] });
  t.equal(told.status, 400);
  t.match(told.body, /"code":"request_exceeds_limit"/);
  t.equal(told.headers['retry-after'], undefined);
  const after = await ask(token);
  t.equal(after.headers['x-ratelimit-remaining-requests'], '9', 'and it has cost nothing');
});

t.test('speaks of the limits of the key when they are the tighter ones', async (t) => {
  upstream.answer = quick;
  const { token } = await gateway.createKey('plus', { limits: { requestsPerMinute: 2, concurrency: 1 } });
  t.match((await ask(token)).headers, { 'x-ratelimit-limit-requests': '2', 'x-ratelimit-remaining-requests': '1' });
  t.equal((await ask(token)).status, 200);
  checkLimited(t, await ask(token), { type: 'requests', message: /of this API key: Limit 2/ });
});

t.test('gives back what a request did not use', async (t) => {
  upstream.answer = quick;
  const { token } = await gateway.createKey('free');
  const first = await ask(token, { ...asked, max_tokens: 4000 });
  t.ok(Number(first.headers['x-ratelimit-remaining-tokens']) < 16_100, 'reserved while it ran');
  const second = await ask(token);
  t.ok(Number(second.headers['x-ratelimit-remaining-tokens']) > 19_000, 'and charged what it was');
});

t.test('counted refusals by their rule, and wrote a row only for what ran', async (t) => {
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  for (const reason of ['requests', 'tokens', 'concurrency']) {
    t.match(metrics, new RegExp(`tollgate_rejections_total\\{reason="${reason}"\\} [1-9]`));
  }
  t.match(metrics, /tollgate_open_leases 0/);
  t.ok(gateway.logLines().every(({ status, outcome }) => (status === 429) === (outcome === 'limited')));
  const rows = await gateway.rows(upstream.requests.length);
  t.equal(rows.length, upstream.requests.length);
  t.ok(rows.every(({ status }) => status === 'ok'));
});
