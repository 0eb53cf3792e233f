// What a page keeps: choices of devices, name, language and theme for this browser; the seat for this tab. Storage may be forbidden or
// full, and what it holds may be anything: then the page simply starts afresh.
import { PROFILES, type Profile } from '../engine/protocol';
import type { Seat } from '../engine/session';
import { isObject } from '../engine/shape';
import type { TabSession } from '../engine/tab';

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(PREFIX + key, value);
  } catch {
    // Not kept.
  }
}

export function recall(key: string): string {
  try {
    return (localStorage.getItem(PREFIX + key) ?? '').slice(0, 512);
  } catch {
    return '';
  }
}

/** As `remember`, for this tab only: what was chosen for one meeting must survive its reload and nothing else. */
export function rememberHere(key: string, value: string): void {
  try {
    sessionStorage.setItem(PREFIX + key, value);
  } catch {
    // Not kept.
  }
}

export function recallHere(key: string): string {
  try {
    return (sessionStorage.getItem(PREFIX + key) ?? '').slice(0, 512);
  } catch {
    return '';
  }
}

export function loadTab(room: string): TabSession | null {
  try {
    const value: unknown = JSON.parse(sessionStorage.getItem(`${PREFIX}tab.${room}`) ?? 'null');
    if (!isObject(value) || typeof value['token'] !== 'string') return null;
    const { token, seat, name, at } = value;
    return { token, seat: seatOf(seat), name: typeof name === 'string' ? name.slice(0, 512) : '', at: typeof at === 'number' ? at : 0 };
  } catch {
    return null;
  }
}

export function keepTab(room: string, tab: TabSession): void {
  try {
    sessionStorage.setItem(`${PREFIX}tab.${room}`, JSON.stringify(tab));
  } catch {
    // A reload will ask to join again.
  }
}

function seatOf(value: unknown): Seat | null {
  if (!isObject(value)) return null;
  const { resume, name, profile } = value;
  if (typeof resume !== 'string' || typeof name !== 'string' || !PROFILES.some((p) => p === profile)) return null;
  return { resume, name, profile: profile as Profile };
}

const PREFIX = 'diemcau.';
