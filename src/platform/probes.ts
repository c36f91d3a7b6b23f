/**
 * Asks each store that the process depends on, once a second, whether it answers. Takes a question for each, gives what
 * was last known and says each change once. It only observes: nothing is refused because of it, and a question that hangs
 * counts as no answer and is not asked a second time beside itself.
 */
export type ProbesOptions = {
  /** Any answer is a good one; a rejection or silence is none. */
  questions: Readonly<Record<string, () => Promise<unknown>>>;
  onChange: (name: string, isUp: boolean, error: unknown) => void;
  intervalMs?: number;
  timeoutMs?: number;
};

export type Probes = {
  /** True until it was found not to answer. */
  isUp(name: string): boolean;
  /** A round now; resolves when every question is answered or given up. */
  round(): Promise<void>;
  close(): void;
};

export function createProbes({ questions, onChange, intervalMs = 1_000, timeoutMs = 1_000 }: ProbesOptions): Probes {
  const down = new Set<string>();
  const hanging = new Set<string>();
  const timer = setInterval(() => void round(), intervalMs);
  timer.unref();

  return { isUp: (name) => !down.has(name), round, close: () => clearInterval(timer) };

  async function round(): Promise<void> {
    await Promise.all(Object.entries(questions).map(([name, ask]) => probe(name, ask)));
  }

  async function probe(name: string, ask: () => Promise<unknown>): Promise<void> {
    if (hanging.has(name)) {
      note(name, false, new Error('no answer'));
      return;
    }
    hanging.add(name);
    const asked = ask().finally(() => hanging.delete(name));
    let timeout: NodeJS.Timeout | undefined;
    const silence = new Promise<never>((_, reject) => {
      timeout = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    });
    try {
      await Promise.race([asked, silence]);
      note(name, true, null);
    } catch (error) {
      note(name, false, error);
    } finally {
      clearTimeout(timeout);
    }
  }

  function note(name: string, isUp: boolean, error: unknown): void {
    if (isUp !== down.has(name)) return;
    if (isUp) down.delete(name);
    else down.add(name);
    onChange(name, isUp, error);
  }
}
