// The session's media path: one offer, one answer, an ICE restart when it stalls, a new connection on the same seat when that does not help.
import { retryDelay } from './retry';
import { LONG_MS, sendMessage } from './session-link';
import type { Effect, Input, Session } from './session';
import type { Server, Sources } from './protocol';
import { VP8_ONLY } from './video';

export interface Connection {
  /** Grows with every connection of the page; events of older ones are ignored. */
  id: number;
  state: 'offering' | 'offered' | 'asked' | 'accepted' | 'connected' | 'disconnected' | 'failed';
  /** When `state` began. */
  since: number;
  offer: { sdp: string; sources: Sources } | null;
  /** The `join` that waits for its answer. */
  asked: number | null;
  /** The place in line of that `join`; null: it does not stand in line, as far as the server said. */
  place: number | null;
  /** The ICE restart under way: `id` is null until its offer is made. One that was answered is over when the path is back. */
  restart: { id: number | null; answered: boolean } | null;
  /** The offer of a restart has no answer and will get none: until it is taken back nothing else can be agreed upon. */
  unanswered: boolean;
  /** Some connection of this seat has been up. */
  wasConnected: boolean;
  /** New connections in a row that did not come up. */
  renewals: number;
  /** Another try is due then; null: none is waiting. */
  renewAt: number | null;
}

/** Begins a new connection; the old one, if any, is dropped by the driver. */
export function renew(s: Session, now: number, out: Effect[]): void {
  const old = s.connection;
  s.connection = {
    id: s.nextId++, state: 'offering', since: now, offer: null, asked: null, place: null, restart: null, unanswered: false,
    wasConnected: old?.wasConnected ?? false, renewals: old === null ? 0 : old.renewals + 1, renewAt: null,
  };
  out.push({ do: 'connect', connection: s.connection.id, video: s.welcome?.video ?? VP8_ONLY });
}

/** Makes the first offer as soon as the room has said how pictures are sent in it, and asks for the seat as soon as it can. */
export function makeReady(s: Session, now: number, out: Effect[]): void {
  if (s.goal === 'meeting' && s.welcome !== null && s.connection === null) renew(s, now, out);
  tryJoin(s, now, out);
}

/** A new connection, but not at once: the last ones did not help either. */
export function renewLater(s: Session, now: number): void {
  const c = s.connection;
  if (c === null || c.renewAt !== null) return;
  c.state = 'failed';
  c.since = now;
  c.renewAt = now + retryDelay(c.renewals, s.random());
}

export function offerMade(s: Session, now: number, input: Extract<Input, { on: 'offer' }>, out: Effect[]): void {
  const c = s.connection;
  if (c?.id !== input.connection || c.state !== 'offering') return;
  c.state = 'offered';
  c.since = now;
  c.offer = { sdp: input.sdp, sources: input.sources };
  tryJoin(s, now, out);
}

/** Asks for the seat as soon as there is a link, no open question of resuming, and an offer. */
export function tryJoin(s: Session, now: number, out: Effect[]): void {
  const c = s.connection;
  if (s.link.at !== 'up' || s.link.resuming !== null || s.wish === null || c?.state !== 'offered' || c.offer === null) return;
  c.asked = s.nextId++;
  c.place = null;
  c.state = 'asked';
  c.since = now;
  const { name, profile } = s.wish;
  const { sdp, sources } = c.offer;
  const published = [...s.published].filter((kind) => sources[kind] !== undefined);
  s.told = new Set(published);
  sendMessage(s, { type: 'join', id: c.asked, name, profile, sources, published, offer: sdp }, out);
}

/** The `join` stands in line. Every word of it is a sign that the server has not lost it. */
export function queued(s: Session, now: number, { id, place }: Server<'queued'>): void {
  const c = s.connection;
  if (c?.state !== 'asked' || c.asked !== id) return;
  c.place = place;
  c.since = now;
}

export function accepted(s: Session, now: number): Connection | null {
  const c = s.connection;
  if (c === null) return null;
  c.state = 'accepted';
  c.since = now;
  c.asked = null;
  c.offer = null;
  return c;
}

export function mediaChanged(s: Session, now: number, input: Extract<Input, { on: 'media' }>, out: Effect[]): void {
  const c = s.connection;
  if (c?.id !== input.connection || c.state === 'offering' || c.state === 'offered' || c.state === 'asked') return;
  if (c.renewAt !== null && input.state !== 'connected') return;
  if (c.state !== input.state) c.since = now;
  c.state = input.state;
  if (input.state === 'connected') {
    c.wasConnected = true;
    c.renewals = 0;
    c.renewAt = null;
    // The path came back by itself: an answer that is still due is taken when it comes, or the browser waits for it for ever.
    if (c.restart?.answered) c.restart = null;
    takeBack(c, out);
  }
  mediaTime(s, now, false, out);
}

