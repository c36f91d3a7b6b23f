import { array, assert, constant, nat, oneof, property, record, uint8Array } from 'fast-check';
import t from 'tap';
import { ByteQueue } from '../../src/upstream/byte-queue.ts';

t.test('gives the bytes of the only chunk where they lie', (t) => {
  const queue = new ByteQueue();
  t.equal(queue.length, 0);
  t.equal(queue.view().length, 0);
  const chunk = Buffer.from('hello');
  queue.append(chunk);
  t.equal(queue.view().buffer, chunk.buffer);
  t.equal(queue.view().toString(), 'hello');
  queue.consume(2);
  t.equal(queue.view().toString(), 'llo');
  t.equal(queue.length, 3);
  queue.consume(3);
  t.equal(queue.length, 0);
  queue.append(Buffer.from('again'));
  t.equal(queue.view().toString(), 'again');
  t.end();
});

t.test('never writes into a chunk that is not its own', (t) => {
  const whole = Buffer.from('one-two-three');
  const queue = new ByteQueue();
  queue.append(whole.subarray(0, 3));
  queue.append(Buffer.from('XXXXXXX'));
  t.equal(queue.view().toString(), 'oneXXXXXXX');
  t.equal(whole.toString(), 'one-two-three');
  t.end();
});

t.test('holds what was appended and not consumed, whatever the order', (t) => {
  const step = oneof(
    record({ append: uint8Array({ maxLength: 700 }), consume: constant(0) }),
    record({ append: constant(new Uint8Array()), consume: nat({ max: 900 }) }),
  );
  t.doesNotThrow(() =>
    assert(
      property(array(step, { maxLength: 40 }), (steps) => {
        const queue = new ByteQueue();
        let expected = Buffer.alloc(0);
        return steps.every(({ append, consume }) => {
          queue.append(Buffer.from(append));
          expected = Buffer.concat([expected, append]);
          const count = Math.min(consume, queue.length);
          queue.consume(count);
          expected = expected.subarray(count);
          return queue.length === expected.length && queue.view().equals(expected);
        });
      }),
    ),
  );
  t.end();
});

t.test('copies a byte a bounded number of times when bytes come one by one', (t) => {
  const queue = new ByteQueue();
  const buffers = new Set<ArrayBufferLike>();
  for (let count = 0; count < 200_000; count += 1) {
    queue.append(Buffer.from([count & 0xff]));
    buffers.add(queue.view().buffer);
  }
  t.equal(queue.length, 200_000);
  // The first chunk, and then a buffer twice as large each time.
  t.ok(buffers.size < 20, `${buffers.size} buffers`);
  t.end();
});
