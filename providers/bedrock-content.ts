/**
 * Images and files of the caller's as Converse's blocks, which carry bytes and never a URL. Every other part stays as it
 * is. Never changes the caller's messages. Spec: fidelity 5.4.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { Asset } from '../src/contract/provider.ts';
import { cacheMark } from './anthropic-cache.ts';
import { decodedText, readDataUrl } from './data-url.ts';
import { objectsIn, textOf } from './json-values.ts';
import { refuse, refuseValue, type Place } from './openai-draft.ts';

export type Assets = ReadonlyMap<string, Asset>;

const imageFormats: ReadonlyMap<string, string> = new Map([
  ['image/png', 'png'],
  ['image/jpeg', 'jpeg'],
  ['image/gif', 'gif'],
  ['image/webp', 'webp'],
]);

const documentFormats: ReadonlyMap<string, string> = new Map([
  ['application/pdf', 'pdf'],
  ['text/csv', 'csv'],
  ['application/msword', 'doc'],
  ['application/vnd.openxmlformats-officedocument.wordprocessingml.document', 'docx'],
  ['application/vnd.ms-excel', 'xls'],
  ['application/vnd.openxmlformats-officedocument.spreadsheetml.sheet', 'xlsx'],
  ['text/html', 'html'],
  ['text/markdown', 'md'],
  ['text/plain', 'txt'],
  ['application/json', 'txt'],
]);

const isWebUrl = (url: string): boolean => /^https?:\/\//i.test(url);

function imageUrlOf(part: JsonObject): string {
  if (part.type !== 'image_url') return '';
  return textOf(isJsonObject(part.image_url) ? part.image_url.url : part.image_url);
}

/** The URLs whose bytes the request needs. */
export function namedUrls(body: JsonObject): string[] {
  const parts = objectsIn(body.messages).flatMap(({ content }) => objectsIn(content));
  return parts.map(imageUrlOf).filter(isWebUrl);
}

export class ConverseContent {
  readonly dropped: string[] = [];
  readonly #assets: Assets;
  readonly #documentNames = new Set<string>();

  constructor(assets: Assets) {
    this.#assets = assets;
  }

  messages(messages: JsonValue | undefined): JsonValue | undefined {
    if (!Array.isArray(messages)) return messages;
    return messages.map((message, position) => {
      if (!isJsonObject(message) || !Array.isArray(message.content)) return message;
      const content = message.content.map((part, index) => {
        const path = `messages.${position}.content.${index}`;
        return isJsonObject(part) ? this.#part(part, { path, param: `messages[${position}].content[${index}]` }) : part;
      });
      return { ...message, content };
    });
  }

  /** A mark of the cache stays on the part. */
  #part(part: JsonObject, place: Place): JsonObject {
    const mark = cacheMark(part);
    const marked = mark === null ? {} : { cache_control: mark };
    if (part.type === 'image_url') return { ...this.#image(part.image_url, imageUrlOf(part), place), ...marked };
    return part.type === 'file' ? { ...this.#file(part.file, place), ...marked } : part;
  }

  #image(image: JsonValue | undefined, url: string, place: Place): JsonObject {
    const detail = isJsonObject(image) ? (image.detail ?? 'auto') : 'auto';
    if (detail !== 'auto') this.dropped.push(`${place.path}.image_url.detail`);
    const asset = this.#assets.get(url);
    if (asset !== undefined) return this.#block({ mediaType: asset.mediaType, bytes: asset.base64 }, '', place);
    if (isWebUrl(url)) {
      return refuseValue(
        place.param,
        `This model takes images as bytes, and this gateway did not fetch the one at \`${place.param}\`. Send it as a data URL: data:image/png;base64,…`,
      );
    }
    return this.#data(url, '', place);
  }

  /** OpenAI takes a data URL; many callers send the bare base64. */
  #file(file: JsonValue | undefined, place: Place): JsonObject {
    if (!isJsonObject(file) || typeof file.file_data !== 'string') refuse(place.param);
    const data = file.file_data;
    const name = textOf(file.filename);
    if (/^data:/i.test(data)) return this.#data(data, name, place);
    return this.#block({ mediaType: 'application/pdf', bytes: data }, name, place);
  }

  #data(url: string, name: string, place: Place): JsonObject {
    const data = readDataUrl(url);
    if (data === null) return refuseValue(place.param, `\`${place.param}\` must be an https URL or a data URL.`);
    const bytes = data.isBase64 ? data.data : Buffer.from(decodedText(data, place)).toString('base64');
    return this.#block({ mediaType: data.mediaType, bytes }, name, place);
  }

  #block({ mediaType, bytes }: { mediaType: string; bytes: string }, name: string, { param }: Place): JsonObject {
    const image = imageFormats.get(mediaType);
    if (image !== undefined) return { image: { format: image, source: { bytes } } };
    const format = documentFormats.get(mediaType) ?? (mediaType.startsWith('text/') ? 'txt' : undefined);
    if (format !== undefined) return { document: { name: this.#documentName(name), format, source: { bytes } } };
    return refuseValue(
      param,
      `\`${param}\` holds ${mediaType}; this model reads png, jpeg, gif and webp images, and documents as PDF, text, Markdown, HTML, CSV, Word or Excel.`,
    );
  }

  /** Letters, digits, single blanks, hyphens and brackets are all that a name may have, and no name may come twice. */
  #documentName(filename: string): string {
    const base = filename
      .replace(/\.\w{1,5}$/, '')
      .replaceAll(/[^a-zA-Z0-9()[\]-]+/g, ' ')
      .trim()
      .slice(0, 180);
    const plain = base === '' ? 'document' : base;
    let name = plain;
    for (let count = 2; this.#documentNames.has(name); count += 1) name = `${plain} (${count})`;
    this.#documentNames.add(name);
    return name;
  }
}
