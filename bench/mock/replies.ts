/** What is sent and what must come back: request bodies of chosen sizes, and the mock's one unary reply. */

export const chatPath = '/v1/chat/completions';

const sentence = 'The quick brown fox jumps over the lazy dog while the river keeps its own slow time. ';

function textOf(length: number): string {
  return sentence.repeat(Math.ceil(length / sentence.length)).slice(0, Math.max(0, length));
}

/** About 1 KB. No quote, backslash or dollar inside the text: nginx reads it from its configuration. */
export const unaryReply = JSON.stringify({
  id: 'chatcmpl-bench000000000000000000001',
  object: 'chat.completion',
  created: 1767225600,
  model: 'gpt-4o-mini-2024-07-18',
  choices: [
    {
      index: 0,
      message: { role: 'assistant', content: textOf(470), refusal: null, annotations: [] },
      logprobs: null,
      finish_reason: 'stop',
    },
  ],
  usage: {
    prompt_tokens: 42,
    completion_tokens: 107,
    total_tokens: 149,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  },
  service_tier: 'default',
  system_fingerprint: 'fp_bench00001',
});

const model = 'openai/gpt-4o-mini';

/** A chat request whose JSON is exactly this many bytes; a long one is a conversation of many turns. */
export function chatRequest(bytes: number): string {
  const turnBytes = 1800;
  const messages = [{ role: 'system', content: 'You are terse.' }];
  const render = (): string => JSON.stringify({ model, messages, max_tokens: 256 });
  while (render().length + turnBytes < bytes) {
    messages.push({ role: messages.length % 2 === 1 ? 'user' : 'assistant', content: textOf(turnBytes - 40) });
  }
  messages.push({ role: 'user', content: '' });
  const last = messages.at(-1);
  if (last !== undefined) last.content = textOf(bytes - render().length);
  return render();
}

/** `gapMs` 0 is a burst in one write; -1 holds the stream open after its first event. */
export type StreamShape = { gapMs: number; deltas: number };

/** The mock reads its orders out of the message, the one thing that every gateway hands on. */
export function streamRequest({ gapMs, deltas }: StreamShape): string {
  return JSON.stringify({
    model,
    messages: [{ role: 'user', content: `mock gap=${gapMs} deltas=${deltas}` }],
    max_tokens: 256,
    stream: true,
    stream_options: { include_usage: true },
  });
}

/** Role, deltas, finish, usage, [DONE]. */
export function eventsPerStream({ deltas }: StreamShape): number {
  return deltas + 4;
}
