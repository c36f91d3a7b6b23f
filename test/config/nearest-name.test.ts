import * as fc from 'fast-check';
import t from 'tap';
import { editDistance, hint, nearestName } from '../../src/config/nearest-name.ts';

t.test('finds the name that was meant when one slip separates them', (t) => {
  const names = ['price', 'rpm', 'tpm', 'concurrency', 'history', 'models'];
  t.equal(nearestName('rpn', names), 'rpm');
  t.equal(nearestName('concurency', names), 'concurrency');
  t.equal(nearestName('Models', names), 'models');
  t.equal(nearestName('hitsory', names), 'history');
  t.equal(nearestName('colour', names), null);
  t.equal(nearestName('x'.repeat(10_000), names), null);
  t.equal(hint('rpn', names), ', did you mean rpm?');
  t.equal(hint('colour', names), '');
  t.end();
});

t.test('counts edits like a metric when the words are arbitrary', (t) => {
  const word = fc.stringMatching(/^[a-d]{0,8}$/);
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(word, word, (left, right) => {
        const distance = editDistance(left, right);
        const longest = Math.max(left.length, right.length);
        return (
          distance === editDistance(right, left) &&
          (distance === 0) === (left === right) &&
          distance >= Math.abs(left.length - right.length) &&
          distance <= longest
        );
      }),
    ),
  );
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(word, fc.nat({ max: 8 }), (text, position) => {
        const at = Math.min(position, text.length);
        return editDistance(text, `${text.slice(0, at)}z${text.slice(at)}`) === 1;
      }),
    ),
  );
  t.end();
});
