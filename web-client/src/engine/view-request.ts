// When the wanted pictures are told to the server: at once when a first wish comes or the page is hidden or turned, else after a short rest,
// so that a resize or a burst of joins is one message.
import type { Wish } from './protocol';

export interface ViewRequest {
  wanted: readonly Wish[];
  hidden: boolean;
  sent: string;
  dueAt: number | null;
}

export const newViewRequest = (): ViewRequest => ({ wanted: [], hidden: false, sent: '[]', dueAt: null });

/** The layout wants these pictures. `turned`: a person turned the page or pinned, and waits for it. */
export function want(r: ViewRequest, now: number, wanted: readonly Wish[], turned: boolean): void {
  r.wanted = wanted;
  schedule(r, now, turned || r.sent === '[]' ? 0 : REST_MS);
}

/** A page that nobody looks at asks for voices only. */
export function hide(r: ViewRequest, now: number, hidden: boolean): void {
  if (r.hidden === hidden) return;
  r.hidden = hidden;
  // A short look at another window must not stop the pictures.
  schedule(r, now, hidden ? HIDE_MS : 0);
}

/** The list to send now, if one is due and differs from the last. */
export function poll(r: ViewRequest, now: number): Wish[] | null {
  if (r.dueAt === null || now < r.dueAt) return null;
  r.dueAt = null;
  const list = r.hidden ? [] : [...r.wanted];
  const text = JSON.stringify(list);
  if (text === r.sent) return null;
  r.sent = text;
  return list;
}

function schedule(r: ViewRequest, now: number, after: number): void {
  const at = now + after;
  r.dueAt = r.dueAt === null || after === 0 ? at : r.hidden ? Math.max(r.dueAt, at) : Math.min(r.dueAt, at);
}

const REST_MS = 150;
const HIDE_MS = 3_000;
