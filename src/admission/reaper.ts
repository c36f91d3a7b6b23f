/**
 * Settles the requests of replicas that are gone. Lists expired leases, then settles each by its own atomic step, which
 * looks at the lease again: any number of replicas may do this at once. A step whose reply was lost is repeated until
 * it is answered, so that its row is not lost with the reply. Spec: reliability 2.4 REAP.
 */
import type { UsageSink } from '../contract/admission.ts';
import { notDispatchedRecord, orphanRecord, orphanTokens } from './abandoned-record.ts';
import type { TickBatcher } from './tick-batcher.ts';
import { listExpiredOperation, reapOperation } from './tick-operations.ts';
import { readExpired, type ExpiredRequest } from './tick-replies.ts';

export type ReaperOptions = {
  shards: readonly { background: TickBatcher }[];
  /** Null when the script itself appends each row to the usage stream. */
  sink: UsageSink | null;
  /** A request that this process still runs is renewed, never reaped. */
  isOwn: (id: string) => boolean;
  onFailure: (message: string) => void;
};

const listLimit = 100;

export function createReaper(options: ReaperOptions): { run(): Promise<void> } {
  const { shards, sink, isOwn, onFailure } = options;
  const unanswered = new Map<string, { expired: ExpiredRequest; batcher: TickBatcher }>();

  async function run(): Promise<void> {
    await Promise.all([...unanswered.values()].map(({ expired, batcher }) => reapOne(expired, batcher)));
    await Promise.all(shards.map(({ background }) => reapShard(background)));
  }

  async function reapShard(batcher: TickBatcher): Promise<void> {
    const listed = await batcher.submit(listExpiredOperation(listLimit));
    if (listed.kind !== 'answered') return;
    const expired = readExpired(listed.reply).filter(({ id }) => !isOwn(id) && !unanswered.has(id));
    await Promise.all(expired.map((one) => reapOne(one, batcher)));
  }

  async function reapOne(expired: ExpiredRequest, batcher: TickBatcher): Promise<void> {
    const isRepeat = unanswered.has(expired.id);
    const { progressTokens, isDispatched } = expired;
    const record = isDispatched ? orphanRecord(expired, progressTokens) : notDispatchedRecord(expired.record);
    const estimatedTokens = orphanTokens(expired.record, 0);
    const reply = await batcher.submit(reapOperation({ ...expired, record, estimatedTokens }));
    if (reply.kind === 'ambiguous') unanswered.set(expired.id, { expired, batcher });
    if (reply.kind === 'failed') onFailure(reply.message);
    if (reply.kind !== 'answered') return;
    unanswered.delete(expired.id);
    const isSettledHere = reply.reply[0] === 'OK' || (reply.reply[0] === 'DUP' && isRepeat);
    if (isSettledHere) sink?.append(record);
  }

  return { run };
}
