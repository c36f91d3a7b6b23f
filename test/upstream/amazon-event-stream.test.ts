import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { isJsonObject, type JsonValue } from '../../src/contract/json.ts';
import type { SseEvent } from '../../src/contract/provider.ts';
import { AmazonEventStreamReader } from '../../src/upstream/amazon-event-stream.ts';
import { amazonEvent, amazonFrame } from '../support/amazon-frames.ts';
import { feedings } from '../support/byte-feedings.ts';

function readAll(chunks: readonly Buffer[]): SseEvent[] {
  const reader = new AmazonEventStreamReader();
  return [...chunks.flatMap((chunk) => reader.push(chunk)), ...reader.end()];
}

t.test('c105 frames split anywhere give the same events', (t) => {
  const bytes = Buffer.concat([
    amazonEvent('messageStart', { role: 'assistant' }),
    amazonEvent('contentBlockDelta', { delta: { text: 'é😀' } }),
    amazonFrame({ ':message-type': 'exception', ':exception-type': 'throttlingException' }, '{"message":"slow"}'),
    amazonFrame({ ':message-type': 'error', ':error-code': 'Internal', ':error-message': 'broken' }, ''),
    amazonFrame({ ':message-type': 'news' }, '{}'),
  ]);
  for (const { name, chunks } of feedings(bytes, 50)) {
    t.same(
      readAll(chunks),
      [
        { event: 'messageStart', data: '{"role":"assistant"}' },
        { event: 'contentBlockDelta', data: '{"delta":{"text":"é😀"}}' },
        { event: 'exception:throttlingException', data: '{"message":"slow"}' },
        { event: 'exception:Internal', data: '{"message":"broken"}' },
      ],
      name,
    );
  }
  t.end();
});

t.test('headers of every type are passed over', (t) => {
  const byType: Buffer[] = [
    Buffer.from([0]),
    Buffer.from([1]),
    Buffer.from([2, 9]),
    Buffer.from([3, 0, 9]),
    Buffer.concat([Buffer.from([4]), Buffer.alloc(4)]),
    Buffer.concat([Buffer.from([5]), Buffer.alloc(8)]),
    Buffer.from([6, 0, 2, 1, 1]),
    Buffer.concat([Buffer.from([8]), Buffer.alloc(8)]),
    Buffer.concat([Buffer.from([9]), Buffer.alloc(16)]),
  ];
  const extra = Buffer.concat(byType.map((value, index) => Buffer.concat([Buffer.from([1, 97 + index]), value])));
  const frame = amazonFrame({ ':message-type': 'event', ':event-type': 'x' }, '{}', extra);
  t.same(readAll([frame]), [{ event: 'x', data: '{}' }]);
  t.end();
});

t.test('a damaged or oversized frame is an error, and half a frame at the end is nothing', (t) => {
  const frame = amazonEvent('x', { a: 1 });
  for (let at = 0; at < frame.length; at += 1) {
    const bad = Buffer.from(frame);
    bad.writeUInt8(bad.readUInt8(at) ^ 0x40, at);
    t.throws(() => readAll([bad]), { message: /damaged|too large/ }, `byte ${at}`);
  }
  t.same(readAll([frame.subarray(0, frame.length - 1)]), []);
  const wrongType = amazonFrame({ ':message-type': 'event' }, '', Buffer.from([1, 97, 77]));
  t.throws(() => readAll([wrongType]), { message: /damaged/ });
  const cutHeader = amazonFrame({ ':message-type': 'event' }, '', Buffer.from([9, 97]));
  t.throws(() => readAll([cutHeader]), { message: /damaged/ });
  t.throws(() => readAll([amazonEvent('x', 'y'.repeat(4 * 1024 * 1024))]), { message: /too large/ });
  t.end();
});

const recordings = join(import.meta.dirname, '../../../shared/fixtures');
if (!existsSync(recordings)) t.comment('fixtures absent: the recorded event streams are not beside this repository');

for (const name of globSync('bedrock/dev/*.json', { cwd: recordings }).sort()) {
  const file = JSON.parse(readFileSync(join(recordings, name), 'utf8')) as JsonValue;
  const response = isJsonObject(file) && isJsonObject(file.response) ? file.response : {};
  const encoded = response.body_base64;
  if (typeof encoded !== 'string') continue;
  t.test(`reads ${name} the same way however it is split`, (t) => {
    const bytes = Buffer.from(encoded, 'base64');
    const whole = readAll([bytes]);
    t.ok(whole.length > 3 && whole.every(({ event, data }) => event !== '' && data.startsWith('{')));
    t.equal(whole[0]?.event, 'messageStart');
    for (const { chunks } of feedings(bytes, 50)) t.same(readAll(chunks), whole);
    t.end();
  });
}
