/**
 * Cuts what still runs for a key that is no longer good, where the tier asks for it. At each beat every distinct caller
 * among the running requests is checked once; only one who proves bad on a second look at the primary is cut, so a
 * change of tier cuts nobody, and neither does a store that is away. Spec: reliability I7, REVOKE.
 */
import { everyInterval } from '../admission/clock.ts';
import { GatewayError } from '../contract/errors.ts';
import type { Principal } from '../contract/flow.ts';
import type { AdmissionGate } from './admission-gate.ts';
import type { Flow } from './flow.ts';

export type Revocable = { flow: Pick<Flow, 'principal' | 'reload'>; revoke(error: GatewayError): void };

export type RevocationWatchOptions = {
  running: () => Iterable<Revocable>;
  gate: Pick<AdmissionGate, 'verify'>;
  heartbeatMs?: number;
};

export type RevocationWatch = { beat(): Promise<void>; close(): void };

export function createRevocationWatch(options: RevocationWatchOptions): RevocationWatch {
  const { running, gate, heartbeatMs = 10_000 } = options;
  /** Who a running request's caller was found to be since it was admitted. */
  const known = new WeakMap<Revocable['flow'], Principal>();
  const stop = everyInterval(heartbeatMs, beat);
  return { beat, close: stop };

  async function beat(): Promise<void> {
    const groups = new Map<string, Revocable[]>();
    for (const request of running()) {
      const { accountId, keyId, tier, authVersion } = principalOf(request);
      if (tier.hardRevoke !== true) continue;
      const name = `${accountId} ${keyId} ${authVersion.account} ${authVersion.key}`;
      const group = groups.get(name);
      if (group === undefined) groups.set(name, [request]);
      else group.push(request);
    }
    await Promise.all(Array.from(groups.values(), examine));
  }

  async function examine(group: readonly Revocable[]): Promise<void> {
    const [first] = group;
    if (first === undefined) return;
    try {
      const principal = await gate.verify({
        principal: principalOf(first),
        reload: () => first.flow.reload(),
        // Nobody can be asked: at the next beat, perhaps.
        isFresh: () => true,
      });
      for (const { flow } of group) known.set(flow, principal);
    } catch (error) {
      if (!(error instanceof GatewayError) || error.kind !== 'invalidApiKey') return;
      for (const request of group) request.revoke(error);
    }
  }

  function principalOf({ flow }: Revocable): Principal {
    return known.get(flow) ?? flow.principal;
  }
}
