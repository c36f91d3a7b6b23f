import t from 'tap';
import type { SseEvent } from '../../src/contract/provider.ts';
import { frameEvent, SseReader } from '../../src/upstream/sse.ts';
import { feedings } from '../support/byte-feedings.ts';

function readAll(chunks: readonly Buffer[]): SseEvent[] {
  const reader = new SseReader();
  const events = chunks.flatMap((chunk) => reader.push(chunk));
  return [...events, ...reader.end()];
}

const cases: Record<string, { text: string; events: SseEvent[] }> = {
  'line feeds': { text: 'data: one\n\ndata: two\n\n', events: [data('one'), data('two')] },
  'carriage returns and line feeds': { text: 'data: one\r\n\r\ndata: two\r\n\r\n', events: [data('one'), data('two')] },
  'bare carriage returns': { text: 'data: one\r\rdata: two\r\r', events: [data('one'), data('two')] },
  'mixed line ends': {
    text: 'data: one\r\n\ndata: two\r\n\rdata: three\n\r\n',
    events: [data('one'), data('two'), data('three')],
  },
  'a byte order mark': { text: '\uFEFFdata: one\n\n', events: [data('one')] },
  comments: { text: ': hello\n\ndata: one\n: inside\n\n:\n\n', events: [data('one')] },
  'data without a space and with two': { text: 'data:one\n\ndata:  two\n\n', events: [data('one'), data(' two')] },
  'several data lines': { text: 'data: one\ndata: two\ndata\n\n', events: [data('one\ntwo\n')] },
  'named events': {
    text: 'event: error\ndata: {}\n\ndata: x\n\n',
    events: [{ event: 'error', data: '{}' }, data('x')],
  },
  'events without data': { text: 'event: ping\n\nid: 4\nretry: 10\n\ndata: x\n\n', events: [data('x')] },
  'every width of character': { text: 'data: aé€😀\n\ndata: 漢字\r\n\r\n', events: [data('aé€😀'), data('漢字')] },
  'an end marker without its blank line': {
    text: 'data: {"a":1}\n\ndata: [DONE]',
    events: [data('{"a":1}'), data('[DONE]')],
  },
  'half an event at the end': { text: 'data: {"a":1}\n\ndata: {"a":', events: [data('{"a":1}')] },
};

function data(text: string): SseEvent {
  return { event: '', data: text };
}

for (const [name, { text, events }] of Object.entries(cases)) {
  t.test(`reads ${name} however the bytes are split`, (t) => {
    for (const { name: feeding, chunks } of feedings(Buffer.from(text))) t.same(readAll(chunks), events, feeding);
    t.end();
  });
}

t.test('cuts every corpus at every byte without changing it', (t) => {
  const text = cases['every width of character']?.text ?? '';
  const bytes = Buffer.from(text);
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const events = readAll([bytes.subarray(0, cut), bytes.subarray(cut)]);
    t.same(events, cases['every width of character']?.events, `cut at ${cut}`);
  }
  t.end();
});

t.test('passes an event of a megabyte and refuses one above the limit', (t) => {
  const large = 'x'.repeat(1_000_000);
  t.same(readAll([Buffer.from(`data: ${large}\n\n`)]), [data(large)]);
  const reader = new SseReader(1000);
  t.throws(() => reader.push(Buffer.from(`data: ${large}`)), { code: 'upstream_error' });
  const lines = new SseReader(1000);
  t.throws(() => lines.push(Buffer.from('data: 0123456789\n'.repeat(100))), { code: 'upstream_error' });
  t.end();
});

t.test('a large event that drips byte by byte is read in one copy per growth', (t) => {
  const bytes = Buffer.from(`data: ${'x'.repeat(300_000)}\n\n`);
  const reader = new SseReader();
  let events: SseEvent[] = [];
  for (const byte of bytes) events = events.concat(reader.push(Buffer.from([byte])));
  t.equal(events[0]?.data.length, 300_000);
  t.end();
});

t.test('a framed event reads back as itself', (t) => {
  for (const event of [data('{"a":1}'), { event: 'message_stop', data: '{}' }]) {
    t.same(readAll([Buffer.from(frameEvent(event))]), [event]);
  }
  t.end();
});
