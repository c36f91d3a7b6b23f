/** A message of Anthropic's, whole, as its API would stream it. */
import type { JsonObject } from '../../src/contract/json.ts';
import type { SseEvent } from '../../src/contract/provider.ts';
import { objects } from './chat-stream.ts';
import { textAt } from './json-at.ts';

export function streamed(body: JsonObject): SseEvent[] {
  const { content, stop_reason, stop_details = null, container = null, usage, ...message } = body;
  const blocks = objects(content).flatMap((block, index) => {
    const [start, ...deltas] = pieces(block);
    return [
      { type: 'content_block_start', index, content_block: start ?? block },
      ...deltas.map((delta) => ({ type: 'content_block_delta', index, delta })),
      { type: 'content_block_stop', index },
    ];
  });
  const events: JsonObject[] = [
    { type: 'message_start', message: { ...message, content: [], stop_reason: null, usage: usage ?? null } },
    ...blocks,
    {
      type: 'message_delta',
      delta: { stop_reason: stop_reason ?? null, stop_details, container },
      usage: usage ?? null,
    },
    { type: 'message_stop' },
  ];
  return events.map((event) => ({ event: textAt(event, 'type'), data: JSON.stringify(event) }));
}

function pieces(block: JsonObject): JsonObject[] {
  switch (textAt(block, 'type')) {
    case 'text':
      return [
        { type: 'text', text: '' },
        { type: 'text_delta', text: block.text },
        ...objects(block.citations).map((citation) => ({ type: 'citations_delta', citation })),
      ];
    case 'thinking':
      return [
        { type: 'thinking', thinking: '', signature: '' },
        { type: 'thinking_delta', thinking: block.thinking },
        { type: 'signature_delta', signature: block.signature },
      ];
    case 'tool_use':
      return [
        { ...block, input: {} },
        { type: 'input_json_delta', partial_json: JSON.stringify(block.input) },
      ];
    default:
      return [block];
  }
}
