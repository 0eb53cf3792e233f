// Keeps the seat and the name of this tab for a reload, with the time at which the page was last open.
import { STAMP_MS, nameHere, seatNow, type TabSession } from '../engine/tab';
import type { Seat } from '../engine/session';
import { keepTab, loadTab } from './storage';

export interface Tab {
  /** The seat to take at once; null: the first page is shown. */
  readonly seat: Seat | null;
  keep(seat: Seat | null): void;
  /** The name typed in this tab for this invitation; empty: none. */
  readonly name: string;
  keepName(name: string): void;
}

export function openTab(room: string, token: string): Tab {
  const before = loadTab(room);
  const seat = seatNow(before, token, Date.now());
  let kept: Omit<TabSession, 'at'> = { token, seat, name: nameHere(before, token) };
  const stamp = (): void => keepTab(room, { ...kept, at: Date.now() });
  const stampSeat = (): void => {
    if (kept.seat !== null) stamp();
  };
  stamp();
  setInterval(stampSeat, STAMP_MS);
  // A page that is put to sleep or goes runs no timer any more.
  document.addEventListener('visibilitychange', stampSeat);
  addEventListener('pagehide', stampSeat);
  return {
    seat,
    keep(next) {
      kept = { ...kept, seat: next };
      stamp();
    },
    get name() {
      return kept.name;
    },
    keepName(name) {
      kept = { ...kept, name };
      stamp();
    },
  };
}
