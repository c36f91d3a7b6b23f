/** Who gets in, who does not, what they are told, and that no key is ever repeated. */
import t, { type Test } from 'tap';
import { createApiKey, generateApiKey } from '../../src/auth/api-key.ts';
import { setKeyStatus } from '../../src/store/api-keys.ts';
import { startGateway } from '../support/gateway.ts';
import { checkRefusal, rawReply, type Refusal } from './refusals.ts';
import { openRaw } from './raw-connection.ts';

const gateway = await startGateway(t, {});
const key = await gateway.createKey('free');
const body = JSON.stringify({ model: 'demo/echo', messages: [{ role: 'user', content: 'hi' }], demo: { delay_ms: 0 } });
const sent = new Set<string>([key.token]);
let served = 0;

function ask(headers: Record<string, string>, query = ''): Promise<Response> {
  return fetch(`${gateway.url}/v1/chat/completions${query}`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
}

async function checkRefused(t: Test, response: Response, message: RegExp): Promise<void> {
  t.equal(response.headers.get('www-authenticate'), 'Bearer');
  const expected: Refusal = { status: 401, code: 'invalid_api_key', message };
  const reply = await rawReply(response);
  checkRefusal(t, reply, expected);
  for (const part of secrets()) t.notOk(JSON.stringify(reply).includes(part));
}

/** Every key that was sent, and the parts of it by which it could be known. */
const secrets = (): string[] =>
  [...sent]
    .flatMap((token) => [token, token.slice(6, 18), token.slice(19, 40), token.slice(-20)])
    .filter((part) => part.length > 8);

const known = key.token;
const flipped = `${known.slice(0, 30)}${known[30] === 'a' ? 'b' : 'a'}${known.slice(31)}`;
const samePublicId = createApiKey(known.slice(6, 18), generateApiKey().token.slice(19, 62)).token;
const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

const refused: Record<string, { headers: Record<string, string>; message: RegExp }> = {
  'c7 no key': { headers: {}, message: /did not provide an API key.*Authorization: Bearer sk-tg-/ },
  'an empty bearer': { headers: { authorization: 'Bearer ' }, message: /did not provide/ },
  'another scheme': { headers: { authorization: `Basic ${btoa('a:b')}` }, message: /did not provide/ },
  'a key without its scheme': { headers: { authorization: known }, message: /did not provide/ },
  "another vendor's key": {
    headers: bearer('sk-proj-abcdefghijklmnopqrstuvwxyz0123456789'),
    message: /begin with `sk-tg-`/,
  },
  'half a key': { headers: bearer(known.slice(0, 40)), message: /not one of this gateway/ },
  'a key with more behind it': { headers: bearer(`${known}x`), message: /not one of this gateway/ },
  'a key of fifteen thousand letters': {
    headers: bearer(`sk-tg-${'a'.repeat(15_000)}`),
    message: /not one of this gateway/,
  },
  'a key with a typing mistake': { headers: bearer(flipped), message: /typing mistake/ },
  'c6 a key that nobody has': { headers: bearer(generateApiKey().token), message: /not known here/ },
  'a key with the id of another': { headers: bearer(samePublicId), message: /not known here/ },
  'an x-api-key that nobody has': { headers: { 'x-api-key': generateApiKey().token }, message: /not known here/ },
  'a bad bearer beside a good x-api-key': {
    headers: { ...bearer(generateApiKey().token), 'x-api-key': known },
    message: /not known here/,
  },
};

for (const [name, { headers, message }] of Object.entries(refused)) {
  t.test(`refuses ${name} and says which mistake it is`, async (t) => {
    for (const value of Object.values(headers)) sent.add(value.replace('Bearer ', ''));
    await checkRefused(t, await ask(headers), message);
  });
}

t.test('refuses a key in the query, which every proxy logs', async (t) => {
  for (const name of ['key', 'api_key', 'access_token', 'authorization']) {
    await checkRefused(t, await ask({}, `?${name}=${known}`), /did not provide/);
  }
});

t.test('refuses a key in a cookie', async (t) => {
  await checkRefused(t, await ask({ cookie: `authorization=${known}; api_key=${known}` }), /did not provide/);
});

t.test('takes the first of two bearers, and no list of keys', async (t) => {
  const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}`;
  const raw = await openRaw(t, gateway.url);
  raw.write(`${head}\r\nauthorization: Bearer ${known}\r\nauthorization: Bearer x\r\n\r\n${body}`);
  t.equal((await raw.reply())?.status, 200);
  served += 1;
  raw.write(`${head}\r\nauthorization: Bearer x\r\nauthorization: Bearer ${known}\r\n\r\n${body}`);
  checkRefusal(t, await raw.reply(), { status: 401, code: 'invalid_api_key', message: /not one of this gateway/ });
  raw.write(`${head}\r\nx-api-key: ${known}\r\nx-api-key: ${known}\r\n\r\n${body}`);
  checkRefusal(t, await raw.reply(), { status: 401, code: 'invalid_api_key', message: /not one of this gateway/ });
});

t.test('lets a good key in, as bearer in any spelling and as x-api-key', async (t) => {
  for (const headers of [
    bearer(known),
    { authorization: `bearer   ${known} ` },
    { authorization: `BEARER ${known}` },
    { 'x-api-key': known },
    { ...bearer(known), 'x-api-key': 'anything' },
  ]) {
    const response = await ask(headers);
    t.equal(response.status, 200);
    t.equal(response.headers.get('x-ratelimit-limit-requests'), '10');
    await response.text();
    served += 1;
  }
});

t.test('says that a key was revoked or disabled, and only to its owner', async (t) => {
  for (const [status, message] of [
    ['revoked', /was revoked/],
    ['disabled', /disabled/],
  ] as const) {
    const { token } = await gateway.createKey();
    sent.add(token);
    await setKeyStatus(gateway.database.db, token.slice(6, 18), { status, atMs: Date.now() });
    await checkRefused(t, await ask(bearer(token)), message);
    const guess = createApiKey(token.slice(6, 18), generateApiKey().token.slice(19, 62)).token;
    await checkRefused(t, await ask(bearer(guess)), /not known here/);
  }
});

t.test('503, not 401, when the store cannot be asked', async (t) => {
  const other = await startGateway(t, {});
  const { token } = await other.createKey();
  await other.database.db.schema.dropTable('api_keys').cascade().execute();
  const response = await fetch(`${other.url}/v1/models`, { headers: bearer(token) });
  t.equal(response.headers.get('retry-after'), '1');
  t.equal(response.headers.get('retry-after-ms'), '1000');
  checkRefusal(t, await rawReply(response), { status: 503, code: 'auth_unavailable' });
  const [line] = other.logLines().filter(({ status }) => status === 503);
  t.match(line, { level: 'warn', outcome: 'gateway_error', error: 'auth_unavailable', cause: /api_keys/ });
  t.notOk(JSON.stringify(other.logLines()).includes(token));
});

t.test('counts each mistake, wrote rows only for what was served, and logged no part of any key', async (t) => {
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  for (const reason of ['missing', 'malformed', 'checksum', 'unknown', 'revoked', 'disabled']) {
    t.match(metrics, new RegExp(`tollgate_auth_failures_total\\{reason="${reason}"\\} [1-9]`));
  }
  t.equal((await gateway.rows(served)).length, served);
  const log = JSON.stringify(gateway.logLines());
  t.same(
    secrets().filter((part) => log.includes(part)),
    [],
  );
  t.notOk(gateway.logLines().some(({ level }) => level === 'error'));
});
