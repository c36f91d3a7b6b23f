import t, { type Test } from 'tap';
import { findError, mapError, scrub } from '../../providers/openai-errors.ts';
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';

type Row = [status: number, body: JsonValue | undefined, expected: object];
const error = (message: string, more: JsonObject = {}): JsonObject => ({ error: { message, ...more } });

function check(t: Test, rows: readonly Row[]): void {
  for (const [status, body, expected] of rows) t.match(mapError(status, body), expected, JSON.stringify(body));
  t.end();
}

t.test("c36 never shows the operator's credentials trouble as the caller's", (t) => {
  const refused = { status: 502, code: 'upstream_authentication', headers: { 'x-should-retry': 'false' } };
  check(t, [
    [401, error('Incorrect API key provided: sk-1234', { code: 'invalid_api_key' }), refused],
    [403, error('Country not supported'), refused],
    [407, undefined, refused],
    [401, undefined, refused],
    [403, undefined, refused],
    [403, error('You have no access to model x', { code: 'model_access' }), { status: 403, code: 'model_access' }],
    [403, { message: 'You have no access to model x' }, { status: 403, code: 'permission_denied' }],
  ]);
});

t.test("shows the operator's bill as the operator's", (t) => {
  const billing = { status: 502, type: 'server_error', code: 'upstream_billing' };
  check(t, [
    [402, undefined, billing],
    [402, error('Pay'), billing],
    [403, error('Insufficient balance'), billing],
    [
      429,
      error('You exceeded your current quota', { type: 'insufficient_quota', code: 'insufficient_quota' }),
      billing,
    ],
    [400, error('Your credit balance is too low'), billing],
  ]);
});

t.test('c8 says which model is missing', (t) => {
  const missing = { status: 404, code: 'model_not_found', type: 'invalid_request_error', param: null };
  check(t, [
    [404, error('The model `x` does not exist', { code: 'model_not_found' }), missing],
    [404, error('Deployment does not exist', { code: 'DeploymentNotFound' }), missing],
    [400, { message: 'The provided model identifier is invalid.' }, missing],
    [404, undefined, { status: 502, code: 'upstream_error' }],
  ]);
});

t.test("passes on a refusal of the request with the provider's words", (t) => {
  check(t, [
    [
      400,
      error('Bad value', { type: 'invalid_request_error', param: 'top_p', code: 'unsupported_value' }),
      { status: 400, message: 'Bad value', param: 'top_p', code: 'unsupported_value' },
    ],
    [400, error('Bad', { code: 1234 }), { status: 400, code: null }],
    [415, error('Bad type'), { status: 400 }],
    [409, error('Busy'), { status: 409, code: 'conflict' }],
    [422, { detail: [{ loc: ['body', 'n'], msg: 'too large' }] }, { status: 422, message: 'body.n: too large' }],
    [422, { detail: 'No' }, { status: 422, message: 'No' }],
    [400, { fault: { faultstring: 'Bad fault' } }, { status: 400, message: 'Bad fault' }],
    [400, { id: 'r', message: 'Bad id' }, { status: 400, message: 'Bad id' }],
    [
      400,
      [{ error: { code: 400, message: 'Bad list', status: 'INVALID_ARGUMENT' } }],
      { status: 400, message: 'Bad list' },
    ],
    [
      400,
      { error: 'Bad text', code: 'Client specified an invalid argument' },
      { status: 400, message: 'Bad text', code: null },
    ],
    [413, error('Too large'), { status: 413, code: 'request_too_large' }],
    [413, undefined, { status: 413 }],
    [400, {}, { status: 502 }],
  ]);
});

t.test('c88 sees a context that is too long in the words of any vendor', (t) => {
  const overflow = { status: 400, code: 'context_length_exceeded' };
  const phrases = [
    "This model's maximum context length is 2048 tokens. However, you requested 2723",
    'prompt is too long: 210000 tokens',
    'input length and `max_tokens` exceed context limit',
    'exceeds the available context size',
    'Current length is 9 while limit is 8',
  ];
  for (const message of phrases) {
    t.match(
      mapError(400, { object: 'error', message, type: 'BadRequestError', param: null, code: 400 }),
      overflow,
      message,
    );
    t.match(mapError(413, error(message)), overflow);
  }
  t.match(mapError(400, error('x', { code: 'context_length_exceeded' })), overflow);
  t.end();
});

t.test('c66 keeps the details of a content filter', (t) => {
  const innererror = { code: 'ResponsibleAIPolicyViolation', content_filter_result: { hate: { filtered: true } } };
  const mapped = mapError(400, error('Filtered', { code: 'content_filter', param: 'prompt', innererror }));
  t.match(mapped, { status: 400, code: 'content_filter', param: 'prompt' });
  t.same(mapped.toBody().error.innererror, innererror);
  t.end();
});

