/** A stream in another dialect, or in a careless form of ours: read event by event, rebuilt by the adapter's translator. */
import type { GatewayError } from '../contract/errors.ts';
import type { Usage } from '../contract/flow.ts';
import type { SseEvent, StreamTranslator } from '../contract/provider.ts';
import { frameEvent } from '../upstream/sse.ts';
import { tokensOfCharacters } from '../usage/estimate.ts';
import type { Pipe } from './pipe.ts';

/** Bytes to events, however the upstream frames them. */
export interface EventReader {
  push(chunk: Buffer): readonly SseEvent[];
  end(): readonly SseEvent[];
}

export type TranslatedPipeOptions = {
  translator: StreamTranslator;
  reader: EventReader;
  /** What the caller is sent of an event; the default is its frame. */
  show?: (event: SseEvent) => string;
};

export class TranslatedPipe implements Pipe {
  readonly #reader: EventReader;
  readonly #translator: StreamTranslator;
  readonly #show: (event: SseEvent) => string;
  readonly isFailureShown = false;
  #isTailGiven = false;

  constructor({ translator, reader, show = frameEvent }: TranslatedPipeOptions) {
    this.#translator = translator;
    this.#reader = reader;
    this.#show = show;
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
    return tokensOfCharacters(this.#translator.outputCharacters);
  }

  #tail(): string {
    if (this.#isTailGiven || this.failure !== null || !this.isComplete) return '';
    this.#isTailGiven = true;
    return this.#translator.end().map(this.#show).join('');
  }

  #translate(events: readonly SseEvent[]): string {
    let text = '';
    for (const event of events) {
      if (this.failure !== null || this.#translator.isEnded) break;
      for (const out of this.#translator.push(event)) text += this.#show(out);
    }
    return text;
  }
}

const orNull = (text: string): string | null => (text === '' ? null : text);
