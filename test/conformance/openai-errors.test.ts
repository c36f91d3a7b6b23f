/** Every class of error that the `openai` package knows, with the members its users branch on and the requests it makes. */
import {
  APIError,
  AuthenticationError,
  BadRequestError,
  ConflictError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitError,
  UnprocessableEntityError,
} from 'openai';
import t from 'tap';
import { generateApiKey } from '../../src/auth/api-key.ts';
import { sendJson } from '../support/upstream.ts';
import { checkError, type ExpectedError } from './sdk-errors.ts';
import { messages, model, rejection, startSdkWorld, type CountedClient } from './sdk-world.ts';

const world = await startSdkWorld(t, {
  yaml: `
models:
  small: openai/gpt-4o-mini
tiers:
  shy:  { price: 0,  rpm: 100,  tpm: 20k,  concurrency: 2,   history: 7d,  models: [small] }
  plus: { price: 99, rpm: 5000, tpm: 100m, concurrency: 500, history: 90d, models: "*" }
`,
});
const { upstream, gateway } = world;

/** The default of the package: two retries. */
const retrying = (apiKey = world.key.token): CountedClient => world.newClient({ apiKey, maxRetries: 2 });
const ask = (client: CountedClient, more: object = {}): Promise<unknown> =>
  rejection(client.chat.completions.create({ model, messages, ...more }));

const outcomeOf = (error: unknown): unknown => {
  const id = error instanceof APIError ? error.requestID : undefined;
  return gateway.logLines().find((line) => line['request_id'] === id)?.['outcome'];
};

t.test('BadRequestError, after one request, when the gateway refuses a parameter', async (t) => {
  const client = retrying();
  const expected = { type: BadRequestError, status: 400, errorType: 'invalid_request_error' };
  checkError(t, await ask(client, { messages: [] }), { ...expected, code: 'empty_array', param: 'messages' });
  checkError(t, await ask(client, { temperature: 3 }), {
    ...expected,
    code: 'decimal_above_max_value',
    param: 'temperature',
  });
  checkError(t, await ask(client, { messages: [{ content: 'x' }] }), {
    ...expected,
    code: 'invalid_type',
    param: 'messages[0].role',
  });
  t.equal(client.sent(), 3);
});

t.test("BadRequestError with the upstream's words, param and code, when the upstream refuses", async (t) => {
  upstream.answer = (_request, response) =>
    sendJson(
      response,
      {
        error: {
          message: "Invalid value: 'x'. Supported values are: 'y'.",
          type: 'invalid_request_error',
          param: 'messages[0].role',
          code: 'unsupported_value',
        },
      },
      400,
    );
  const client = retrying();
  const error = await ask(client);
  checkError(t, error, {
    type: BadRequestError,
    status: 400,
    code: 'unsupported_value',
    errorType: 'invalid_request_error',
    param: 'messages[0].role',
  });
  t.match(error, { message: /Supported values are: 'y'/ });
  t.equal(client.sent(), 1);
  t.equal(outcomeOf(error), 'client_error', 'the provider did not fail');
});

t.test('c6 AuthenticationError, after one request, when the key is wrong', async (t) => {
  const client = retrying(generateApiKey().token);
  checkError(t, await ask(client), {
    type: AuthenticationError,
    status: 401,
    code: 'invalid_api_key',
    errorType: 'invalid_request_error',
  });
  t.equal(client.sent(), 1);
});

t.test('c8 NotFoundError with the nearest names when the model is unknown', async (t) => {
  const client = retrying();
  const error = await ask(client, { model: 'gpt-4o-mni' });
  checkError(t, error, {
    type: NotFoundError,
    status: 404,
    code: 'model_not_found',
    errorType: 'invalid_request_error',
  });
  t.match(error, { message: /`gpt-4o-mni` does not exist.*Did you mean (?:\S+, )*openai\/gpt-4o-mini/ });
  t.equal(client.sent(), 1);
});

