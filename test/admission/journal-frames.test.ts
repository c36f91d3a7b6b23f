import { crc32 } from 'node:zlib';
import { assert, integer, property } from 'fast-check';
import t from 'tap';
import { encodeFrame, readSegment, type JournalFrame } from '../../src/admission/journal-frames.ts';
import { usageRecord } from '../support/usage-record.ts';

const frames: JournalFrame[] = [
  { kind: 'head', version: 1, journal: '018bcfe5-6800-7000-8000-00000000000a', segment: 3, follows: 2 },
  { kind: 'admit', record: usageRecord({ model: 'größe \ud800 "{"kind":"' }), outputPicoUsd: 7 },
  { kind: 'mark', id: 'a' },
  { kind: 'progress', tokens: { a: 12 } },
  { kind: 'settle', record: usageRecord() },
  { kind: 'give_up', id: 'b' },
  { kind: 'checkpoint', levels: [1, { x: null }] },
];
const encoded = frames.map(encodeFrame);
const whole = Buffer.concat(encoded);
const starts = encoded.map((_, index) => Buffer.concat(encoded.slice(0, index)).length);

t.test('reads back what was written, each frame with its place', async (t) => {
  const { frames: found, endOffset, fault } = readSegment(whole);
  t.same(
    found.map(({ frame }) => frame),
    frames,
  );
  t.same(
    found.map(({ offset }) => offset),
    starts,
  );
  t.equal(endOffset, whole.length);
  t.equal(fault, null);
  t.same(readSegment(Buffer.alloc(0)), { frames: [], endOffset: 0, fault: null });
});

t.test('takes whatever a cut leaves for a tail, and every frame before it for whole', async (t) => {
  for (let length = 0; length < whole.length; length += 1) {
    const { frames: found, endOffset, fault } = readSegment(whole.subarray(0, length));
    const wholeFrames = starts.filter((_, index) => (starts[index + 1] ?? whole.length) <= length).length;
    t.strictSame([found.length, endOffset], [wholeFrames, starts[wholeFrames]], `cut at ${length}`);
    t.strictSame(fault, endOffset === length ? null : { offset: endOffset, isTail: true });
  }
});

t.test('takes the zeros of a reserve for a tail', async (t) => {
  const { frames: found, fault } = readSegment(Buffer.concat([whole, Buffer.alloc(5000)]));
  t.equal(found.length, frames.length);
  t.same(fault, { offset: whole.length, isTail: true });
});

t.test('knows damage from a cut wherever a bit flips in front of the last frame', async (t) => {
  const lastStart = starts.at(-1) ?? 0;
  assert(
    property(integer({ min: 0, max: lastStart * 8 - 1 }), (bit) => {
      const damaged = Buffer.from(whole);
      const index = Math.floor(bit / 8);
      damaged[index] = (damaged[index] ?? 0) ^ (1 << (bit % 8));
      const { frames: found, fault } = readSegment(damaged);
      const hit = starts.findLastIndex((start) => start <= index);
      t.strictSame([found.length, fault], [hit, { offset: starts[hit], isTail: false }]);
    }),
    { numRuns: 200 },
  );
});

t.test('does not take a foreign frame with a true checksum for one of ours', async (t) => {
  for (const body of ['{"kind":"nonsense"}', '{"kind":"mark"', '[]', 'null', '7']) {
    const bytes = Buffer.alloc(8 + body.length);
    bytes.writeUInt32LE(body.length, 0);
    bytes.writeUInt32LE(crc32(Buffer.from(body)), 4);
    bytes.write(body, 8);
    t.same(readSegment(Buffer.concat([whole, bytes])).fault, { offset: whole.length, isTail: true }, body);
  }
});
