/** Where an answer has its facts from, as annotations of the chat surface. Spec: fidelity 5.2. */
import type { JsonObject, JsonValue } from '../src/contract/json.ts';
import { objectOf, objectsIn, textOf } from './json-values.ts';

type Answer = { content: string; bytes: Buffer };
type Span = { start_index: number; end_index: number };

/** Gemini counts bytes of UTF-8; the chat surface counts UTF-16 units of the whole content. */
function spanOf(segment: JsonObject, { content, bytes }: Answer): Span {
  const unitsBefore = (offset: JsonValue | undefined): number =>
    typeof offset === 'number' ? bytes.subarray(0, offset).toString().length : 0;
  const span = { start_index: unitsBefore(segment.startIndex), end_index: unitsBefore(segment.endIndex) };
  const text = textOf(segment.text);
  if (text === '' || content.slice(span.start_index, span.end_index) === text) return span;
  // The offsets are those of one part, and the content is all of them.
  const found = content.indexOf(text);
  return found < 0 ? span : { start_index: found, end_index: found + text.length };
}

function citation(source: JsonObject, span: Span): JsonObject[] {
  const url = textOf(source.uri) || textOf(source.url);
  if (url === '') return [];
  return [{ type: 'url_citation', url_citation: { url, title: textOf(source.title), ...span } }];
}

const sourceOf = (chunk: JsonObject | undefined): JsonObject =>
  objectOf(chunk?.web ?? chunk?.maps ?? chunk?.retrievedContext);

function fromGrounding(metadata: JsonObject, answer: Answer): JsonObject[] {
  const chunks = objectsIn(metadata.groundingChunks);
  const supports = objectsIn(metadata.groundingSupports);
  if (supports.length === 0) {
    const whole = { start_index: 0, end_index: answer.content.length };
    return chunks.flatMap((chunk) => citation(sourceOf(chunk), whole));
  }
  return supports.flatMap(({ segment, groundingChunkIndices: indices }) => {
    const span = spanOf(objectOf(segment), answer);
    return (Array.isArray(indices) ? indices : []).flatMap((index) => citation(sourceOf(chunks[Number(index)]), span));
  });
}

export function annotationsOf(candidate: JsonObject, content: string): JsonObject[] {
  const { citations, citationSources } = objectOf(candidate.citationMetadata);
  const answer = { content, bytes: Buffer.from(content) };
  return [
    ...fromGrounding(objectOf(candidate.groundingMetadata), answer),
    ...[...objectsIn(citations), ...objectsIn(citationSources)].flatMap((source) =>
      citation(source, spanOf(source, answer)),
    ),
  ];
}
