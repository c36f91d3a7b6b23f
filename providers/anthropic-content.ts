/** Parts of a message as Anthropic's blocks: text, images, documents. Never changes the part. Spec: fidelity 4.1. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { cacheMark } from './anthropic-cache.ts';
import type { Block, MessagesDraft } from './anthropic-draft.ts';
import { decodedText, readDataUrl, type DataUrl } from './data-url.ts';
import { textOf } from './json-values.ts';
import { type Place, refuse, refuseValue } from './openai-draft.ts';

const images = new Set(['image/jpeg', 'image/png', 'image/gif', 'image/webp']);
const pdf = 'application/pdf';

/** Blank text is refused upstream and says nothing. */
export function textBlock(text: string): Block | null {
  return text.trim() === '' ? null : { type: 'text', text };
}

const isText = (mediaType: string): boolean => mediaType.startsWith('text/') || mediaType === 'application/json';

function dataBlock(data: DataUrl, place: Place, title: string): Block {
  const { mediaType } = data;
  const named = title === '' ? {} : { title };
  if (isText(mediaType)) {
    return {
      type: 'document',
      source: { type: 'text', media_type: 'text/plain', data: decodedText(data, place) },
      ...named,
    };
  }
  const source = { type: 'base64', media_type: mediaType, data: data.data };
  if (data.isBase64 && mediaType === pdf) return { type: 'document', source, ...named };
  if (data.isBase64 && images.has(mediaType)) return { type: 'image', source };
  return refuseValue(
    place.param,
    `\`${place.param}\` holds ${mediaType}; this model reads jpeg, png, gif and webp images, PDF and text, as base64.`,
  );
}

function isPdfUrl(url: string): boolean {
  return /^[^?#]*\.pdf(?:[?#]|$)/i.test(url);
}

function urlBlock(url: string, place: Place): Block {
  const data = readDataUrl(url);
  if (data !== null) return dataBlock(data, place, '');
  if (!/^https?:\/\//i.test(url)) {
    return refuseValue(place.param, `\`${place.param}\` must be an https URL or a data URL.`);
  }
  return { type: isPdfUrl(url) ? 'document' : 'image', source: { type: 'url', url } };
}

function imageBlock(draft: MessagesDraft, image: JsonValue | undefined, place: Place): Block {
  if (!isJsonObject(image)) return urlBlock(textOf(image), place);
  const detail = image.detail ?? 'auto';
  if (detail !== 'auto') draft.drop(`${place.path}.image_url.detail`);
  return urlBlock(textOf(image.url), place);
}

/** OpenAI takes a data URL; many callers send the bare base64. */
function fileBlock(file: JsonValue | undefined, place: Place): Block {
  if (!isJsonObject(file) || typeof file.file_data !== 'string') refuse(place.param);
  const data = readDataUrl(file.file_data) ?? { mediaType: pdf, isBase64: true, data: file.file_data };
  return dataBlock(data, place, textOf(file.filename));
}

function partBlock(draft: MessagesDraft, part: JsonObject, place: Place): Block | null {
  switch (textOf(part.type)) {
    case 'text':
      return textBlock(textOf(part.text));
    case 'refusal':
      return textBlock(textOf(part.refusal));
    case 'image_url':
      return imageBlock(draft, part.image_url, place);
    case 'file':
      return fileBlock(part.file, place);
    case 'input_audio':
      return refuse(place.param);
    default:
      // A block of Anthropic's own goes as the caller wrote it.
      return { ...part };
  }
}

/** A string or parts; blank ones are left out. */
export function toBlocks(draft: MessagesDraft, content: JsonValue | undefined, place: Place): Block[] {
  const parts = Array.isArray(content) ? content : [content ?? ''];
  const blocks: Block[] = [];
  for (const [index, part] of parts.entries()) {
    const at = { path: `${place.path}.content.${index}`, param: `${place.param}.content[${index}]` };
    const block = isJsonObject(part) ? partBlock(draft, part, at) : textBlock(textOf(part));
    if (block === null) continue;
    const mark = isJsonObject(part) ? cacheMark(part) : null;
    blocks.push(mark === null ? block : { ...block, cache_control: mark });
  }
  return blocks;
}
