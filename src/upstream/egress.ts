/**
 * Which addresses a provider may live at. Public ones only, unless the operator said `allow_private`; checked on the
 * resolved address at connect time, so that a name that later resolves to loopback is refused too. Spec: reliability 8.1.9, A12.3.
 */
import { lookup as dnsLookup, type LookupAddress, type LookupOptions } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

type Lookup = (
  hostname: string,
  options: LookupOptions,
  callback: (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void,
) => void;

/** IANA's special-purpose registries: nothing in them is a provider on the public internet. */
const specialPurpose: readonly (readonly [address: string, prefix: number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.31.196.0', 24],
  ['192.52.193.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['192.175.48.0', 24],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
  // Holds the unspecified address, loopback, and IPv4 addresses in their older wrapping.
  ['::', 96],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['100::', 64],
  ['100:0:0:1::', 64],
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['2620:4f:8000::', 48],
  ['3fff::', 20],
  ['5f00::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
];

export class PrivateAddressError extends Error {
  readonly code = 'ERR_PRIVATE_ADDRESS';
}

export type Egress = {
  /** Throws a `PrivateAddressError` when `hostname` is an address that must not be reached. */
  assertHostname(hostname: string): void;
  /** For `net.connect`: refuses before a packet leaves. */
  lookup: LookupFunction;
};

export function createEgress(lookup: Lookup = dnsLookup): Egress {
  const blocked = new BlockList();
  for (const [address, prefix] of specialPurpose) {
    blocked.addSubnet(address, prefix, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  }
  // BlockList also matches an IPv4 address written as ::ffff:a.b.c.d against the IPv4 rules.
  const isPrivate = (address: string): boolean => blocked.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  const refusal = (hostname: string): PrivateAddressError =>
    new PrivateAddressError(`${hostname} is a private address; set allow_private for this provider to allow it`);

  return {
    assertHostname(hostname) {
      const address = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
      if (isIP(address) !== 0 && isPrivate(address)) throw refusal(hostname);
    },
    lookup(hostname, options, callback) {
      lookup(hostname, options, (error, address, family) => {
        if (error === null) {
          const addresses = typeof address === 'string' ? [address] : address.map((entry) => entry.address);
          if (addresses.some(isPrivate)) {
            callback(refusal(hostname), '', 0);
            return;
          }
        }
        callback(error, address, family);
      });
    },
  };
}
