// The session's link: opening, greeting, watching that it lives, and coming back by the law of retry.ts.
import { retryDelay } from './retry';
import { end, type Effect, type Failure, type Session } from './session';
import { giveUpRestart } from './session-media';
import { VERSION, type ClientMessage } from './protocol';

export type Link =
  | { at: 'down' }
  /** Not before `earliest`, whatever happens: the server said so. */
  | { at: 'waiting'; until: number; earliest: number; attempt: number; downSince: number }
  | { at: 'opening'; since: number; attempt: number; downSince: number }
  /** `hello` is sent, `welcome` is not here yet. */
  | { at: 'greeting'; since: number; attempt: number; downSince: number }
  | {
      at: 'up';
      /** Goes on until we have our seat: a link on which its answer never comes is tried ever more seldom too. */
      attempt: number;
      /** Until when the answer to our `resume` may take; null when that is settled. */
      resuming: number | null;
      pingAt: number;
      awaited: { id: number; until: number } | null;
    };

export function startLink(s: Session, now: number, out: Effect[]): void {
  s.link = { at: 'opening', since: now, attempt: 0, downSince: now };
  out.push({ do: 'open' });
}

export function opened(s: Session, now: number, out: Effect[]): void {
  if (s.link.at !== 'opening') return;
  s.link = { ...s.link, at: 'greeting', since: now };
  s.bye = null;
  out.push({ do: 'send', message: { type: 'hello', version: VERSION, token: s.token, resume: s.resume } });
}

/** `welcome` is here; with a `resume` sent, `resumed` or an error follows. */
export function greeted(s: Session, now: number): void {
  const attempt = s.goal === 'meeting' && 'attempt' in s.link ? s.link.attempt : 0;
  s.link = { at: 'up', attempt, resuming: s.resume === null ? null : now + LONG_MS, pingAt: now + PING_MS, awaited: null };
}

export function sendMessage(s: Session, message: ClientMessage, out: Effect[]): void {
  if (s.link.at === 'up') out.push({ do: 'send', message });
}

export function ponged(s: Session, now: number, id: number): void {
  if (s.link.at !== 'up' || s.link.awaited?.id !== id) return;
  s.link.awaited = null;
  s.link.pingAt = now + PING_MS;
}

export function closed(s: Session, now: number, code: number, stayAway: number, out: Effect[]): void {
  if (s.link.at === 'down' || s.end !== null) return;
  switch (code) {
    case 1001:
    case 1005:
    case 1006:
    case 1011:
    case 1012:
    case 1013:
    case 4408:
      return wait(s, now, stayAway);
    case 1000:
      s.link = { at: 'down' };
      return end(s, { at: 'left', why: 'ended' }, out);
    case 4409:
      s.link = { at: 'down' };
      return end(s, { at: 'left', why: 'taken' }, out);
    default:
      s.link = { at: 'down' };
      return end(s, { at: 'failed', code: FAILURES[code] ?? s.bye ?? 'closed' }, out);
  }
}

/** Gives the link up as dead (or out of step) and comes back at once by the law. */
export function dead(s: Session, now: number, out: Effect[]): void {
  out.push({ do: 'close', code: 4000 });
  wait(s, now, 0);
}

export function linkTime(s: Session, now: number, urgent: boolean, out: Effect[]): void {
  const link = s.link;
  switch (link.at) {
    case 'down':
      return;
    case 'waiting':
      if (now < (urgent ? link.earliest : link.until)) return;
      s.link = { at: 'opening', since: now, attempt: link.attempt + 1, downSince: link.downSince };
      out.push({ do: 'open' });
      return;
    case 'opening':
    case 'greeting':
      if (now - link.since >= OPENING_MS) dead(s, now, out);
      return;
    case 'up':
      if (link.resuming !== null && now >= link.resuming) return dead(s, now, out);
      if (link.awaited !== null) {
        if (now >= link.awaited.until) dead(s, now, out);
        else if (urgent) link.awaited.until = Math.min(link.awaited.until, now + patience(s, urgent));
      } else if (urgent || now >= link.pingAt) {
        ping(s, now, patience(s, urgent), out);
      }
      return;
    default: {
      const _: never = link;
      return _;
    }
  }
}

export function linkDeadline(s: Session): number {
  switch (s.link.at) {
    case 'down':
      return Infinity;
    case 'waiting':
      return s.link.until;
    case 'opening':
    case 'greeting':
      return s.link.since + OPENING_MS;
    case 'up':
      return Math.min(s.link.awaited?.until ?? s.link.pingAt, s.link.resuming ?? Infinity);
  }
}

function wait(s: Session, now: number, stayAway: number): void {
  const before = s.link;
  const attempt = 'attempt' in before ? before.attempt : 0;
  const downSince = 'downSince' in before ? before.downSince : now;
  s.link = {
    at: 'waiting', until: now + retryDelay(attempt, s.random(), stayAway), earliest: now + retryDelay(0, 0, stayAway), attempt, downSince,
  };
  const c = s.connection;
  if (c === null) return;
  // What was asked of the old link has no answer any more. An offer that nobody accepted is still good.
  if (c.state === 'asked') c.state = 'offered';
  c.asked = null;
  giveUpRestart(c);
}

function ping(s: Session, now: number, patience: number, out: Effect[]): void {
  const id = s.nextId++;
  if (s.link.at === 'up') s.link.awaited = { id, until: now + patience };
  out.push({ do: 'send', message: { type: 'ping', id } });
}

/** How long the answer to a ping may take. It stands behind `resumed` or `joined`, if one of them is under way. */
function patience(s: Session, urgent: boolean): number {
  const isLong = (s.link.at === 'up' && s.link.resuming !== null) || s.connection?.state === 'asked';
  if (isLong) return urgent ? SILENCE_MS : LONG_MS;
  return urgent ? URGENT_SILENCE_MS : SILENCE_MS;
}

const FAILURES: Readonly<Record<number, Failure>> = { 4401: 'bad_token', 4404: 'unknown_room' };
const PING_MS = 5_000;
// A half-open link is noticed within 5 + 6 s.
const SILENCE_MS = 6_000;
// After a network change or a wake-up, silence means more.
const URGENT_SILENCE_MS = 2_500;
const OPENING_MS = 8_000;
// `resumed` and `joined` name everybody in the room: 32 and 54 kB where there are 239. A line of 64 kb/s that carries a voice has 8 to 40 kb/s
// left. Given up sooner, such a page fills its line with lists that it throws away, and never has its seat again.
export const LONG_MS = 30_000;
