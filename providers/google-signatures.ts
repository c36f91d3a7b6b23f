/**
 * Signatures of thoughts, out to the caller and back. That of a call rides on the call, as Google's own OpenAI endpoint
 * has it: `extra_content.google.thought_signature`. That of text is a block in `thinking_blocks`, in a format of its own
 * so that no other vendor is ever sent it; `content_offset` (UTF-16 units) is where the signed text ends.
 * Spec: fidelity 4.5 and 5.2.
 */
import type { JsonObject } from '../src/contract/json.ts';
import type { Part } from './google-draft.ts';
import { objectOf, objectsIn, textOf } from './json-values.ts';

const format = 'google-gemini-v1';

/** Stands for a signature that the caller lost, or that another vendor's call never had. */
export const lostSignature = 'skip_thought_signature_validator';

export const showSignature = (signature: string): JsonObject =>
  signature === '' ? {} : { extra_content: { google: { thought_signature: signature } } };

export const showSignedText = (thinking: string, signature: string, textLength: number): JsonObject => ({
  type: 'thinking',
  thinking,
  signature,
  format,
  content_offset: textLength,
});

/** On the call itself, or beside it as OpenRouter has it. Empty when there is none. */
export function signatureOf(call: JsonObject, message: JsonObject): string {
  const own = textOf(objectOf(objectOf(call.extra_content).google).thought_signature);
  if (own !== '') return own;
  const detail = objectsIn(message.reasoning_details).find(
    ({ type, id, format: by }) => type === 'reasoning.encrypted' && by === format && id === call.id,
  );
  return textOf(detail?.data);
}

type SignedText = { thinking: string; signature: string; end: number };

function signedTexts(blocks: readonly JsonObject[]): SignedText[] {
  return blocks
    .filter((block) => block.format === format && textOf(block.signature) !== '')
    .map((block) => ({
      thinking: textOf(block.thinking),
      signature: textOf(block.signature),
      end: typeof block.content_offset === 'number' ? block.content_offset : Number.POSITIVE_INFINITY,
    }));
}

/** The text before and after a place, which may be inside a part. */
function splitAt(parts: readonly Part[], length: number): [Part[], Part[]] {
  const before: Part[] = [];
  const after: Part[] = [];
  let left = length;
  for (const part of parts) {
    const text = textOf(part.text);
    if (left <= 0) after.push(part);
    else if (text.length <= left) before.push(part);
    else {
      before.push({ ...part, text: text.slice(0, left) });
      after.push({ ...part, text: text.slice(left) });
    }
    left -= text.length;
  }
  return [before, after];
}

const thoughtPart = (text: string): Part[] => (text === '' ? [] : [{ text, thought: true }]);

function sign(parts: readonly Part[], signed: readonly SignedText[]): Part[] {
  const out: Part[] = [];
  let rest: readonly Part[] = parts;
  let done = 0;
  for (const { thinking, signature, end } of signed) {
    const [before, after] = splitAt(rest, end - done);
    [rest, done] = [after, Math.max(done, end)];
    const own = [...thoughtPart(thinking), ...before];
    const last = own.at(-1) ?? { text: '' };
    out.push(...own.slice(0, -1), { ...last, thoughtSignature: signature });
  }
  return [...out, ...rest];
}

export type Restored = {
  parts: Part[];
  /** Something was signed or hidden by another vendor, whom only that vendor can read. */
  hasForeign: boolean;
};

/** The text of an earlier answer with what it thought before, signed where it was. */
export function restoreThoughts(message: JsonObject, text: readonly Part[]): Restored {
  const blocks = objectsIn(message.thinking_blocks);
  const signed = signedTexts(blocks);
  const hasForeign = blocks.some(
    (block) => block.format !== format && (block.signature !== undefined || block.type === 'redacted_thinking'),
  );
  if (signed.length > 0) return { parts: sign(text, signed), hasForeign };
  const told = textOf(message.reasoning_content) || textOf(message.reasoning);
  const details = objectsIn(message.reasoning_details).map(({ text: thought }) => textOf(thought));
  const thoughts = told || [...blocks.map((block) => textOf(block.thinking)), ...details].join('');
  return { parts: [...thoughtPart(thoughts), ...text], hasForeign };
}
