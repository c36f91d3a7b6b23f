import t from 'tap';
import { nearestNames } from '../../src/routing/nearest.ts';

const names = ['north/large', 'north/small', 'south/small', 'south/medium', 'quick'];

t.test('puts the most likely name first', (t) => {
  t.same(nearestNames('north/smal', names, 1), ['north/small']);
  t.same(nearestNames('quikc', names, 1), ['quick']);
  t.same(nearestNames('SOUTH/MEDIUM', names, 1), ['south/medium']);
  t.same(nearestNames('medium', names, 1), ['south/medium'], 'the provider may be left out');
  t.same(nearestNames('south/large', names, 2), ['north/large', 'south/small']);
  t.end();
});

t.test('a whole name is nearer than the same name behind a provider', (t) => {
  t.same(nearestNames('small', ['north/small', 'small'], 2), ['small', 'north/small']);
  t.end();
});

t.test('gives as many as wanted and as there are, equals in their order', (t) => {
  t.equal(nearestNames('x', names, 3).length, 3);
  t.same(nearestNames('x', [], 3), []);
  t.same(nearestNames('x', ['aa', 'bb', 'cc'], 2), ['aa', 'bb']);
  t.same(nearestNames('', names, 1), ['quick']);
  t.end();
});

t.test('reads only the beginning of a name that is as long as a novel', (t) => {
  t.same(nearestNames(`${'x'.repeat(100)}north/small`, ['x'.repeat(100)], 1), ['x'.repeat(100)]);
  t.equal(nearestNames('north/small'.repeat(400_000), names, 3).length, 3);
  t.end();
});
