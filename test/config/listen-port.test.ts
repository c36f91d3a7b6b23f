import t from 'tap';
import { listenPort } from '../../src/config/listen-port.ts';

t.test('takes the port of the environment, and the usual one for nonsense', (t) => {
  t.equal(listenPort({ PORT: '9000' }), 9000);
  for (const environment of [{}, { PORT: '' }, { PORT: 'x' }, { PORT: '0' }, { PORT: '1.5' }]) {
    t.equal(listenPort(environment), 8080);
  }
  t.end();
});
