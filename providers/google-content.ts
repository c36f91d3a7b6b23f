/** Parts of a message as Gemini's: text, and media as bytes or by their address. Never changes the part. Spec: fidelity 5.1. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { decodedText, readDataUrl } from './data-url.ts';
import type { GeminiDraft, Part } from './google-draft.ts';
import { objectOf, textOf } from './json-values.ts';
import { refuse, refuseValue, type Place } from './openai-draft.ts';

const pdf = 'application/pdf';
const image = 'image/jpeg';
const video = 'video/mp4';

const mediaTypes: Readonly<Record<string, string>> = {
  png: 'image/png',
  jpg: image,
  jpeg: image,
  webp: 'image/webp',
  gif: 'image/gif',
  heic: 'image/heic',
  heif: 'image/heif',
  pdf,
  mp4: video,
  mpeg: 'video/mpeg',
  mpg: 'video/mpg',
  mov: 'video/mov',
  webm: 'video/webm',
  avi: 'video/avi',
  wmv: 'video/wmv',
  flv: 'video/x-flv',
  '3gp': 'video/3gpp',
  mp3: 'audio/mp3',
  wav: 'audio/wav',
  ogg: 'audio/ogg',
  flac: 'audio/flac',
  aac: 'audio/aac',
  aiff: 'audio/aiff',
  m4a: 'audio/m4a',
  txt: 'text/plain',
  md: 'text/markdown',
  csv: 'text/csv',
  html: 'text/html',
  xml: 'text/xml',
  json: 'application/json',
};

/** By the last letters of a name or of the path of a URL. */
function mediaTypeOf(name: string, otherwise: string): string {
  const extension = /\.([a-z0-9]+)(?:[?#].*)?$/i.exec(name)?.[1]?.toLowerCase() ?? '';
  return Object.hasOwn(mediaTypes, extension) ? (mediaTypes[extension] ?? otherwise) : otherwise;
}

const isYouTube = (url: string): boolean => /^https:\/\/(?:[a-z]+\.)?(?:youtube\.com|youtu\.be)\//i.test(url);

function dataPart(url: string, place: Place): Part | null {
  const read = readDataUrl(url);
  if (read === null) return null;
  const data = read.isBase64 ? read.data : Buffer.from(decodedText(read, place)).toString('base64');
  return { inlineData: { mimeType: read.mediaType, data } };
}

/** Where the name tells nothing, the kind of the part does. */
function urlPart(url: string, place: Place, otherwise: string): Part {
  const data = dataPart(url, place);
  if (data !== null) return data;
  if (!/^(?:https?|gs):\/\//i.test(url)) {
    return refuseValue(place.param, `\`${place.param}\` must be an https URL, a gs:// URI or a data URL.`);
  }
  return { fileData: { mimeType: isYouTube(url) ? video : mediaTypeOf(url, otherwise), fileUri: url } };
}

const resolutions: ReadonlyMap<unknown, string> = new Map([
  ['low', 'MEDIA_RESOLUTION_LOW'],
  ['high', 'MEDIA_RESOLUTION_HIGH'],
]);

function imagePart(draft: GeminiDraft, source: JsonValue | undefined, place: Place): Part {
  if (!isJsonObject(source)) return urlPart(textOf(source), place, image);
  const part = urlPart(textOf(source.url), place, image);
  const detail = source.detail ?? 'auto';
  if (detail === 'auto') return part;
  const level = draft.isThirdGeneration ? resolutions.get(detail) : undefined;
  if (level !== undefined) return { ...part, mediaResolution: { level } };
  draft.drop(`${place.path}.image_url.detail`);
  return part;
}

function audioPart({ data, format }: JsonObject, place: Place): Part {
  const bytes = textOf(data);
  return dataPart(bytes, place) ?? { inlineData: { mimeType: `audio/${textOf(format) || 'wav'}`, data: bytes } };
}

/** OpenAI takes a data URL; many callers send the bare base64, or an address. */
function filePart(file: JsonObject, place: Place): Part {
  if (typeof file.file_data !== 'string') refuse(place.param);
  const { file_data: data } = file;
  if (/^(?:data:|[a-z]+:\/\/)/i.test(data)) return urlPart(data, place, pdf);
  return { inlineData: { mimeType: mediaTypeOf(textOf(file.filename), pdf), data } };
}

function toPart(draft: GeminiDraft, part: JsonObject, place: Place): Part | null {
  // A part of Gemini's own has no type, and goes as the caller wrote it.
  if (part.type === undefined) return { ...part };
  switch (textOf(part.type)) {
    case 'text':
      return textPart(textOf(part.text));
    case 'refusal':
      return textPart(textOf(part.refusal));
    case 'image_url':
      return imagePart(draft, part.image_url, place);
    case 'video_url':
      return urlPart(textOf(isJsonObject(part.video_url) ? part.video_url.url : part.video_url), place, video);
    case 'input_audio':
      return audioPart(objectOf(part.input_audio), place);
    case 'file':
      return filePart(objectOf(part.file), place);
    default:
      return refuse(place.param);
  }
}

/** Empty text is refused upstream and says nothing. */
export const textPart = (text: string): Part | null => (text === '' ? null : { text });

/** Prompts are cached by themselves, or by a name that the caller gives. */
export function dropCacheMarks(draft: GeminiDraft, source: JsonObject, path: string): void {
  for (const mark of ['cache_control', 'prompt_cache_breakpoint']) {
    if (isJsonObject(source[mark])) draft.drop(`${path}.${mark}`);
  }
}

/** A string or parts; empty ones are left out. */
export function toParts(draft: GeminiDraft, content: JsonValue | undefined, place: Place): Part[] {
  const sources = Array.isArray(content) ? content : [content ?? ''];
  return sources.flatMap((source, index) => {
    const at = { path: `${place.path}.content.${index}`, param: `${place.param}.content[${index}]` };
    if (isJsonObject(source)) dropCacheMarks(draft, source, at.path);
    const part = isJsonObject(source) ? toPart(draft, source, at) : textPart(textOf(source));
    return part === null ? [] : [part];
  });
}
