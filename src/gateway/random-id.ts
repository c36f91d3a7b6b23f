import { randomFillSync } from 'node:crypto';

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const idLength = 24;
/** The largest multiple of 62 in a byte: bytes above it would make some characters likelier. */
const fairBytes = 248;

/** 24 base62 characters at each call, as OpenAI's tool call and completion ids have them. */
export function createRandomId(): () => string {
  const pool = new Uint8Array(1024);
  let at = pool.length;
  return () => {
    let id = '';
    while (id.length < idLength) {
      if (at === pool.length) {
        randomFillSync(pool);
        at = 0;
      }
      const byte = pool[at] ?? 0;
      at += 1;
      if (byte < fairBytes) id += alphabet[byte % 62];
    }
    return id;
  };
}
