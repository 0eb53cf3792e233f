// What a screen reader is told of people who come and go: one sentence for all of them, at most one in ten seconds, so that a province
// that joins at eight o'clock does not talk for minutes.

export interface Announcer {
  joined: string[];
  left: string[];
  dueAt: number | null;
  lastAt: number;
}

export interface Announcement {
  kind: 'joined' | 'left';
  /** The one name, or how many. */
  name: string | null;
  count: number;
}

export const newAnnouncer = (): Announcer => ({ joined: [], left: [], dueAt: null, lastAt: -Infinity });

export function note(a: Announcer, now: number, kind: Announcement['kind'], name: string): void {
  // A list beyond this says a number anyway; the names are not needed.
  if (a[kind].length < 1_000) a[kind].push(name);
  a.dueAt ??= Math.max(now + GATHER_MS, a.lastAt + SPACING_MS);
}

/** What to say now, if it is time. */
export function take(a: Announcer, now: number): Announcement[] {
  if (a.dueAt === null || now < a.dueAt) return [];
  const said = (['joined', 'left'] as const).flatMap((kind) => {
    const names = a[kind].splice(0);
    return names.length === 0 ? [] : [{ kind, name: names.length === 1 ? (names[0] ?? null) : null, count: names.length }];
  });
  a.dueAt = null;
  a.lastAt = now;
  return said;
}

const GATHER_MS = 1_000;
const SPACING_MS = 10_000;
