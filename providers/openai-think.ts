/**
 * Tells reasoning that a model writes into its text, between `<think>` and `</think>` at the beginning, from the answer.
 * One instance per choice; text comes in pieces of any size and nothing is held back longer than a tag may still be one.
 * Only for models whose catalogue entry says so: everybody else's angle brackets are their own. Spec: fidelity 8.
 */
const openTag = '<think>';
const closeTag = '</think>';

export type ThinkParts = { reasoning: string; content: string };

export class ThinkSplitter {
  #state: 'before' | 'thinking' | 'gap' | 'answer' = 'before';
  #held = '';

  push(text: string): ThinkParts {
    const parts = { reasoning: '', content: '' };
    this.#held += text;
    if (this.#state === 'before') this.#readStart();
    if (this.#state === 'thinking') parts.reasoning = this.#readThought();
    if (this.#state === 'gap') this.#skipGap();
    if (this.#state === 'answer') {
      parts.content = this.#held;
      this.#held = '';
    }
    return parts;
  }

  /** What is still held when the choice ends. */
  end(): ThinkParts {
    const held = this.#held;
    this.#held = '';
    return this.#state === 'thinking' ? { reasoning: held, content: '' } : { reasoning: '', content: held };
  }

  #readStart(): void {
    const start = this.#held.trimStart();
    if (start.startsWith(openTag)) {
      this.#state = 'thinking';
      this.#held = start.slice(openTag.length);
    } else if (!openTag.startsWith(start)) this.#state = 'answer';
  }

  #readThought(): string {
    const end = this.#held.indexOf(closeTag);
    if (end >= 0) {
      const thought = this.#held.slice(0, end);
      this.#held = this.#held.slice(end + closeTag.length);
      this.#state = 'gap';
      return thought;
    }
    const heldLength = tagPrefixLength(this.#held);
    const thought = this.#held.slice(0, this.#held.length - heldLength);
    this.#held = this.#held.slice(thought.length);
    return thought;
  }

  /** The blank lines between the thought and the answer belong to neither. */
  #skipGap(): void {
    this.#held = this.#held.trimStart();
    if (this.#held !== '') this.#state = 'answer';
  }
}

/** How much of the end may be the beginning of the closing tag. */
function tagPrefixLength(text: string): number {
  for (let length = Math.min(closeTag.length - 1, text.length); length > 0; length -= 1) {
    if (closeTag.startsWith(text.slice(-length))) return length;
  }
  return 0;
}

export function splitThinking(text: string): ThinkParts {
  const splitter = new ThinkSplitter();
  const pushed = splitter.push(text);
  const rest = splitter.end();
  return { reasoning: pushed.reasoning + rest.reasoning, content: pushed.content + rest.content };
}