/** The node lost this client's path: a restart cannot help, it has let the transport go. */
export function mediaLost(s: Session, now: number, out: Effect[]): void {
  const c = s.connection;
  // While a connection is being made, the news is of the one before it.
  if (c === null || c.state === 'offering' || c.state === 'offered' || c.state === 'asked' || c.renewAt !== null) return;
  if (c.renewals === 0) renew(s, now, out);
  else renewLater(s, now);
}

export function mediaTime(s: Session, now: number, urgent: boolean, out: Effect[]): void {
  const c = s.connection;
  if (c === null) return;
  if (c.renewAt !== null) {
    if (urgent || now >= c.renewAt) renew(s, now, out);
    return;
  }
  // Without a link nothing can be asked; what is due is done when it is back.
  if (s.link.at !== 'up' || s.link.resuming !== null) return;
  const age = now - c.since;
  switch (c.state) {
    case 'disconnected':
      if (age >= RENEW_MS) renewLater(s, now);
      else if (c.restart === null && (urgent || age >= RESTART_MS)) {
        c.restart = { id: null, answered: false };
        out.push({ do: 'restart', connection: c.id });
      }
      return;
    case 'failed':
      return renewLater(s, now);
    case 'accepted':
      if (age >= SETUP_MS) renewLater(s, now);
      return;
    case 'asked':
      // The node is asked; the answer or an error always comes. This is for a server that lost it.
      if (age >= LONG_MS) renewLater(s, now);
      return;
    case 'offering':
    case 'offered':
    case 'connected':
      return;
    default: {
      const _: never = c.state;
      return _;
    }
  }
}

export function mediaDeadline(s: Session): number {
  const c = s.connection;
  if (c === null) return Infinity;
  if (c.renewAt !== null) return c.renewAt;
  if (s.link.at !== 'up' || s.link.resuming !== null) return Infinity;
  switch (c.state) {
    case 'disconnected':
      return c.since + (c.restart === null ? RESTART_MS : RENEW_MS);
    case 'accepted':
      return c.since + SETUP_MS;
    case 'asked':
      return c.since + LONG_MS;
    case 'failed':
      return c.since;
    case 'offering':
    case 'offered':
    case 'connected':
      return Infinity;
  }
}

export function restartMade(s: Session, now: number, input: Extract<Input, { on: 'restart_offer' }>, out: Effect[]): void {
  const c = s.connection;
  if (c?.id !== input.connection || c.restart === null || s.link.at !== 'up') return;
  const id = s.nextId++;
  c.restart = { id, answered: false };
  c.unanswered = false;
  sendMessage(s, { type: 'restart', id, offer: input.sdp }, out);
  mediaTime(s, now, false, out);
}

export function restarted(s: Session, message: Server<'restarted'>, out: Effect[]): void {
  const c = s.connection;
  if (c === null || c.restart === null || c.restart.id !== message.id) return;
  c.restart = c.state === 'connected' ? null : { ...c.restart, answered: true };
  out.push({ do: 'accept', connection: c.id, answer: message.answer, slots: null });
}

/** The node took no restart: another connection, unless the path is back already. */
export function notRestarted(s: Session, now: number, out: Effect[]): void {
  const c = s.connection;
  if (c === null) return;
  // A path that is to be replaced may still come back before it is.
  giveUpRestart(c);
  if (c.state !== 'connected') return renewLater(s, now);
  takeBack(c, out);
}

/** The browser took no offer or answer. Not at once: what it refuses now it would refuse again, as fast as the server can answer. */
export function broken(s: Session, now: number, connection: number): void {
  const c = s.connection;
  if (c?.id !== connection) return;
  // An answer that the browser refused is none.
  if (c.restart !== null) c.restart.answered = false;
  giveUpRestart(c);
  renewLater(s, now);
}

/** No answer comes any more. */
export function giveUpRestart(c: Connection): void {
  if (c.restart !== null) c.unanswered = !c.restart.answered;
  c.restart = null;
}

/** A path that works needs no restart: the browser forgets the offer that nobody answered. */
export function takeBack(c: Connection, out: Effect[]): void {
  if (!c.unanswered || c.state !== 'connected') return;
  c.unanswered = false;
  out.push({ do: 'take_back', connection: c.id });
}

// A path that is gone this long after the browser noticed gets an ICE restart, then a new connection.
const RESTART_MS = 2_000;
const RENEW_MS = 5_000;
const SETUP_MS = 10_000;
