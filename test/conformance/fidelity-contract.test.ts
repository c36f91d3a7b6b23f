/**
 * The fidelity contract over real sockets, for one provider of each kind: passed through, edited, local, declared, and
 * written anew. One request per cell, and a second one in strict mode. Spec: fidelity 10 and "How to check it", 1.
 */
import t from 'tap';
import { createDeclaredProvider, registry } from '../../providers/index.ts';
import { isNameOf, sampleBody, samples } from '../../scripts/fidelity-samples.ts';
import type { JsonObject } from '../../src/contract/json.ts';
import type { ChatEndpoint, ProviderAdapter } from '../../src/contract/provider.ts';
import { at, parseObject, textAt } from '../support/json-at.ts';
import { startGateway } from '../support/gateway.ts';
import { sentBody } from '../support/sent-body.ts';
import { completion, sendJson, startUpstream } from '../support/upstream.ts';

const message = {
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: 'm',
  content: [{ type: 'text', text: 'x' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 9, output_tokens: 3 },
};
const converse = {
  output: { message: { role: 'assistant', content: [{ text: 'x' }] } },
  stopReason: 'end_turn',
  usage: { inputTokens: 9, outputTokens: 3, totalTokens: 12 },
};
const candidates = {
  candidates: [{ content: { role: 'model', parts: [{ text: 'x' }] }, finishReason: 'STOP', index: 0 }],
  usageMetadata: { promptTokenCount: 9, candidatesTokenCount: 3, totalTokenCount: 12 },
};
const upstream = await startUpstream(t, (request, response) => {
  if (request.path.includes(':generateContent')) {
    sendJson(response, candidates);
    return;
  }
  if (request.path.endsWith('/converse')) sendJson(response, converse);
  else sendJson(response, request.path.endsWith('/messages') ? message : completion('x'));
});
const kinds: ProviderAdapter[] = [
  registry.openai,
  registry.groq,
  registry.mistral,
  registry.deepseek,
  registry.cohere,
  registry.ollama,
  createDeclaredProvider({ id: 'house', dialect: 'openai-compat', baseUrl: upstream.url }),
  registry.anthropic,
  registry.bedrock,
  registry.google,
];
const gateway = await startGateway(t, {
  yaml: `providers: { house: { dialect: openai-compat, base_url: "${upstream.url}", allow_private: true } }`,
  environment: {
    BEDROCK_REGION: 'eu-west-1',
    ...Object.fromEntries(
      kinds.flatMap(({ id }) => {
        const prefix = id.toUpperCase();
        return [
          [`${prefix}_API_KEY`, 'sk-upstream'],
          [`${prefix}_BASE_URL`, upstream.url],
        ];
      }),
    ),
  },
});
const { token } = await gateway.createKey();

const ask = (body: JsonObject, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });

const paramOf = async (reply: Response): Promise<string> => {
  const { error } = parseObject(await reply.text());
  return at(error, 'code') === 'unsupported_parameter' ? textAt(error, 'param') : '';
};

const bytesOf = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

for (const adapter of kinds) {
  t.test(`${adapter.id} keeps its column from end to end`, async (t) => {
    const chat = adapter.endpoints.chat as ChatEndpoint;
    for (const [row, sample] of Object.entries(samples)) {
      // The rest of the suite is about streams.
      if (row === 'stream') continue;
      const fate = chat.fates?.[row];
      const body = { ...sampleBody(sample), model: `${adapter.id}/m` };
      const asked = upstream.requests.length;
      const reply = await ask(body);
      const report = reply.headers.get('x-tollgate-dropped-params');
      if (fate === 'refused') {
        t.equal(reply.status, 400, `${row} is refused`);
        t.ok(isNameOf(row, await paramOf(reply)), `${row} is refused by its name`);
        t.equal(upstream.requests.length, asked, 'and the upstream is not asked');
        continue;
      }
      t.equal(reply.status, 200, `${row} is ${fate}`);
      const expected = chat.request(body, { upstreamModel: 'm', model: null }, new Map());
      t.strictSame(
        upstream.requests.at(-1)?.body,
        bytesOf(sentBody(body, expected)),
        `${row} goes as the adapter says`,
      );
      if (fate === 'dropped') t.ok(isNameOf(row, report ?? ''), `${row} is reported`);
      else if (fate !== 'by-model') t.equal(report, null, `${row} is not reported`);
      const strict = await ask(body, { 'x-tollgate-strict': 'true' });
      t.equal(strict.status, report === null ? 200 : 400, `${row} in strict mode`);
      if (report !== null) t.ok(isNameOf(row, await paramOf(strict)), 'is refused by its name');
    }
  });
}
