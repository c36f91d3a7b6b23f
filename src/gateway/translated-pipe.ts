/** A stream in another dialect, or in a careless form of ours: read event by event, rebuilt by the adapter's translator. */
import type { GatewayError } from '../contract/errors.ts';
import type { Usage } from '../contract/flow.ts';
import type { StreamTranslator } from '../contract/provider.ts';
import { frameEvent, SseReader } from '../upstream/sse.ts';
import type { Pipe } from './pipe.ts';

export class TranslatedPipe implements Pipe {
  readonly #reader = new SseReader();
  readonly #translator: StreamTranslator;
  readonly #tokensOfCharacters: (characters: number) => number;
  readonly isFailureShown = false;
  #isTailGiven = false;

  constructor(translator: StreamTranslator, tokensOfCharacters: (characters: number) => number) {
    this.#translator = translator;
    this.#tokensOfCharacters = tokensOfCharacters;
  }

  get failure(): GatewayError | null {
    return this.#translator.failure;
  }

  get isComplete(): boolean {
    return this.#translator.isComplete;
  }

  get isEnded(): boolean {
    return this.#translator.isEnded;
  }

  push(chunk: Buffer): string | null {
    const text = this.#translate(this.#reader.push(chunk));
    // An upstream may hold its connection open behind its end; the caller's end marker does not wait for that.
    return orNull(this.isEnded ? text + this.#tail() : text);
  }

  end(): string | null {
    const text = this.#translate(this.#reader.end());
    return orNull(text + this.#tail());
  }

  usage(): Usage | null {
    return this.#translator.usage();
  }

  estimateOutputTokens(): number {
    return this.#tokensOfCharacters(this.#translator.outputCharacters);
  }

  #tail(): string {
    if (this.#isTailGiven || this.failure !== null || !this.isComplete) return '';
    this.#isTailGiven = true;
    return this.#translator.end().map(frameEvent).join('');
  }

  #translate(events: ReturnType<SseReader['push']>): string {
    let text = '';
    for (const event of events) {
      if (this.failure !== null || this.#translator.isEnded) break;
      for (const out of this.#translator.push(event)) text += frameEvent(out);
    }
    return text;
  }
}

const orNull = (text: string): string | null => (text === '' ? null : text);
