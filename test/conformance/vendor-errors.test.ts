/** Errors in the forms of single vendors, from the socket to the caller. Spec: fidelity 2.4, 8 and its cases. */
import t from 'tap';
import { at, parseObject } from '../support/json-at.ts';
import { startGateway } from '../support/gateway.ts';
import { startUpstream, type Answer } from '../support/upstream.ts';

const upstream = await startUpstream(t, (_request, response) => {
  response.end();
});
const ids = ['deepseek', 'xai', 'groq', 'fireworks', 'mistral', 'openrouter', 'cohere', 'azure-openai'];
const gateway = await startGateway(t, {
  yaml: 'providers: { azure-openai: { settings: { resource: acme, api_version: 2024-10-21 } } }',
  environment: Object.fromEntries(
    ids.flatMap((id) => {
      const prefix = id.toUpperCase().replaceAll('-', '_');
      return [
        [`${prefix}_API_KEY`, 'sk-upstream'],
        [`${prefix}_BASE_URL`, upstream.url],
      ];
    }),
  ),
});
const { token } = await gateway.createKey();

const raw =
  (status: number, contentType: string, text: string): Answer =>
  (_request, response) => {
    response.writeHead(status, { 'content-type': contentType });
    response.end(text);
  };

async function ask(provider: string, answer: Answer, stream = false): Promise<{ status: number; text: string }> {
  upstream.answer = answer;
  const response = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: `${provider}/m`, messages: [{ role: 'user', content: 'hi' }], stream }),
  });
  return { status: response.status, text: await response.text() };
}

const codeOf = (text: string): unknown => at(parseObject(text).error, 'code');

t.test("c86 reads DeepSeek's errors, which come as bytes of no type", async (t) => {
  const body = { error: { message: 'Model Not Exist', type: 'invalid_request_error', param: null, code: null } };
  const reply = await ask('deepseek', raw(400, 'application/octet-stream', JSON.stringify(body)));
  t.equal(reply.status, 400);
  t.match(parseObject(reply.text), { error: { message: 'Model Not Exist', type: 'invalid_request_error' } });
});

t.test('c61 gives the error that xAI puts into a 200 a status of its own, streamed or not', async (t) => {
  const body = JSON.stringify({
    code: 'The service is currently unavailable',
    error: 'Service unavailable. Try later.',
  });
  const unary = await ask('xai', raw(200, 'application/json', body));
  t.same([unary.status, codeOf(unary.text)], [503, 'overloaded']);
  const asked = await ask('xai', raw(200, 'application/json', body), true);
  t.same([asked.status, codeOf(asked.text)], [503, 'overloaded']);
  const streamed = await ask('xai', raw(200, 'text/event-stream', `data: ${body}\n\n`), true);
  t.same([streamed.status, codeOf(streamed.text)], [503, 'overloaded']);
});

t.test('c70 keeps what Groq had generated when a tool call fails, as the first event too', async (t) => {
  const error = { message: 'Failed', type: 'invalid_request_error', code: 'tool_use_failed', failed_generation: '<f>' };
  const unary = await ask('groq', raw(400, 'application/json', JSON.stringify({ error })));
  t.match([unary.status, parseObject(unary.text)], [400, { error: { failed_generation: '<f>' } }]);
  const event = `event: error\ndata: ${JSON.stringify({ error: { ...error, status_code: 400 } })}\n\n`;
  const streamed = await ask('groq', raw(200, 'text/event-stream', event), true);
  t.match([streamed.status, parseObject(streamed.text)], [400, { error: { failed_generation: '<f>' } }]);
});

t.test('reads a fault, a detail, a flat error and a message', async (t) => {
  const rows: readonly (readonly [string, number, object, number, RegExp])[] = [
    ['fireworks', 400, { fault: { faultstring: 'Own fault' } }, 400, /Own fault/],
    ['mistral', 422, { detail: [{ loc: ['body', 'x'], msg: 'Extra inputs' }] }, 422, /body\.x: Extra inputs/],
    ['mistral', 400, { object: 'error', message: 'Invalid model', code: '1500' }, 400, /Invalid model/],
    ['cohere', 400, { id: 'a', message: 'invalid request' }, 400, /invalid request/],
    ['openrouter', 402, { error: { code: 402, message: 'Add credits.' } }, 502, /out of credit/],
  ];
  for (const [provider, status, body, expected, message] of rows) {
    const reply = await ask(provider, raw(status, 'application/json', JSON.stringify(body)));
    t.match([reply.status, at(parseObject(reply.text).error, 'message')], [expected, message], provider);
  }
});

t.test('c66 keeps the details of a content filter of Azure, whose key is in a header of its own', async (t) => {
  const error = { code: 'content_filter', message: 'Filtered.', innererror: { code: 'ResponsibleAIPolicyViolation' } };
  const reply = await ask('azure-openai', raw(400, 'application/json', JSON.stringify({ error })));
  t.match(parseObject(reply.text), { error: { code: 'content_filter', innererror: error.innererror } });
  const request = upstream.requests.at(-1);
  t.equal(request?.headers['api-key'], 'sk-upstream');
  t.equal(request?.headers.authorization, undefined);
  t.match(request?.path, /\/deployments\/m\/chat\/completions\?api-version=2024-10-21$/);
});

t.test('a redirect is never followed, so that a key goes nowhere else', async (t) => {
  const before = upstream.requests.length;
  const reply = await ask('azure-openai', (_request, response) => {
    response.writeHead(307, { location: `${upstream.url}/elsewhere` });
    response.end();
  });
  t.equal(reply.status, 502);
  t.equal(upstream.requests.length, before + 1);
});
