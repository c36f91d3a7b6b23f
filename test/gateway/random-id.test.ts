import t from 'tap';
import { createRandomId } from '../../src/gateway/random-id.ts';

t.test('draws ids of 24 base62 characters that never repeat', (t) => {
  const [one, other] = [createRandomId(), createRandomId()];
  const ids = Array.from({ length: 5000 }, (_, index) => (index % 2 === 0 ? one() : other()));
  for (const id of ids) if (!/^[0-9A-Za-z]{24}$/.test(id)) t.fail(`${id} has another form`);
  t.equal(new Set(ids).size, ids.length);
  t.end();
});

t.test('favours no character', (t) => {
  const draw = createRandomId();
  const counts = new Map<string, number>();
  const draws = 5000;
  for (let index = 0; index < draws; index += 1) {
    for (const character of draw()) counts.set(character, (counts.get(character) ?? 0) + 1);
  }
  const expected = (draws * 24) / 62;
  t.equal(counts.size, 62);
  // Eight standard deviations; a byte taken modulo 62 would give the first characters a quarter more.
  const allowed = 8 * Math.sqrt(expected);
  for (const [character, count] of counts) {
    if (Math.abs(count - expected) > allowed) t.fail(`${character} came ${count} times, ${expected} are fair`);
  }
  t.end();
});
