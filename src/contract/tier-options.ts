/** What a tier says of its limits beside their size. An absent option is its default. Spec: reliability 2.1 and 2.4. */

export type LimitRule = 'requests' | 'tokens' | 'concurrency' | 'budget';

export type TierOptions = {
  /** A running request whose lease ran out while it could not be renewed is cut; otherwise it ends and is marked. */
  strictLeases?: boolean;
  /** Running requests of a key that is no longer good are cut at the next heartbeat; otherwise they end. */
  hardRevoke?: boolean;
  /** A stream is cut when it passes what was reserved for it; otherwise the rest is debt. */
  hardCap?: boolean;
  /** The most tokens that one request may reserve, null without a cap. Absent: a quarter of the tightest bucket. */
  reservationCapTokens?: number | null;
  /** While Redis gives no answer each process admits its share of the limits; otherwise nothing is admitted. */
  localShare?: boolean;
  /** Rules of the tier, not of its keys, that decide as always and refuse nobody: what they would refuse is counted. */
  shadow?: readonly LimitRule[];
};
