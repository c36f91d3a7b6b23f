/**
 * The requests that this replica runs: their leases are renewed with every heartbeat, and brought back when the server
 * lost them or another replica took this one for dead. Spec: reliability 2.4 HEARTBEAT and REASSERT.
 */
import type { AdmitRequest } from '../contract/admission.ts';
import { clampAmount } from './amount-bounds.ts';
import type { TickBatcher } from './tick-batcher.ts';
import { reassertOperation, renewOperation, type PackedPlan, type Progress } from './tick-operations.ts';

export type Shard = { limiter: TickBatcher; background: TickBatcher };

type OwnRequest = Progress & { request: AdmitRequest; shard: Shard; plan: PackedPlan };

export type OwnLeasesOptions = {
  nowMs: () => number;
  heartbeatMs: number;
  /** Leases that were gone and have been asserted again. */
  onLost: (count: number) => void;
};

export type OwnLeases = ReturnType<typeof createOwnLeases>;

export function createOwnLeases(options: OwnLeasesOptions) {
  const { nowMs, heartbeatMs, onLost } = options;
  const requests = new Map<string, OwnRequest>();
  let renewedAtMs = nowMs();

  function add(request: AdmitRequest, place: { shard: Shard; plan: PackedPlan }): void {
    if (requests.has(request.id)) return;
    requests.set(request.id, { request, ...place, progressTokens: 0, isDispatched: false });
  }

  function remove(id: string): PackedPlan | undefined {
    const own = requests.get(id);
    requests.delete(id);
    return own?.plan;
  }

  function markDispatched(id: string): void {
    const own = requests.get(id);
    if (own !== undefined) own.isDispatched = true;
  }

  function reportProgress(id: string, tokens: number): void {
    const own = requests.get(id);
    if (own !== undefined) own.progressTokens = Math.max(own.progressTokens, clampAmount(tokens));
  }

  async function renew(connection: keyof Shard, only?: Shard): Promise<void> {
    if (only === undefined) renewedAtMs = nowMs();
    const due = [...requests].filter(([, { shard }]) => only === undefined || shard === only);
    const lost = await Promise.all(due.map(([id, own]) => renewOne(id, own, connection)));
    const count = lost.filter(Boolean).length;
    if (count > 0) onLost(count);
  }

  /** True when the lease was gone. A request that ended meanwhile is left alone: its settlement says all. */
  async function renewOne(id: string, own: OwnRequest, connection: keyof Shard): Promise<boolean> {
    const batcher = own.shard[connection];
    const reply = await batcher.submit(renewOperation(id, own));
    if (reply.kind !== 'answered' || reply.reply[0] === 'OK' || !requests.has(id)) return false;
    await batcher.submit(reassertOperation(own.request, own.plan, own));
    return true;
  }

  /** After a freeze of the process. */
  const isLate = (): boolean => nowMs() - renewedAtMs >= 2 * heartbeatMs;

  return {
    add,
    remove,
    markDispatched,
    reportProgress,
    renew,
    isLate,
    has: (id: string) => requests.has(id),
    size: () => requests.size,
  };
}
