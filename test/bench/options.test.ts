import t from 'tap';
import { parseOptions } from '../../bench/options.ts';
import { chooseSubjects } from '../../bench/subjects/index.ts';

t.test('a full run is what npm run bench does when nothing is asked for', (t) => {
  t.match(parseOptions([]), { kind: 'full', rounds: 7, seconds: 10, warmUpSeconds: 3, only: null, compares: false });
  t.end();
});

t.test('rounds and seconds are taken when they are whole numbers from 1 up, and refused when not', (t) => {
  t.match(parseOptions(['--smoke', '--rounds', '2', '--seconds', '4']), { kind: 'smoke', rounds: 2, seconds: 4 });
  t.equal(parseOptions(['--seconds', '1'])?.warmUpSeconds, 1, 'a short run is not mostly warm-up');
  t.throws(() => parseOptions(['--rounds', '0']), /--rounds wants a whole number from 1 up, not "0"/);
  t.throws(() => parseOptions(['--seconds', 'ten']), /--seconds/);
  t.throws(() => parseOptions(['--fast']), /--fast/);
  t.equal(parseOptions(['--help']), null);
  t.end();
});

t.test('direct comes along when only some subjects are asked for', (t) => {
  const ids = chooseSubjects(['portkey', 'nginx'], 'full').map(({ id }) => id);
  t.same(ids, ['direct', 'nginx', 'portkey']);
  t.same(
    chooseSubjects(null, 'smoke').map(({ id }) => id),
    ['direct', 'bare-dispatch', 'tollgate-plain', 'tollgate-governed'],
  );
  t.throws(() => chooseSubjects(['ngnix'], 'full'), /no subject is called "ngnix"/);
  t.end();
});
