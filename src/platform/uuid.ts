/**
 * UUID version 7: 48 bits of Unix milliseconds, then random bits. The id of a request carries the moment it began, so
 * every copy of its usage row meets the same partition and the same primary key, whoever wrote it.
 */
import { randomBytes, randomFillSync } from 'node:crypto';

const randomSize = 10;
const poolSize = randomSize * 400;
const hexOf: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** A source of ids with a pool of random bytes of its own: one call of the operating system for 400 ids. */
export function createUuidSource(): (nowMs: number) => string {
  const pool = new Uint8Array(poolSize);
  let offset = poolSize;
  return (nowMs) => {
    if (offset === poolSize) {
      randomFillSync(pool);
      offset = 0;
    }
    const start = offset;
    offset += randomSize;
    return format(nowMs, pool, start);
  };
}

export function createUuidV7(nowMs: number, random: (size: number) => Uint8Array = randomBytes): string {
  return format(nowMs, random(randomSize), 0);
}

export function uuidV7Milliseconds(uuid: string): number {
  return Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16);
}

function format(nowMs: number, random: Uint8Array, start: number): string {
  // Bit operations cut to 32 bits, so the upper 16 of the 48 are taken off by division.
  const high = Math.floor(nowMs / 0x1_0000_0000);
  const low = nowMs >>> 0;
  const byte = (index: number): number => random[start + index] ?? 0;
  return `${hex(high >>> 8)}${hex(high)}${hex(low >>> 24)}${hex(low >>> 16)}-${hex(low >>> 8)}${hex(low)}-${hex(
    0x70 | (byte(0) & 0x0f),
  )}${hex(byte(1))}-${hex(0x80 | (byte(2) & 0x3f))}${hex(byte(3))}-${hex(byte(4))}${hex(byte(5))}${hex(byte(6))}${hex(
    byte(7),
  )}${hex(byte(8))}${hex(byte(9))}`;
}

function hex(value: number): string {
  return hexOf[value & 0xff] ?? '';
}