t.test('NotFoundError that names only what the key may use when a model is forbidden', async (t) => {
  const { token } = await gateway.createKey('shy');
  const error = await ask(retrying(token), { model: 'openai/gpt-4o' });
  checkError(t, error, {
    type: NotFoundError,
    status: 404,
    code: 'model_not_found',
    errorType: 'invalid_request_error',
  });
  t.match(error, { message: /Did you mean small\?$/ });
});

t.test('NotFoundError when the upstream does not know the model', async (t) => {
  upstream.answer = (_request, response) =>
    sendJson(
      response,
      {
        error: {
          message: 'The model `gpt-9` does not exist or you do not have access to it.',
          type: 'invalid_request_error',
          param: null,
          code: 'model_not_found',
        },
      },
      404,
    );
  checkError(t, await ask(retrying(), { model: 'openai/gpt-9' }), {
    type: NotFoundError,
    status: 404,
    code: 'model_not_found',
    errorType: 'invalid_request_error',
  });
});

t.test('PermissionDeniedError when the upstream denies one model to the operator', async (t) => {
  upstream.answer = (_request, response) =>
    sendJson(
      response,
      { error: { message: 'Project `proj_abc123` does not have access to model `gpt-x`', type: 'x', code: null } },
      403,
    );
  const error = await ask(retrying());
  checkError(t, error, {
    type: PermissionDeniedError,
    status: 403,
    code: 'permission_denied',
    errorType: 'permission_error',
  });
  t.notMatch(error, { message: /proj_abc123/ });
});

type Failing = {
  status: number;
  body?: object | string;
  headers?: Record<string, string>;
  expected: ExpectedError;
  requests: number;
};

const openAiError = (type: string, code: string | null, message = 'no'): object => ({
  error: { message, type, param: null, code },
});

const server = { type: InternalServerError, errorType: 'server_error' };

const failing: Record<string, Failing> = {
  'ConflictError, asked thrice as the package does by itself, when the upstream has a conflict': {
    status: 409,
    body: openAiError('invalid_request_error', null),
    expected: { type: ConflictError, status: 409, code: 'conflict', errorType: 'invalid_request_error' },
    requests: 3,
  },
  'UnprocessableEntityError when the upstream cannot process it': {
    status: 422,
    body: { detail: [{ loc: ['body', 'messages'], msg: 'field required', type: 'value_error.missing' }] },
    expected: {
      type: UnprocessableEntityError,
      status: 422,
      code: 'unprocessable_entity',
      errorType: 'invalid_request_error',
    },
    requests: 1,
  },
  'c36 InternalServerError 502, asked once, when the upstream refuses our key': {
    status: 401,
    body: openAiError('invalid_request_error', 'invalid_api_key', 'Incorrect API key provided: sk-upstream.'),
    expected: { ...server, status: 502, code: 'upstream_authentication' },
    requests: 1,
  },
  'InternalServerError 502, asked once, when the upstream forbids': {
    status: 403,
    body: openAiError('x', null, 'Country, region, or territory not supported'),
    expected: { ...server, status: 502, code: 'upstream_authentication' },
    requests: 1,
  },
  "InternalServerError 502, asked once, when the operator's quota is spent": {
    status: 429,
    body: openAiError('insufficient_quota', 'insufficient_quota', 'You exceeded your current quota, check your plan'),
    headers: { 'retry-after': '1' },
    expected: { ...server, status: 502, code: 'upstream_billing' },
    requests: 1,
  },
  'RateLimitError, asked once, when the upstream limits without a known wait': {
    status: 429,
    body: openAiError('requests', 'rate_limit_exceeded', 'Rate limit reached in organization org-abcdef on requests'),
    expected: { type: RateLimitError, status: 429, code: 'rate_limit_exceeded', errorType: 'requests' },
    requests: 1,
  },
  'RateLimitError, asked thrice, when the upstream knows a short wait': {
    status: 429,
    body: openAiError('requests', 'rate_limit_exceeded'),
    headers: { 'retry-after-ms': '5' },
    expected: { type: RateLimitError, status: 429, code: 'rate_limit_exceeded', errorType: 'requests' },
    requests: 3,
  },
  'RateLimitError, asked once, when the wait is over a minute': {
    status: 429,
    body: openAiError('requests', 'rate_limit_exceeded'),
    headers: { 'retry-after': '3600', 'x-should-retry': 'true' },
    expected: { type: RateLimitError, status: 429, code: 'rate_limit_exceeded', errorType: 'requests' },
    requests: 1,
  },
  'InternalServerError 500, asked once, when the upstream fails': {
    status: 500,
    body: openAiError('server_error', null),
    headers: { 'x-should-retry': 'true' },
    expected: { ...server, status: 500, code: 'upstream_error' },
    requests: 1,
  },
  'InternalServerError 502, asked once, when a proxy answers with HTML': {
    status: 502,
    body: '<html><body>Bad Gateway from 10.0.0.7</body></html>',
    expected: { ...server, status: 502, code: 'upstream_error' },
    requests: 1,
  },
  'InternalServerError 502, asked once, when a success is no JSON': {
    status: 200,
    body: 'hello',
    expected: { ...server, status: 502, code: 'upstream_error' },
    requests: 1,
  },
  'InternalServerError 502, asked once, when the upstream redirects': {
    status: 302,
    body: '',
    headers: { location: 'http://169.254.169.254/' },
    expected: { ...server, status: 502, code: 'upstream_error' },
    requests: 1,
  },
  'InternalServerError 503, asked once, when the upstream is overloaded': {
    status: 503,
    body: openAiError('server_error', null, 'The engine is currently overloaded'),
    expected: { ...server, status: 503, code: 'overloaded' },
    requests: 1,
  },
  'InternalServerError 503, asked thrice, when the upstream knows when it is back': {
    status: 503,
    headers: { 'retry-after-ms': '5' },
    expected: { ...server, status: 503, code: 'overloaded' },
    requests: 3,
  },
  'InternalServerError 503 when the upstream reports overload inside a success': {
    status: 200,
    body: openAiError('server_error', 'overloaded', 'overloaded'),
    expected: { ...server, status: 503, code: 'overloaded' },
    requests: 1,
  },
  'InternalServerError 504, asked once, when the upstream timed out': {
    status: 504,
    expected: { ...server, status: 504, code: 'timeout' },
    requests: 1,
  },
};

