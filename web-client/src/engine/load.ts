// Is this machine too slow for what it decodes (or encodes)? A short peak is nobody's concern; what lasts is answered in two steps: the page
// asks for smaller pictures by itself, and if that does not help it tells the server.

export interface Load {
  /** 0 all is well, 1 the page has lowered its wishes, 2 the server is told. */
  level: 0 | 1 | 2;
  /** Whether the last samples were bad, and since when all of them were as the last. */
  bad: boolean;
  since: number;
  /** How long it must be well before a step is taken back. */
  restMs: number;
  /** When a step was last taken back. */
  easedAt: number;
}

export const newLoad = (): Load => ({ level: 0, bad: false, since: 0, restMs: REST_MS, easedAt: -Infinity });

/** Takes one sample. `canLower`: the page has wishes that it could lower; without it the first step is skipped. */
export function judge(load: Load, now: number, bad: boolean, canLower: boolean): Load {
  const since = bad === load.bad ? load.since : now;
  const lasts = now - since;
  if (bad && load.level < 2 && lasts >= PATIENCE_MS) {
    const relapse = now - load.easedAt < RELAPSE_MS;
    const restMs = relapse ? Math.min(load.restMs * 2, REST_MAX_MS) : REST_MS;
    return { ...load, level: load.level === 0 && canLower ? 1 : 2, bad, since: now, restMs };
  }
  if (!bad && load.level > 0 && lasts >= load.restMs) {
    return { ...load, level: load.level === 2 ? 1 : 0, bad, since: now, easedAt: now };
  }
  return { ...load, bad, since };
}

/** One second of decoding. */
export interface Decoding {
  /** Pictures decoded, and those that came whole but were dropped. */
  decoded: number;
  dropped: number;
  /** Share of the second that each decoder worked, 0 to 1 and above: the busiest one, and all together. */
  busiest: number;
  total: number;
  /** Share of packets lost: what a bad line makes late is dropped as well, and is not the machine's fault. */
  lossIn: number;
}

/** `cores` is what the machine has. */
export function overloaded({ decoded, dropped, busiest, total, lossIn }: Decoding, cores: number): boolean {
  const seen = decoded + dropped;
  if (seen < FRAMES_MIN) return false;
  const work = total / Math.max(1, cores);
  if (busiest > BUSY || work > WORK) return true;
  return dropped / seen > DROPPED && lossIn < LOSS && work > WORK_SOME;
}

const PATIENCE_MS = 3_000;
const REST_MS = 10_000;
// Whoever falls back soon after a step was taken back waits longer before the next, so that pictures do not swing.
const RELAPSE_MS = 30_000;
const REST_MAX_MS = 60_000;
const FRAMES_MIN = 10;
// A decoder that works four fifths of the time has nothing left for the next larger picture.
const BUSY = 0.8;
const WORK = 0.6;
const WORK_SOME = 0.1;
const DROPPED = 0.1;
const LOSS = 0.01;
