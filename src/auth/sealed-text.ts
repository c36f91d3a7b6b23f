/**
 * Short secrets that must be read again, as a provider's key that an account brought: AES-256-GCM under a key derived
 * from TOLLGATE_SECRET, bound to what it belongs to, so that sealed text moved to another account does not open.
 */
import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, randomBytes } from 'node:crypto';

export interface Sealer {
  /** `v1.` and base64url of nonce, tag and ciphertext. */
  seal(text: string, context: string): string;
  /** Throws when it was sealed under another secret, for another context, or changed; never says what was in it. */
  open(sealed: string, context: string): string;
}

const version = 'v1.';
const algorithm = 'aes-256-gcm';
const nonceBytes = 12;
const tagBytes = 16;

export function createSealer(secret: string): Sealer {
  const key = createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', 'tollgate provider credentials', 32)));
  return {
    seal(text, context) {
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv(algorithm, key, nonce).setAAD(Buffer.from(context));
      const ciphertext = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return version + Buffer.concat([nonce, cipher.getAuthTag(), ciphertext]).toString('base64url');
    },
    open(sealed, context) {
      try {
        if (!sealed.startsWith(version)) throw new Error('unknown version');
        const bytes = Buffer.from(sealed.slice(version.length), 'base64url');
        const decipher = createDecipheriv(algorithm, key, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes })
          .setAAD(Buffer.from(context))
          .setAuthTag(bytes.subarray(nonceBytes, nonceBytes + tagBytes));
        return Buffer.concat([decipher.update(bytes.subarray(nonceBytes + tagBytes)), decipher.final()]).toString();
      } catch (error) {
        throw new Error('a stored credential cannot be opened; was TOLLGATE_SECRET changed?', { cause: error });
      }
    },
  };
}

export const credentialContext = (accountId: string, provider: string): string => `${accountId} ${provider}`;
