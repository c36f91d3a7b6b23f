/** Bytes that a caller put into a URL. */
import { refuseValue, type Place } from './openai-draft.ts';

export type DataUrl = { mediaType: string; isBase64: boolean; data: string };

/** null for a URL of any other kind. */
export function readDataUrl(url: string): DataUrl | null {
  const match = /^data:([^;,]*)((?:;[^;,]*)*),?([\s\S]*)$/i.exec(url);
  if (match === null) return null;
  const [, type = '', parameters = '', data = ''] = match;
  const mediaType = type.trim().toLowerCase() || 'text/plain';
  return {
    mediaType: mediaType === 'image/jpg' ? 'image/jpeg' : mediaType,
    isBase64: /;\s*base64\s*(?:;|$)/i.test(parameters),
    data,
  };
}

export function decodedText({ isBase64, data }: DataUrl, { param }: Place): string {
  if (isBase64) return Buffer.from(data, 'base64').toString();
  try {
    return decodeURIComponent(data);
  } catch {
    return refuseValue(param, `\`${param}\` is a data URL whose text is not percent-encoded. Send it as base64.`);
  }
}
