/** The options of a tier, each only when it is written: what is absent has its default where it is used. */
import type { LimitRule, TierOptions } from '../contract/tier-options.ts';
import { formatPlace, type Path, type Report } from './report.ts';
import type { GatewayFile } from './schema.ts';
import { parseFlag, parseReservationCap, valueOr } from './units.ts';
import type { YamlFile } from './yaml-file.ts';

type TierEntry = NonNullable<GatewayFile['tiers']>[string];
type Context = { file: YamlFile; report: Report };

const rules = {
  rpm: 'requests',
  tpm: 'tokens',
  concurrency: 'concurrency',
  budget: 'budget',
} as const satisfies Record<string, LimitRule>;

export function readTierOptions(id: string, entry: TierEntry, { file, report }: Context): TierOptions {
  const { reservation_cap: cap, shadow, redis_down: redisDown } = entry;
  const options: TierOptions = {};
  if (readFlag('strict_leases')) options.strictLeases = true;
  if (readFlag('hard_revoke')) options.hardRevoke = true;
  if (readFlag('hard_cap')) options.hardCap = true;
  if (redisDown !== undefined) {
    record('redis_down', redisDown);
    if (redisDown === 'local-share') options.localShare = true;
  }
  if (cap !== undefined) {
    record('reservation_cap', cap);
    options.reservationCapTokens = valueOr(parseReservationCap(cap), null);
  }
  if (shadow !== undefined) {
    record('shadow', shadow.join(', '));
    for (const rule of shadow) warnOfNothing(rule);
    options.shadow = shadow.map((rule) => rules[rule]);
  }
  return options;

  function readFlag(key: 'strict_leases' | 'hard_revoke' | 'hard_cap'): boolean {
    const written = entry[key];
    if (written === undefined) return false;
    record(key, written);
    return valueOr(parseFlag(written), false);
  }

  function record(key: keyof TierEntry, value: string | number | boolean): void {
    const path: Path = ['tiers', id, key];
    report.record(path, file.display(path, String(value)), formatPlace(file.place(path)));
  }

  function warnOfNothing(rule: keyof typeof rules): void {
    if (entry[rule] !== undefined) return;
    const path = ['tiers', id, 'shadow'];
    report.warn(file.place(path), path, `this tier has no ${rule} that could be in shadow`);
  }
}
