/**
 * The requests that this replica runs: their leases are renewed with every heartbeat, and brought back when the server
 * lost them or another replica took this one for dead. Spec: reliability 2.4 HEARTBEAT and REASSERT.
 */
import type { AdmitRequest, Lease } from '../contract/admission.ts';
import { clampAmount } from './amount-bounds.ts';
import { endlessLease } from './endless-lease.ts';
import type { TickBatcher } from './tick-batcher.ts';
import {
  reassertOperation,
  renewOperation,
  type PackedPlan,
  type Progress,
  type TickOperation,
} from './tick-operations.ts';

export type Shard = { limiter: TickBatcher; background: TickBatcher };

/** `askedAtMs`: the server's lease began no earlier. */
type Admission = { shard: Shard; plan: PackedPlan; askedAtMs: number };

type OwnRequest = Progress & { request: AdmitRequest; shard: Shard; plan: PackedPlan } & {
  -readonly [Name in keyof Lease]: Lease[Name];
};

export type OwnLeasesOptions = {
  nowMs: () => number;
  leaseMs: number;
  heartbeatMs: number;
  /** Leases that were gone and have been asserted again. */
  onLost: (count: number) => void;
};

/** To notice the end, to ask once more and to cut: by the server's clock the slot must not be another's before. */
const marginMs = 1_000;

export type OwnLeases = ReturnType<typeof createOwnLeases>;

export function createOwnLeases(options: OwnLeasesOptions) {
  const { nowMs, leaseMs, heartbeatMs, onLost } = options;
  const requests = new Map<string, OwnRequest>();
  let renewedAtMs = nowMs();

  function add(request: AdmitRequest, { shard, plan, askedAtMs }: Admission): void {
    if (requests.has(request.id)) return;
    const own: OwnRequest = {
      request,
      shard,
      plan,
      progressTokens: 0,
      isDispatched: false,
      deadlineMs: deadlineAfter(askedAtMs),
      async renew() {
        if (await renewOne(request.id, own, 'limiter')) onLost(1);
        return nowMs() <= own.deadlineMs;
      },
    };
    requests.set(request.id, own);
  }

  const deadlineAfter = (askedAtMs: number): number => askedAtMs + leaseMs - marginMs;

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
    const word = await extend(own, renewOperation(id, own), connection);
    if (word === undefined || word === 'OK' || !requests.has(id)) return false;
    await extend(own, reassertOperation(own.request, own.plan, own), connection);
    return true;
  }

  /** The server's lease begins when it answers; counted from the question it never seems longer than it is. */
  async function extend(own: OwnRequest, operation: TickOperation, connection: keyof Shard): Promise<unknown> {
    const askedAtMs = nowMs();
    const reply = await own.shard[connection].submit(operation);
    if (reply.kind !== 'answered') return undefined;
    if (reply.reply[0] === 'OK') own.deadlineMs = Math.max(own.deadlineMs, deadlineAfter(askedAtMs));
    return reply.reply[0];
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
    leaseOf: (id: string): Lease => requests.get(id) ?? endlessLease,
    size: () => requests.size,
  };
}
