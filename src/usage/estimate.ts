/**
 * Token counts where no provider has counted: before a request is admitted, and after a stream that ended without usage.
 * Never a tokenizer: it would hold the event loop for the length of a prompt. Spec: reliability 2.4 "Reservation".
 */
import type { JsonObject } from '../contract/json.ts';

/** An attachment costs by its resolution or pages, not by its bytes; this is a large image. */
const attachmentTokens = 1_500;
const bytesPerTokenUpper = 2;
const charactersPerToken = 4;
const base64Mark = ';base64,';
/** Data URLs of images and files; the member that audio comes in, as the two ways of writing JSON spell it. */
const attachmentMarks = [base64Mark, '"data":"', '"data": "'];
const shortestAudioBytes = 1_000;
/** What a reply is taken to need when the caller set no bound. */
const defaultOutputTokens = 1_024;

/** Over-estimates on purpose: what is too much comes back at settlement. */
export function estimateInputTokens(rawBody: Buffer): number {
  let textBytes = rawBody.length;
  let attachments = 0;
  for (const mark of attachmentMarks) {
    let at = rawBody.indexOf(mark);
    while (at !== -1) {
      const start = at + mark.length;
      const end = rawBody.indexOf('"', start);
      const dataEnd = end === -1 ? rawBody.length : end;
      if (isAttachment(rawBody.subarray(start, dataEnd), mark)) {
        textBytes -= dataEnd - start;
        attachments += 1;
      }
      at = rawBody.indexOf(mark, dataEnd);
    }
  }
  return Math.ceil(textBytes / bytesPerTokenUpper) + attachments * attachmentTokens;
}

/**
 * No base64 holds a space: prose behind a mark would otherwise pass for one picture, whatever its length. A member
 * `data` may hold anything, so a short one is text, and a data URL in it has been counted by its own mark.
 */
function isAttachment(data: Buffer, mark: string): boolean {
  if (data.includes(' ')) return false;
  return mark === base64Mark || (data.length >= shortestAudioBytes && !data.subarray(0, 100).includes(base64Mark));
}

/** The most that the reply may hold, per choice, times the choices. `maxOutputTokens` is the model's own cap. */
export function estimateOutputTokens(body: JsonObject, maxOutputTokens: number | null): number {
  const asked = numberOf(body['max_completion_tokens']) ?? numberOf(body['max_tokens']) ?? defaultOutputTokens;
  const perChoice = maxOutputTokens === null ? asked : Math.min(asked, maxOutputTokens);
  return perChoice * (numberOf(body['n']) ?? 1);
}

/** For what was delivered without a count. */
export function tokensOfCharacters(characters: number): number {
  return Math.ceil(characters / charactersPerToken);
}

/** Input of a request whose provider reported nothing: nearer to the truth than the reservation, which must not be too low. */
export function likelyInputTokens(estimatedInputTokens: number): number {
  return Math.ceil((estimatedInputTokens * bytesPerTokenUpper) / charactersPerToken);
}

function numberOf(value: unknown): number | null {
  return typeof value === 'number' ? value : null;
}
