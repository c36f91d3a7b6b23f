/** The recorded answers beside the repository, read in place and never copied. Form of the files: fidelity 12. */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/contract/json.ts';
import type { SseEvent } from '../../src/contract/provider.ts';
import { sseEvents } from './sse-lines.ts';

export const recordingsFolder = join(import.meta.dirname, '../../../shared/fixtures');

export type Recording =
  | { kind: 'stream'; name: string; events: SseEvent[]; request: JsonObject | null }
  | { kind: 'reply'; name: string; status: number; body: JsonValue | undefined; request: JsonObject | null };

export const hasRecordings = (): boolean => existsSync(recordingsFolder);

/** One JSON payload per line, without frames; chat streams end with their marker. */
const framed = (lines: string): SseEvent[] => [
  ...lines
    .split('\n')
    .filter((line) => line !== '')
    .map((data) => ({ event: '', data })),
  { event: '', data: '[DONE]' },
];

function parsed(text: string): JsonValue | undefined {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    return undefined;
  }
}

function read(name: string): Recording {
  const text = readFileSync(join(recordingsFolder, name), 'utf8');
  if (name.endsWith('.chunks.txt')) return { kind: 'stream', name, events: framed(text), request: null };
  if (name.endsWith('.sse')) return { kind: 'stream', name, events: sseEvents(text), request: null };
  const file = parsed(text);
  const exchange = isJsonObject(file) && isJsonObject(file.response) ? file.response : null;
  const asked = isJsonObject(file) && isJsonObject(file.request) ? file.request.body : null;
  const request = isJsonObject(asked) ? asked : null;
  if (exchange === null) return { kind: 'reply', name, status: 200, body: file, request };
  const status = typeof exchange.status === 'number' ? exchange.status : 200;
  if (typeof exchange.body_text !== 'string') return { kind: 'reply', name, status, body: exchange.body, request };
  const json = parsed(exchange.body_text);
  if (json !== undefined || status >= 400) return { kind: 'reply', name, status, body: json, request };
  return { kind: 'stream', name, events: sseEvents(exchange.body_text), request };
}

export function recordings(): Recording[] {
  const names = globSync(['*/dev/*.json', '*/dev/*.sse', '*/dev/*.chunks.txt'], { cwd: recordingsFolder });
  return names.sort().map(read);
}
