import { gzipSync } from 'node:zlib';
import t from 'tap';
import { startGateway } from '../support/gateway.ts';

t.test('a compressed body is refused in words', async (t) => {
  const gateway = await startGateway(t, { embedded: true });
  const { token } = await gateway.createKey();
  const response = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'content-encoding': 'gzip' },
    body: gzipSync('{"model":"demo/echo","messages":[{"role":"user","content":"hi"}]}'),
  });
  t.equal(response.status, 415);
  t.match(await response.json(), { error: { code: 'unsupported_media_type', message: /uncompressed/ } });
});
