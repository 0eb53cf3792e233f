// What a tab keeps of one room, and whether its seat may still be taken without a question. A browser brings back the storage of a tab hours
// later (a session that is restored, a tab that was put to sleep): nobody must then be in a meeting, and heard, without having asked for it.
import type { Seat } from './session';

export interface TabSession {
  token: string;
  seat: Seat | null;
  /** The name last entered with; empty: none. */
  name: string;
  /** When the page was last known to be open, in milliseconds on the wall clock. */
  at: number;
}

/** The seat that a page takes by itself: of the same invitation, and left behind a moment ago, as by a reload. */
export function seatNow(tab: TabSession | null, token: string, now: number): Seat | null {
  if (tab === null || tab.token !== token) return null;
  // A clock that was set back must not make an old seat look new.
  return Math.abs(now - tab.at) < FRESH_MS ? tab.seat : null;
}

/** The name that was typed here for this invitation. */
export const nameHere = (tab: TabSession | null, token: string): string => (tab?.token === token ? tab.name : '');

/**
 * The name to begin with: what this person typed here, else whom the invitation names, else the last name of this browser, which in a room
 * with one computer may be somebody else's. So that one has to wait until the invitation is known (`invited` is not null).
 */
export function firstName(here: string, invited: string | null, saved: string): string {
  return here !== '' || invited === null ? here : invited || saved;
}

/** How often an open page says that it is. Hidden pages may be held to one timer a minute. */
export const STAMP_MS = 30_000;
const FRESH_MS = 90_000;
