/** An OpenAI-shaped server whose answers a test writes: real sockets, every request recorded, every close seen. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

export type RecordedRequest = {
  path: string;
  headers: IncomingMessage['headers'];
  rawBody: string;
  body: Record<string, unknown>;
  /** Resolves when the connection of this request is closed before its reply was complete. */
  closedEarly: Promise<number>;
};

export type Answer = (request: RecordedRequest, response: ServerResponse) => void | Promise<void>;

export type Upstream = { url: string; requests: RecordedRequest[]; answer: Answer };

export async function startUpstream(t: Test, answer: Answer): Promise<Upstream> {
  const upstream: Upstream = { url: '', requests: [], answer };
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const rawBody = Buffer.concat(chunks).toString();
      const request: RecordedRequest = {
        path: incoming.url ?? '',
        headers: incoming.headers,
        rawBody,
        body: JSON.parse(rawBody) as Record<string, unknown>,
        closedEarly: new Promise((resolve) => {
          response.on('close', () => {
            if (!response.writableFinished) resolve(performance.now());
          });
        }),
      };
      upstream.requests.push(request);
      void upstream.answer(request, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  upstream.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  return upstream;
}

export function completion(content: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1_700_000_000,
    model: 'gpt-4o-mini-2024-07-18',
    choices: [
      { index: 0, message: { role: 'assistant', content, refusal: null }, logprobs: null, finish_reason: 'stop' },
    ],
    usage: { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 },
    ...more,
  };
}

export function sendJson(
  response: ServerResponse,
  body: unknown,
  status = 200,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', 'x-request-id': 'req_upstream', ...headers });
  response.end(JSON.stringify(body));
}

const chunkBase = {
  id: 'chatcmpl-1',
  object: 'chat.completion.chunk',
  created: 1_700_000_000,
  model: 'gpt-4o-mini-2024-07-18',
};

/** One event as OpenAI writes it; with usage asked for, every chunk carries the member. */
export function chunk(
  delta: Record<string, unknown>,
  finishReason: string | null = null,
  more: Record<string, unknown> = {},
): string {
  return `data: ${JSON.stringify({ ...chunkBase, choices: [{ index: 0, delta, finish_reason: finishReason }], ...more })}\n\n`;
}

export const usageChunk = `data: ${JSON.stringify({ ...chunkBase, choices: [], usage: { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 } })}\n\n`;
export const endMarker = 'data: [DONE]\n\n';

export function openStream(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'x-request-id': 'req_upstream' });
}

/** A whole stream as OpenAI sends it: the usage member and event only when the request asked for them. */
export function streamText(request: RecordedRequest, words: readonly string[]): string {
  const options = request.body['stream_options'] as { include_usage?: boolean } | undefined;
  const more = options?.include_usage === true ? { usage: null } : {};
  return [
    chunk({ role: 'assistant', content: '', refusal: null }, null, more),
    ...words.map((word) => chunk({ content: word }, null, more)),
    chunk({}, 'stop', more),
    options?.include_usage === true ? usageChunk : '',
    endMarker,
  ].join('');
}