for (const [name, { status, body, headers, expected, requests }] of Object.entries(failing)) {
  t.test(name, async (t) => {
    upstream.answer = (_request, response) => {
      response.writeHead(status, {
        'content-type': typeof body === 'string' ? 'text/html' : 'application/json',
        ...headers,
      });
      response.end(typeof body === 'string' ? body : JSON.stringify(body));
    };
    const client = retrying();
    const before = upstream.requests.length;
    const error = await ask(client);
    checkError(t, error, expected);
    t.equal(client.sent(), requests, 'requests of the package');
    t.equal(upstream.requests.length - before, requests, 'requests to the upstream');
    const text = JSON.stringify([error, error instanceof Error ? error.message : '']);
    for (const secret of ['sk-upstream', 'org-abc', '10.0.0.7', '169.254', '<html', upstream.url]) {
      t.notOk(text.includes(secret), `${secret} is not told`);
    }
    const id = error instanceof APIError ? error.requestID : null;
    t.match(await gateway.row(id), { http_status: expected.status, completion_tokens: 0 });
    t.equal(outcomeOf(error), expected.status < 500 && status !== 429 ? 'client_error' : 'upstream_error');
  });
}

t.test('c35 RateLimitError with the wait of the upstream when it limits', async (t) => {
  upstream.answer = (_request, response) =>
    sendJson(response, openAiError('requests', 'rate_limit_exceeded'), 429, { 'retry-after': '30' });
  const error = await ask(world.client);
  t.ok(error instanceof RateLimitError);
  if (!(error instanceof RateLimitError)) return;
  t.equal(error.headers.get('retry-after'), '30');
  t.equal(error.headers.get('retry-after-ms'), '30000');
  t.equal(error.headers.get('x-should-retry'), null);
});
