import t from 'tap';
import { missingToolsSentence } from '../../bench/tools.ts';

t.test('one sentence says what to install when programs are missing, and nothing is said when none is', (t) => {
  const without = (...missing: string[]) => missingToolsSentence((program) => !missing.includes(program));
  t.equal(without('wrk', 'nginx'), 'The benchmark needs wrk, nginx: run "apt-get install -y wrk nginx-light" as root.');
  t.equal(without('gcc'), 'The benchmark needs gcc: run "apt-get install -y gcc libc6-dev" as root.');
  t.equal(without(), '');
  t.end();
});
