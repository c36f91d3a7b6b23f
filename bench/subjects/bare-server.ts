/**
 * P, the honest floor of Node: node:http in, undici `Pool.dispatch` out, the body buffered and parsed once, chunks
 * written on as they come. It checks nothing and remembers nothing. Arguments: port, upstream origin.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Pool } from 'undici';

const [port, upstream = ''] = process.argv.slice(2);
const pool = new Pool(upstream, { connections: 4096, pipelining: 1, allowH2: false, keepAliveTimeout: 60_000 });

function relay(path: string, body: Buffer, response: ServerResponse): void {
  pool.dispatch(
    {
      path,
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-length': String(body.length) },
      body,
    },
    {
      onRequestStart(controller) {
        response.once('close', () => {
          if (!response.writableFinished) controller.abort(new Error('the client left'));
        });
      },
      onResponseStart(_controller, status, headers) {
        const out: Record<string, string> = { 'content-type': String(headers['content-type']) };
        if (headers['content-length'] !== undefined) out['content-length'] = String(headers['content-length']);
        response.writeHead(status, out);
      },
      onResponseData(controller, chunk) {
        if (response.write(chunk)) return;
        controller.pause();
        response.once('drain', () => controller.resume());
      },
      onResponseEnd() {
        response.end();
      },
      onResponseError(_controller, error) {
        if (response.headersSent) response.destroy();
        else response.writeHead(502).end(String(error));
      },
    },
  );
}

function serve(request: IncomingMessage, response: ServerResponse): void {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const body = chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
    try {
      JSON.parse(body.toString());
    } catch {
      response.writeHead(400).end();
      return;
    }
    relay(request.url ?? '/', body, response);
  });
}

createServer({ keepAliveTimeout: 65_000 }, serve).listen(Number(port), '127.0.0.1');
