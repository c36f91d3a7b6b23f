/** A certificate that nobody has signed but itself, made on the spot: no key lies in the repository. */
import { generateKeyPairSync, sign } from 'node:crypto';

const tag = (number: number, ...parts: readonly Buffer[]): Buffer => {
  const content = Buffer.concat(parts);
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([number, ...size]), content]);
};
const sequence = (...parts: readonly Buffer[]): Buffer => tag(0x30, ...parts);
const time = (text: string): Buffer => tag(0x17, Buffer.from(text));

const commonName = tag(0x06, Buffer.from([0x55, 0x04, 0x03]));
const ecdsaWithSha256 = sequence(tag(0x06, Buffer.from([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02])));

export function createSelfSignedCertificate(hostname: string): { key: string; cert: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const name = sequence(tag(0x31, sequence(commonName, tag(0x0c, Buffer.from(hostname)))));
  const content = sequence(
    tag(0x02, Buffer.from([1])),
    ecdsaWithSha256,
    name,
    sequence(time('200101000000Z'), time('491231235959Z')),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
  );
  const signature = tag(0x03, Buffer.from([0]), sign('sha256', content, privateKey));
  const base64 = sequence(content, ecdsaWithSha256, signature).toString('base64');
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    cert: `-----BEGIN CERTIFICATE-----\n${base64.replaceAll(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`,
  };
}
