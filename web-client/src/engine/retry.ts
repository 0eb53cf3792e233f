// When to try again: at random within 0.5 s at first, then within a span that grows by 1.7 up to 8 s. Full jitter, so that 239 pages that
// lost the same server do not come back in step. Where the server said how long to stay away, that time comes first.

const FIRST_MS = 500;
const GROWTH = 1.7;
const LONGEST_MS = 8_000;
// What a server or a proxy says above this is a mistake, and must not silence a page for an afternoon.
const STAY_AWAY_MAX_MS = 60_000;

/** Milliseconds to wait before try number `attempt` (0 is the first); `random` is in [0, 1), `stayAway` in milliseconds. */
export function retryDelay(attempt: number, random: number, stayAway = 0): number {
  const span = Math.min(LONGEST_MS, FIRST_MS * GROWTH ** attempt);
  return Math.min(STAY_AWAY_MAX_MS, Math.max(0, stayAway)) + Math.floor(random * span);
}

/** Milliseconds to stay away by a `Retry-After` (RFC 9110 §10.2.3: seconds or a date); 0 if there is none that can be read. */
export function stayAwayMs(header: string | null, wallClock: number): number {
  const text = header?.trim() ?? '';
  if (/^\d{1,9}$/.test(text)) return Math.min(STAY_AWAY_MAX_MS, Number(text) * 1_000);
  // Dates are those of HTTP; `Date.parse` would take much else.
  const at = /^[A-Z][a-z]{2}, \d{2} .* GMT$/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? 0 : Math.min(STAY_AWAY_MAX_MS, Math.max(0, at - wallClock));
}
