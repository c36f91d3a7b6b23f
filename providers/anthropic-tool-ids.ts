/**
 * Ids of tool calls in the history. Anthropic knows only letters, digits, `_` and `-`, and each id once; other servers
 * write what they like and start anew in every turn. The same history always gives the same ids. Spec: fidelity 4.1.
 */
type Call = { id: string; isAnswered: boolean };

const cleaned = (id: string): string => id.replaceAll(/[^a-zA-Z0-9_-]/g, '_') || 'call';

export class ToolIds {
  readonly #used = new Set<string>();
  readonly #calls = new Map<string, Call[]>();

  call(id: string): string {
    let own = cleaned(id);
    for (let count = 2; this.#used.has(own); count += 1) own = `${cleaned(id)}_${count}`;
    this.#used.add(own);
    const calls = this.#calls.get(id) ?? [];
    this.#calls.set(id, calls);
    calls.push({ id: own, isAnswered: false });
    return own;
  }

  /** The call of that id that still waits for its result, else the latest. */
  result(id: string): string {
    const calls = this.#calls.get(id) ?? [];
    const call = calls.find(({ isAnswered }) => !isAnswered) ?? calls.at(-1);
    if (call === undefined) return cleaned(id);
    call.isAnswered = true;
    return call.id;
  }
}
