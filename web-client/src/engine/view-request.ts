// Which pictures are asked for, and when: at once when a first wish comes or the page is shown or turned, else after a short rest, so that a
// resize or a burst of joins is one message. A picture whose tile changed little keeps the height that was asked for.
import type { Wish } from './protocol';

/** What a person can see: the page, only the stage (it plays in a window of its own), or nothing. */
export type Seen = 'all' | 'stage' | 'none';

export interface ViewRequest {
  wanted: readonly Wish[];
  seen: Seen;
  /** The machine is too slow: large pictures are for the stage only. */
  eased: boolean;
  /** Heights last asked for, by slot and source. */
  heights: ReadonlyMap<string, number>;
  sent: string;
  dueAt: number | null;
}

/** `seen` at the start: a page may begin in the background. */
export const newViewRequest = (seen: Seen = 'all'): ViewRequest => ({ wanted: [], seen, eased: false, heights: new Map(), sent: '[]', dueAt: null });

/** The layout wants these pictures. `turned`: a person turned the page or pinned, and waits for it. */
export function want(r: ViewRequest, now: number, wanted: readonly Wish[], turned: boolean): void {
  r.wanted = wanted;
  schedule(r, now, turned || r.sent === '[]' ? 0 : REST_MS);
}

/** A page that nobody looks at asks for voices only. */
export function look(r: ViewRequest, now: number, seen: Seen): void {
  if (r.seen === seen) return;
  const less = seen === 'none' || (seen === 'stage' && r.seen === 'all');
  r.seen = seen;
  // A short look at another window must not stop the pictures.
  schedule(r, now, less ? HIDE_MS : 0);
}

export function ease(r: ViewRequest, now: number, eased: boolean): void {
  if (r.eased === eased) return;
  r.eased = eased;
  schedule(r, now, 0);
}

/** True if there are wishes that `ease` would lower. */
export function canEase(r: ViewRequest): boolean {
  return r.wanted.some(({ slot, height }) => slot !== STAGE && height > EASED_HEIGHT);
}

/** The list to send now, if one is due and differs from the last. */
export function poll(r: ViewRequest, now: number): Wish[] | null {
  if (r.dueAt === null || now < r.dueAt) return null;
  r.dueAt = null;
  const heights = new Map<string, number>();
  const list = r.wanted.filter(({ slot }) => r.seen === 'all' || (r.seen === 'stage' && slot === STAGE)).map((wish) => {
    const key = `${wish.slot} ${wish.source}`;
    const before = r.heights.get(key);
    const height = before !== undefined && Math.abs(wish.height - before) <= before * TOLERANCE ? before : wish.height;
    heights.set(key, height);
    return { ...wish, height: r.eased && wish.slot !== STAGE ? Math.min(height, EASED_HEIGHT) : height };
  });
  r.heights = heights;
  const text = JSON.stringify(list);
  if (text === r.sent) return null;
  r.sent = text;
  return list;
}

function schedule(r: ViewRequest, now: number, after: number): void {
  const at = now + after;
  r.dueAt = r.dueAt === null || after === 0 ? at : r.seen !== 'all' ? Math.max(r.dueAt, at) : Math.min(r.dueAt, at);
}

const STAGE = 'v0';
const EASED_HEIGHT = 360;
// A seventh more or less is not seen.
const TOLERANCE = 0.15;
const REST_MS = 200;
const HIDE_MS = 2_000;
