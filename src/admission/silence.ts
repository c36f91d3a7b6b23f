/** Since when a store gives no answer. Any answer ends it; it begins with the last one, once a question went unanswered. */
export interface Silence {
  answered(): void;
  missed(): void;
  /** By the clock that was given; null while nothing went unanswered. */
  sinceMs(): number | null;
}

export function createSilence(nowMs: () => number): Silence {
  let answeredAtMs = nowMs();
  let isMissed = false;
  return {
    answered() {
      answeredAtMs = nowMs();
      isMissed = false;
    },
    missed() {
      isMissed = true;
    },
    sinceMs: () => (isMissed ? answeredAtMs : null),
  };
}
