// When to try again: at random within 0.5 s at first, then within a span that grows by 1.7 up to 8 s. Full jitter, so that 239 pages that
// lost the same server do not come back in step.

const FIRST_MS = 500;
const GROWTH = 1.7;
const LONGEST_MS = 8_000;

/** Milliseconds to wait before try number `attempt` (0 is the first); `random` is in [0, 1). */
export function retryDelay(attempt: number, random: number): number {
  return Math.floor(random * Math.min(LONGEST_MS, FIRST_MS * GROWTH ** attempt));
}
