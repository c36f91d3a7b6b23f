/**
 * The Redis side of the drain: one stream, read by one consumer of a group. Takes a connection, gives entries, and takes
 * back the word that they are safe. Whatever is not acknowledged stays in the stream; nothing here may trim it, and no
 * consumer goes while it still holds an entry. Spec: reliability 2.4 DRAIN.
 */
import type { Cluster, Redis } from 'ioredis';

export type StreamEntry = {
  entryId: string;
  /** The field `id`, which should be the record's request id. */
  requestId: string | null;
  /** The field `rec`. */
  record: string | null;
  /** How many processes were given this entry, this one included; those before it never said what became of it. */
  deliveries: number;
};

export type StreamLag = {
  stream: string;
  /** Entries that are not in Postgres yet. */
  depth: number;
  /** Of those, the ones that a drainer has in its hands. */
  pending: number;
  oldestAgeMs: number;
};

export type StreamGroupOptions = { stream: string; group: string; consumer: string };

export interface StreamGroup {
  /** Safe to repeat. The group begins with the first entry, not with the next one. */
  join(): Promise<void>;
  readNew(count: number, blockMs: number): Promise<readonly StreamEntry[]>;
  /** Entries that were given to this consumer in a reply that never came. */
  takeOwn(count: number): Promise<readonly StreamEntry[]>;
  /** Entries that nobody has touched for this long: the batch of a drainer that died. */
  takeStale(count: number, idleMs: number): Promise<readonly StreamEntry[]>;
  /** Tells the others that the entries are still being worked on, and that what delays them is not their fault. */
  keep(entryIds: readonly string[]): Promise<void>;
  /** Lets another consumer have the entries at once. */
  release(entryIds: readonly string[], idleMs: number): Promise<void>;
  /** Only after the rows are committed. */
  acknowledge(entryIds: readonly string[]): Promise<void>;
  /** Removes what was acknowledged but not deleted; never what is not acknowledged. */
  trim(): Promise<void>;
  measure(nowMs: number): Promise<StreamLag>;
  /** Makes this consumer known and young: before Redis 7.2 a read that finds nothing leaves no trace of who read. */
  showLife(): Promise<void>;
  /** Takes this consumer, and those silent for longer than this, out of the group unless they hold entries. */
  leave(othersIdleMs: number): Promise<void>;
}

type Pending = { entryId: string; deliveries: number };

/** One step, for a consumer that was given an entry in between would take it along, and the trimmer would finish it. */
const leaveScript = `
for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #fields, 2 do consumer[fields[i]] = fields[i + 1] end
  local isOver = consumer.name == ARGV[2] or consumer.idle > tonumber(ARGV[3])
  if isOver and consumer.pending == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
  end
end
`;