t.test('c70 keeps what a failed tool call had generated', (t) => {
  const body = error('Tool call failed', {
    type: 'invalid_request_error',
    code: 'tool_use_failed',
    failed_generation: '{"a"',
  });
  t.match(mapError(400, body).toBody().error, { code: 'tool_use_failed', failed_generation: '{"a"' });
  const raw = error('Provider returned error', {
    code: 400,
    metadata: { raw: 'see https://internal.example/x', provider_name: 'P' },
  });
  t.same(mapError(400, raw).toBody().error.metadata, { raw: 'see [redacted]' });
  t.end();
});

t.test("c35 keeps an upstream's limit apart from its overload and its faults", (t) => {
  check(t, [
    [429, error('Rate limit reached in organization org-abc', { type: 'requests' }), { status: 429, type: 'requests' }],
    [429, undefined, { status: 429 }],
    [503, error('Overloaded'), { status: 503, code: 'overloaded' }],
    [529, undefined, { status: 503, code: 'overloaded' }],
    [498, error('capacity exceeded'), { status: 503 }],
    [500, error('internal at 10.0.0.1'), { status: 500, message: 'The provider had an internal error.' }],
    [500, error('The model is currently unavailable'), { status: 503 }],
    [502, error('x'), { status: 502, code: 'upstream_error' }],
    [408, undefined, { status: 504 }],
    [504, undefined, { status: 504 }],
    [524, error('x'), { status: 504 }],
  ]);
});

t.test('c87 never repeats a body that was not JSON', (t) => {
  t.match(mapError(502, undefined), { status: 502, code: 'upstream_error', message: /^The provider/ });
  t.match(mapError(200, undefined), { status: 502 });
  t.match(mapError(400, '<html>'), { status: 502 });
  t.end();
});

t.test('reads a status out of words only where they mean one', (t) => {
  t.match(mapError(200, error('token 429 is not allowed', { type: 'invalid_request_error' })), { status: 400 });
  t.match(mapError(200, error('x 429 y')), { status: 502 });
  t.end();
});

t.test('c25 gives an error inside a 200 the status of its own words', (t) => {
  const rows: [JsonObject, number][] = [
    [error('x', { type: 'overloaded_error' }), 503],
    [error('x', { code: 'rate_limit_exceeded' }), 429],
    [error('x', { code: 429 }), 429],
    [error('x', { code: '429' }), 429],
    [error('x', { type: 'insufficient_quota' }), 502],
    [error('x', { type: 'authentication_error' }), 502],
    [error('x', { type: 'invalid_request_error' }), 400],
    [error('x', { type: 'server_error' }), 500],
    [error('x', { type: 'timeout_error' }), 504],
    [error('x', { code: 'model_not_found' }), 404],
    [error('x'), 502],
    [{ error: true }, 502],
    [{ type: 'error', error: { type: 'overloaded_error', message: 'x' } }, 503],
    [{ type: 'error', code: 'server_error', message: 'x' }, 500],
    [{ object: 'error', message: 'x', code: 400 }, 400],
    [{ message: 'x' }, 502],
  ];
  for (const [body, status] of rows) t.equal(findError(body, '')?.status, status, JSON.stringify(body));
  t.end();
});

t.test('c61 takes a bare error text inside a 200 for a provider that cannot serve', (t) => {
  const body = { code: 'The service is currently unavailable', error: 'The model is at capacity' };
  t.match(findError(body, ''), { status: 503, code: 'overloaded' });
  t.match(findError({ code: 'internal', error: 'x' }, ''), { status: 500 });
  t.match(findError({ code: 'whatever', error: 'x' }, ''), { status: 503 });
  t.match(findError({ error: 'x' }, ''), { status: 502 });
  t.end();
});

t.test('finds no error where there is none', (t) => {
  for (const body of [
    {},
    { choices: [] },
    { error: null, choices: [] },
    { error: '', choices: [] },
    { choices: [], message: 'x' },
  ]) {
    t.equal(findError(body, ''), null, JSON.stringify(body));
  }
  t.match(findError({}, 'error'), { status: 502 }, 'an event that is called error is one');
  t.end();
});

t.test('sees a unary answer that broke off', (t) => {
  const reply = (finish: string, content: string | null): JsonObject => ({
    choices: [{ finish_reason: finish, message: { content } }],
  });
  t.match(findError(reply('error', 'half'), ''), { status: 502 });
  t.match(findError(reply('MALFORMED_FUNCTION_CALL', null), ''), { status: 502 });
  t.equal(findError(reply('MALFORMED_FUNCTION_CALL', 'text'), ''), null);
  t.end();
});

t.test("takes the operator's names, keys and hosts out of a message", (t) => {
  for (const canary of [
    'org-AbC123',
    'proj_9xyz',
    'sk-proj-abc*****xyz',
    'gsk_abcdef',
    'Bearer abc.def',
    'https://vllm.internal:8000/v1?key=1',
    '10.1.2.3:8000',
    'vllm.internal:8000',
  ]) {
    const message = scrub(`Limit for ${canary} at 12:30, ratio 3:1`);
    t.notOk(message.includes(canary), canary);
    t.match(message, /^Limit for .* at 12:30, ratio 3:1$/);
  }
  t.equal(scrub('x'.repeat(5000)).length, 4000);
  t.end();
});
