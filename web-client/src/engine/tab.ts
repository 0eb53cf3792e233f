// What a tab keeps of one room, and whether its seat may still be taken without a question. A browser brings back the storage of a tab hours
// later (a session that is restored, a tab that was put to sleep): nobody must then be in a meeting, and heard, without having asked for it.
import type { Seat } from './session';

export interface TabSession {
  token: string;
  seat: Seat | null;
  /** When the page was last known to be open, in milliseconds on the wall clock. */
  at: number;
}

/** The seat that a page takes by itself: of the same invitation, and left behind a moment ago, as by a reload. */
export function seatNow(tab: TabSession | null, token: string, now: number): Seat | null {
  if (tab === null || tab.token !== token) return null;
  // A clock that was set back must not make an old seat look new.
  return Math.abs(now - tab.at) < FRESH_MS ? tab.seat : null;
}

/** How often an open page says that it is. Hidden pages may be held to one timer a minute. */
export const STAMP_MS = 30_000;
const FRESH_MS = 90_000;