export function createStreamGroup(redis: Redis | Cluster, options: StreamGroupOptions): StreamGroup {
  const { stream, group, consumer } = options;

  async function listPending(count: number, idleMs: number, of?: string): Promise<readonly Pending[]> {
    const reply =
      of === undefined
        ? redis.xpending(stream, group, 'IDLE', idleMs, '-', '+', count)
        : redis.xpending(stream, group, 'IDLE', idleMs, '-', '+', count, of);
    return arrayOf(await reply).map((row) => {
      const [entryId, , , deliveries] = arrayOf(row);
      return { entryId: String(entryId), deliveries: Number(deliveries) };
    });
  }

  /** Through `call`: the client's types have no place for options behind a list of ids. */
  function claim(idleMs: number, idsAndOptions: readonly (string | number)[]): Promise<unknown> {
    return redis.call('XCLAIM', [stream, group, consumer, idleMs, ...idsAndOptions]);
  }

  async function pendingSummary(): Promise<{ count: number; oldest: string | null }> {
    const [count, oldest] = arrayOf(await redis.xpending(stream, group));
    return { count: Number(count), oldest: typeof oldest === 'string' ? oldest : null };
  }

  /** Every entry up to here is safe: none is pending, and later ones were never given out. null: nothing to go by. */
  async function firstUnsafeId(): Promise<string | null> {
    const groups = arrayOf(await redis.xinfo('GROUPS', stream)).map(fieldsOf);
    const own = groups.find((fields) => fields.get('name') === group);
    if (own === undefined) return null;
    // From one reply: an entry delivered between two questions would be taken for a safe one.
    if (Number(own.get('pending')) === 0) return idAfter(String(own.get('last-delivered-id')));
    return (await pendingSummary()).oldest;
  }

  return {
    async join() {
      try {
        await redis.xgroup('CREATE', stream, group, '0', 'MKSTREAM');
      } catch (error) {
        if (!isRefusal(error, 'BUSYGROUP')) throw error;
      }
    },
    async readNew(count, blockMs) {
      const wait = ['BLOCK', blockMs] as const;
      const reply = await redis.xreadgroup('GROUP', group, consumer, 'COUNT', count, ...wait, 'STREAMS', stream, '>');
      const [, entries] = arrayOf(arrayOf(reply)[0]);
      return entriesOf(entries, () => 1);
    },
    async takeOwn(count) {
      const pending = await listPending(count, 0, consumer);
      if (pending.length === 0) return [];
      const ids = pending.map(({ entryId }) => entryId);
      // We are alive, so whatever these entries did before, they did not kill us.
      return entriesOf(await claim(0, [...ids, 'RETRYCOUNT', 1]), () => 1);
    },
    async takeStale(count, idleMs) {
      const pending = await listPending(count, idleMs);
      const company = pending.slice(0, companySize(pending, count));
      if (company.length === 0) return [];
      const deliveries = new Map(company.map((entry) => [entry.entryId, entry.deliveries + 1]));
      const reply = await claim(idleMs, [...deliveries.keys()]);
      return entriesOf(reply, (entryId) => deliveries.get(entryId) ?? 1);
    },
    async keep(entryIds) {
      if (entryIds.length === 0) return;
      await claim(0, [...entryIds, 'RETRYCOUNT', 1, 'JUSTID']);
    },
    async release(entryIds, idleMs) {
      if (entryIds.length === 0) return;
      await claim(0, [...entryIds, 'IDLE', idleMs, 'RETRYCOUNT', 0, 'JUSTID']);
    },
    async acknowledge(entryIds) {
      if (entryIds.length === 0) return;
      const replies = await redis
        .pipeline()
        .xack(stream, group, ...entryIds)
        .xdel(stream, ...entryIds)
        .exec();
      const failed = replies?.find(([error]) => error !== null)?.[0];
      if (failed instanceof Error) throw failed;
    },
    async trim() {
      const firstUnsafe = await firstUnsafeId();
      if (firstUnsafe !== null) await redis.xtrim(stream, 'MINID', firstUnsafe);
    },
    async measure(nowMs) {
      const depth = await redis.xlen(stream);
      const [oldest] = await redis.xrange(stream, '-', '+', 'COUNT', 1);
      const oldestMs = oldest === undefined ? nowMs : Number.parseInt(oldest[0], 10);
      return { stream, depth, pending: (await pendingSummary()).count, oldestAgeMs: Math.max(0, nowMs - oldestMs) };
    },
    async showLife() {
      await redis.xreadgroup('GROUP', group, consumer, 'COUNT', 1, 'STREAMS', stream, '0');
    },
    async leave(othersIdleMs) {
      await redis.eval(leaveScript, 1, stream, group, consumer, othersIdleMs);
    },
  };
}

/** `NOGROUP`, `BUSYGROUP`: the server's word at the head of its refusal. */
export function isRefusal(error: unknown, word: string): boolean {
  return error instanceof Error && error.message.startsWith(word);
}

/**
 * An entry that kills whoever reads it takes its whole batch along. Each death makes the next batch smaller, until the
 * culprit stands alone and only it is given up.
 */
function companySize(pending: readonly Pending[], count: number): number {
  const mostDeliveries = Math.max(1, ...pending.map(({ deliveries }) => deliveries));
  return Math.max(1, Math.floor(count / 8 ** (mostDeliveries - 1)));
}

function entriesOf(reply: unknown, deliveriesOf: (entryId: string) => number): readonly StreamEntry[] {
  return arrayOf(reply).map((row) => {
    const [id, fields] = arrayOf(row);
    const entryId = String(id);
    const flat = arrayOf(fields);
    return {
      entryId,
      requestId: fieldOf(flat, 'id'),
      record: fieldOf(flat, 'rec'),
      deliveries: deliveriesOf(entryId),
    };
  });
}

/** Without a map for each entry: this runs for every row there is. */
function fieldOf(flat: readonly unknown[], name: string): string | null {
  for (let index = 0; index < flat.length; index += 2) {
    const value = flat[index] === name ? flat[index + 1] : null;
    if (typeof value === 'string') return value;
  }
  return null;
}

function fieldsOf(reply: unknown): ReadonlyMap<string, unknown> {
  const flat = arrayOf(reply);
  const fields = new Map<string, unknown>();
  for (let index = 0; index < flat.length; index += 2) fields.set(String(flat[index]), flat[index + 1]);
  return fields;
}

function arrayOf(reply: unknown): readonly unknown[] {
  return Array.isArray(reply) ? reply : [];
}

/** Sequence numbers have 64 bits. */
function idAfter(entryId: string): string {
  const [milliseconds = '0', sequence = '0'] = entryId.split('-');
  return `${milliseconds}-${BigInt(sequence) + 1n}`;
}
