import t from 'tap';
import { post, startGateway } from '../support/gateway.ts';
import { completion, openStream, sendJson, startUpstream, streamText } from '../support/upstream.ts';

const origin = 'https://app.example.com';
const body = { model: 'openai/gpt-4o-mini', messages: [{ role: 'user', content: 'hi' }] };
const preflight = (url: string, from: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${url}/v1/chat/completions`, {
    method: 'OPTIONS',
    headers: {
      origin: from,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization, content-type, x-stainless-os',
      ...headers,
    },
  });

t.test('c92 a preflight of a named origin is answered without a key, and replies are open to it', async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    if (request.body['stream'] !== true) return sendJson(response, completion('x'));
    openStream(response);
    response.end(streamText(request, ['a']));
  });
  const gateway = await startGateway(t, {
    yaml: `cors_origins: ["${origin}"]`,
    environment: { OPENAI_API_KEY: 'k', OPENAI_BASE_URL: upstream.url },
  });
  const { token } = await gateway.createKey();
  const asked = await preflight(gateway.url, origin);
  t.equal(asked.status, 204);
  t.match(Object.fromEntries(asked.headers), {
    'access-control-allow-origin': origin,
    'access-control-allow-methods': /POST/,
    'access-control-allow-headers': 'authorization, content-type, x-stainless-os',
    'access-control-max-age': '600',
    vary: /origin/i,
  });
  t.equal(asked.headers.get('access-control-allow-credentials'), null, 'cookies are not invited');
  for (const more of [{}, { stream: true }]) {
    const response = await post(gateway, token, { ...body, ...more }, { headers: { origin } });
    t.equal(response.status, 200);
    t.equal(response.headers.get('access-control-allow-origin'), origin);
    t.match(response.headers.get('access-control-expose-headers'), /x-request-id.*x-ratelimit-remaining-tokens/);
    t.match(response.headers.get('x-request-id'), /^req_/);
    await response.text();
  }
  const refused = await post(gateway, 'sk-wrong', body, { headers: { origin } });
  t.equal(refused.status, 401);
  t.equal(refused.headers.get('access-control-allow-origin'), origin, 'a page may read why');
});

t.test('any other origin gets no header, and nobody does by default', async (t) => {
  const named = await startGateway(t, { yaml: `cors_origins: ["${origin}"]` });
  const silent = await startGateway(t);
  for (const [gateway, from] of [
    [named, 'https://app.example.com.evil.example'],
    [named, 'http://app.example.com'],
    [named, 'null'],
    [silent, origin],
  ] as const) {
    const asked = await preflight(gateway.url, from);
    t.not(asked.status, 204);
    t.equal(asked.headers.get('access-control-allow-origin'), null, from);
  }
  const open = await startGateway(t, { yaml: 'cors_origins: ["*"]' });
  const asked = await preflight(open.url, 'https://anywhere.example', {
    'access-control-request-headers': 'x;<script>',
  });
  t.equal(asked.status, 204);
  t.equal(asked.headers.get('access-control-allow-origin'), '*');
  t.equal(asked.headers.get('access-control-allow-headers'), null, 'odd names are not repeated');
});
