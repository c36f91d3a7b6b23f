/**
 * Remembers the settlements of the last minute, so that those a server lost with its last writes can be sent again.
 * A settlement that was not lost answers DUP, which costs nothing. Must stay within its bytes: the oldest go first. They
 * are kept as bytes, page by page, because a minute of arrays and strings is what the garbage collector would work on all
 * day. Spec: reliability 2.4, replay ring.
 */
import type { TickBatcher } from './tick-batcher.ts';
import { urgency, type TickOperation } from './tick-operations.ts';

export type SettledOperation = { batcher: TickBatcher; operation: TickOperation };

export type ReplayRingOptions = { nowMs: () => number; keepMs?: number; keepBytes?: number };

export interface ReplayRing {
  remember(settled: SettledOperation): void;
  /** Sends again what went through `from`, by way of `through`. False when the server stopped answering. */
  replay(from: TickBatcher, through: TickBatcher): Promise<boolean>;
  size(): number;
}

/** Settlements of one batcher, each as its length in four bytes, its scopes and its arguments. */
type Page = { batcher: TickBatcher; bytes: Buffer; used: number; entries: number; lastMs: number };
type OpenPage = Page & { firstMs: number };

const operationsPerStep = 256;
const pageBytes = 16 * 1024;
/** So that a page of a quiet minute does not keep what is old. */
const pageSpanMs = 1000;
const lengthBytes = 4;
const mostBytesPerCharacter = 3;
/** In no argument: names are checked for it, and JSON escapes it. */
const separator = '\0';
const scopeEnd = '\n';

export function createReplayRing(options: ReplayRingOptions): ReplayRing {
  const { nowMs, keepMs = 60_000, keepBytes = 32 * 1024 * 1024 } = options;
  const openPages = new Map<TickBatcher, OpenPage>();
  const pages: Page[] = [];
  let bytes = 0;

  function remember({ batcher, operation }: SettledOperation): void {
    const now = nowMs();
    const text = [(operation.scopes ?? []).join(scopeEnd), ...operation.args].join(separator);
    const page = pageFor(batcher, lengthBytes + text.length * mostBytesPerCharacter, now);
    const length = page.bytes.write(text, page.used + lengthBytes);
    page.bytes.writeUInt32LE(length, page.used);
    page.used += lengthBytes + length;
    page.entries += 1;
    page.lastMs = now;
    forgetOld(now);
  }

  function pageFor(batcher: TickBatcher, needed: number, now: number): OpenPage {
    let page = openPages.get(batcher);
    if (page === undefined) {
      page = { batcher, bytes: Buffer.allocUnsafeSlow(pageBytes), used: 0, entries: 0, firstMs: now, lastMs: now };
      openPages.set(batcher, page);
    }
    if (page.used + needed > page.bytes.length || now - page.firstMs >= pageSpanMs) seal(page);
    if (page.entries === 0) page.firstMs = now;
    if (needed > page.bytes.length) page.bytes = Buffer.allocUnsafeSlow(needed);
    return page;
  }

  function seal(page: OpenPage): void {
    if (page.entries === 0) return;
    const copy = Buffer.allocUnsafeSlow(page.used);
    page.bytes.copy(copy, 0, 0, page.used);
    pages.push({ ...page, bytes: copy });
    bytes += page.used;
    page.used = 0;
    page.entries = 0;
    if (page.bytes.length > pageBytes) page.bytes = Buffer.allocUnsafeSlow(pageBytes);
  }

  function forgetOld(now: number): void {
    for (let oldest = pages[0]; oldest !== undefined; oldest = pages[0]) {
      if (oldest.lastMs >= now - keepMs && bytes <= keepBytes) break;
      bytes -= oldest.used;
      // Of a few thousand pages, and once for each of them: cheap enough.
      pages.shift();
    }
  }

  async function replay(from: TickBatcher, through: TickBatcher): Promise<boolean> {
    const open = openPages.get(from);
    if (open !== undefined) seal(open);
    const wanted = pages.filter(({ batcher }) => batcher === from);
    let step: TickOperation[] = [];
    for (const page of wanted) {
      for (const operation of operationsOf(page)) {
        step.push(operation);
        if (step.length < operationsPerStep) continue;
        if (!(await sendAll(step, through))) return false;
        step = [];
      }
    }
    return sendAll(step, through);
  }

  function size(): number {
    const kept = [...pages, ...openPages.values()];
    return kept.reduce((sum, { entries }) => sum + entries, 0);
  }

  return { remember, replay, size };
}

async function sendAll(operations: readonly TickOperation[], through: TickBatcher): Promise<boolean> {
  const replies = await Promise.all(operations.map((operation) => through.submit(operation)));
  return !replies.some(({ kind }) => kind === 'unsent' || kind === 'ambiguous');
}

function* operationsOf({ bytes, used }: Page): Generator<TickOperation> {
  let at = 0;
  while (at < used) {
    const start = at + lengthBytes;
    at = start + bytes.readUInt32LE(at);
    const [scopes = '', ...args] = bytes.toString('utf8', start, at).split(separator);
    yield { urgency: urgency.settle, args, scopes: scopes === '' ? [] : scopes.split(scopeEnd) };
  }
}
