/**
 * The recordings of Bedrock, told apart: streams of Converse as binary frames, its replies and errors, and what is of other
 * dialects at Bedrock (invoke, count-tokens, embeddings, and the OpenAI-shaped mantle). Form of the files: fidelity 12.
 */
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { isJsonObject, type JsonObject } from '../../src/contract/json.ts';
import { amazonEvent } from './amazon-frames.ts';
import { at, parseObject, textAt } from './json-at.ts';
import { recordingsFolder } from './recordings.ts';

export type Exchange = { url: string; status: number; request: JsonObject };
export type Stream = { name: string; bytes: Buffer };
export type Reply = { name: string; body: JsonObject; exchange: Exchange | null };

const folder = join(recordingsFolder, 'bedrock/dev');
const names = globSync('*.{json,txt}', { cwd: folder }).sort();
export const streams: Stream[] = [];
export const replies: Reply[] = [];
export const errors: Reply[] = [];
export const others: string[] = [];

function sort(name: string): void {
  const text = readFileSync(join(folder, name), 'utf8');
  if (name.endsWith('.txt')) {
    streams.push({ name, bytes: framed(text) });
    return;
  }
  const file = parseObject(text);
  if (isJsonObject(file.output)) {
    replies.push({ name, body: file, exchange: null });
    return;
  }
  const url = textAt(file, 'request', 'url');
  const status = Number(at(file, 'response', 'status'));
  const request = at(file, 'request', 'body');
  if (!/\/converse(?:-stream)?$/.test(url) || !isJsonObject(request)) {
    others.push(basename(name));
    return;
  }
  const base64 = textAt(file, 'response', 'body_base64');
  if (base64 !== '') streams.push({ name, bytes: Buffer.from(base64, 'base64') });
  const written = at(file, 'response', 'body') ?? (textAt(file, 'response', 'body_text') || undefined);
  const body = typeof written === 'string' ? parseObject(written) : written;
  const reply = { name, body: isJsonObject(body) ? body : {}, exchange: { url, status, request } };
  if (base64 === '') (status < 400 ? replies : errors).push(reply);
  else requests.push(reply);
}

/** Exchanges whose answer is a stream: their requests count all the same. */
export const requests: Reply[] = [];
for (const name of names) sort(name);
requests.push(...replies);

/** One event per line, `{type: payload}`. */
function framed(lines: string): Buffer {
  const events = lines.split('\n').filter((line) => line !== '');
  return Buffer.concat(
    events.flatMap((line) => Object.entries(parseObject(line)).map((event) => amazonEvent(...event))),
  );
}
