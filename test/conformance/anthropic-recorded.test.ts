/**
 * Recorded answers of Anthropic, served again over a socket and read by the `openai` package through the gateway: as a
 * stream, and by a caller who asked for none. The text must be that of the file, and the row must have its figures.
 */
import t from 'tap';
import { isJsonObject, type JsonObject } from '../../src/contract/json.ts';
import { objects } from '../support/chat-stream.ts';
import { at, parseObject, textAt } from '../support/json-at.ts';
import { hasRecordings, recordings, type Recording } from '../support/recordings.ts';
import { sseText } from '../support/sse-lines.ts';
import { messages, startSdkWorld } from './sdk-world.ts';

const all = hasRecordings() ? recordings().filter(({ name }) => name.startsWith('anthropic/')) : [];
if (all.length === 0) t.comment('fixtures absent: the recorded answers are not beside this repository');

const world = await startSdkWorld(t, { provider: 'ANTHROPIC' });
const model = 'anthropic/claude-sonnet-4-5';

type Said = { text: string; outputTokens: number };
type Answer = { said: Said; isStream: boolean; text: string };

function saidInReply(body: JsonObject): Said {
  const texts = objects(body.content).filter((block) => block.type === 'text');
  return {
    text: texts.map((block) => textAt(block, 'text')).join(''),
    outputTokens: Number(at(body.usage, 'output_tokens')),
  };
}

function saidInStream(events: readonly JsonObject[]): Said {
  const texts = events.map((event) => textAt(event, 'delta', 'text') || textAt(event, 'content_block', 'text'));
  const last = events.findLast((event) => event.type === 'message_delta');
  return { text: texts.join(''), outputTokens: Number(at(last, 'usage', 'output_tokens')) };
}

/** In pieces of an odd size, so that events and characters are split. */
function serve({ text, isStream }: Answer): void {
  world.upstream.answer = async (_request, response) => {
    response.writeHead(200, {
      'content-type': isStream ? 'text/event-stream' : 'application/json',
      'retry-after': '39',
    });
    const bytes = Buffer.from(text);
    for (let start = 0; start < bytes.length; start += 997) {
      response.write(bytes.subarray(start, start + 997));
      await new Promise((resolve) => setImmediate(resolve));
    }
    response.end();
  };
}

/** null for what is no message: an error, a count of tokens, another dialect. */
function answerOf(recording: Recording): Answer | null {
  if (recording.kind === 'reply') {
    const { body } = recording;
    if (recording.status >= 400 || !isJsonObject(body) || !Array.isArray(body.content)) return null;
    return { said: saidInReply(body), isStream: false, text: JSON.stringify(body) };
  }
  const bodies = recording.events.filter(({ data }) => data !== '[DONE]').map(({ data }) => parseObject(data));
  if (bodies[0]?.type !== 'message_start') return null;
  const text = sseText(bodies.map((body) => ({ event: textAt(body, 'type'), data: JSON.stringify(body) })));
  return { said: saidInStream(bodies), isStream: true, text };
}

for (const recording of all) {
  const answer = answerOf(recording);
  if (answer === null) continue;
  t.test(`reads ${recording.name}`, async (t) => {
    const { said, isStream } = answer;
    serve(answer);
    const limit = isStream ? {} : { max_tokens: 500 };
    const call = world.client.chat.completions.create({ model, messages, ...limit });
    const { data, response, request_id: requestId } = await call.withResponse();
    t.equal(data.choices[0]?.message.content ?? '', said.text);
    t.equal(data.usage?.completion_tokens, said.outputTokens);
    t.equal(response.headers.get('retry-after'), null, 'a wait that comes with success is not handed on');
    t.match(await world.gateway.row(requestId), { completion_tokens: said.outputTokens, usage_source: 'provider' });
    if (!isStream || data.choices[0]?.finish_reason === 'length') return;
    const stream = world.client.chat.completions.stream({ model, messages });
    t.equal(textAt(JSON.parse(JSON.stringify(await stream.finalMessage())) as JsonObject, 'content'), said.text);
  });
}
