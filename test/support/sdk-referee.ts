/** The real `openai` package as referee of a stream: it raises on whatever it does not understand. */
import OpenAI from 'openai';
import type { JsonValue } from '../../src/contract/json.ts';
import type { SseEvent } from '../../src/contract/provider.ts';
import { chunksOf, sumChoices } from './chat-stream.ts';
import { sseText } from './sse-lines.ts';

/** The completion that it makes of the stream; every tool that is called is declared, and strict. */
export async function readBySdk(out: readonly SseEvent[]): Promise<JsonValue> {
  const fetch = (): Promise<Response> =>
    Promise.resolve(new Response(sseText(out), { headers: { 'content-type': 'text/event-stream' } }));
  const client = new OpenAI({ apiKey: 'none', baseURL: 'http://127.0.0.1/v1', fetch, maxRetries: 0 });
  const names = new Set([...sumChoices(chunksOf(out)).values()].flatMap(({ calls }) => calls.map((call) => call.name)));
  const tools = [...names].map((name) => ({
    type: 'function' as const,
    function: { name, strict: true, parameters: { type: 'object', properties: {} } },
  }));
  const stream = client.chat.completions.stream({ model: 'm', messages: [], ...(tools.length > 0 ? { tools } : {}) });
  return JSON.parse(JSON.stringify(await stream.finalChatCompletion())) as JsonValue;
}
