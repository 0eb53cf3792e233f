// What each message of the server changes in the session.
import { apply, snapshot } from './roster';
import { end, refuse, resync, seated, tellRefused, type Effect, type Session } from './session';
import { greeted, ponged } from './session-link';
import {
  accepted, makeReady, mediaLost, mediaTime, notRestarted, queued, renew, renewLater, restarted, takeBack, tryJoin, type Connection,
} from './session-media';
import type { ErrorCode, Server, ServerMessage } from './protocol';

export function received(s: Session, now: number, message: ServerMessage, out: Effect[]): void {
  if (s.end !== null || s.link.at === 'down') return;
  switch (message.type) {
    case 'welcome':
      if (s.link.at !== 'greeting') return;
      s.welcome = message;
      greeted(s, now);
      return makeReady(s, now, out);
    case 'joined':
      return joined(s, now, message, out);
    case 'resumed':
      return resumed(s, now, message, out);
    case 'queued':
      return queued(s, now, message);
    case 'restarted':
      return restarted(s, message, out);
    case 'point':
      return pointChanged(s, now, message, out);
    case 'slots':
      out.push({ do: 'tell', event: { tell: 'slots', changes: message.slots, reset: false } });
      return;
    case 'quality':
      if (s.seat) out.push({ do: 'tell', event: { tell: 'quality', slots: message.slots } });
      return;
    case 'send':
      return ordered(s, message, out);
    case 'speaker':
      out.push({ do: 'tell', event: { tell: 'speaker', number: message.number } });
      return;
    case 'floor':
      if (s.seat) out.push({ do: 'tell', event: { tell: 'floor', number: message.number } });
      return;
    case 'media':
      if (message.state === 'lost') mediaLost(s, now, out);
      return;
    case 'error':
      return refused(s, now, message, out);
    case 'bye':
      s.bye = message.code;
      if (FINAL.has(message.code)) end(s, { at: 'failed', code: message.code }, out);
      return;
    case 'pong':
      return ponged(s, now, message.id);
    default: {
      const _: never = message;
      return _;
    }
  }
}

/** Until it is told: whoever spoke before the link was away may have ended meanwhile. */
const NOBODY_SPEAKS: Effect = { do: 'tell', event: { tell: 'speaker', number: null } };

/** No list of wishes: also an empty one must be told, or a page that was hidden meanwhile goes on getting pictures. */
const UNKNOWN = '';

function joined(s: Session, now: number, message: Server<'joined'>, out: Effect[]): void {
  if (s.connection?.asked !== message.id) return;
  const c = accepted(s, now);
  if (c === null) return;
  s.entered = true;
  // A new seat wants nothing yet; to new media of the same seat the server tells what was last said.
  s.viewSent = s.number === message.number ? UNKNOWN : '[]';
  s.roster = snapshot(message.points, message.sequence);
  out.push(
    { do: 'accept', connection: c.id, answer: message.answer, slots: message.slots },
    { do: 'tell', event: { tell: 'slots', changes: [], reset: true } },
    // A new connection sends as it was made to, until it is told otherwise.
    { do: 'tell', event: { tell: 'quality', slots: [] } },
    { do: 'tell', event: { tell: 'order', order: null } },
    { do: 'tell', event: { tell: 'roster', roster: s.roster, change: null } },
    { do: 'tell', event: { tell: 'floor', number: message.floor } },
    NOBODY_SPEAKS,
  );
  seated(s, message.number, message.resume, out);
}

function resumed(s: Session, now: number, message: Server<'resumed'>, out: Effect[]): void {
  if (s.goal !== 'meeting' || s.link.at !== 'up') return;
  s.link.resuming = null;
  s.viewSent = UNKNOWN;
  s.roster = snapshot(message.points, message.sequence);
  s.told = new Set(message.points.find((p) => p.number === message.number)?.published ?? []);
  const c = s.connection;
  const held = c !== null && holdsMedia(c);
  out.push({ do: 'tell', event: { tell: 'roster', roster: s.roster, change: null } });
  out.push({ do: 'tell', event: { tell: 'floor', number: message.floor } });
  out.push(NOBODY_SPEAKS);
  if (held && message.media === 'kept') {
    out.push({ do: 'tell', event: { tell: 'slots', changes: message.slots, reset: false } });
    seated(s, message.number, message.resume, out);
    takeBack(c, out);
    return mediaTime(s, now, false, out);
  }
  seated(s, message.number, message.resume, out);
  if (c === null || held) renew(s, now, out);
  else tryJoin(s, now, out);
}

function ordered(s: Session, order: Server<'send'>, out: Effect[]): void {
  const c = s.connection;
  // While a connection is being made, the order is for the one before it.
  if (!s.seat || c === null || c.state === 'offering' || c.state === 'offered' || c.state === 'asked') return;
  out.push({ do: 'order', connection: c.id, order }, { do: 'tell', event: { tell: 'order', order } });
}

/** No join is under way, nor due. */
function holdsMedia({ state }: Connection): boolean {
  return state === 'accepted' || state === 'connected' || state === 'disconnected';
}

/** The seat is gone (too long away, or another server): take a new one, without a question to the person. */
function notResumed(s: Session, now: number, out: Effect[]): void {
  if (s.link.at === 'up') s.link.resuming = null;
  s.resume = null;
  s.seat = false;
  out.push({ do: 'keep', seat: null });
  if (s.goal !== 'meeting') return;
  const c = s.connection;
  if (c === null || (c.state !== 'offering' && c.state !== 'offered')) renew(s, now, out);
  else tryJoin(s, now, out);
}

function pointChanged(s: Session, now: number, message: Server<'point'>, out: Effect[]): void {
  if (!s.seat) return;
  const next = apply(s.roster, message);
  if (next === 'gap') return resync(s, now, out);
  if (next === s.roster) return;
  s.roster = next;
  const change = { kind: message.change, point: message.point };
  out.push({ do: 'tell', event: { tell: 'roster', roster: next, change } });
}

function refused(s: Session, now: number, { id, code }: Server<'error'>, out: Effect[]): void {
  const c = s.connection;
  if (id === null && s.link.at === 'up' && s.link.resuming !== null && NOT_RESUMED.has(code)) return notResumed(s, now, out);
  if (FINAL.has(code)) return end(s, { at: 'failed', code }, out);
  if (id === null) return notPublished(s, code, out);
  if (id === s.floorAsked?.id) return tellRefused({ what: s.floorAsked.what, why: code }, out);
  if (c === null) return;
  if (id === c.asked) {
    if (code === 'room_full' || code === 'bad_name') return refuse(s, code, out);
    // An offer that no server will ever take is not sent for ever.
    if (code === 'bad_sdp' && c.renewals >= BAD_OFFERS_MAX) return end(s, { at: 'failed', code }, out);
    c.asked = null;
    return renewLater(s, now);
  }
  if (id === c.restart?.id) notRestarted(s, now, out);
}

/**
 * The refusal of a message without an id does not say of which. While the room does not know a source as it was told, it was that one: the
 * person hears of it, and the next switch tells it anew.
 */
function notPublished(s: Session, code: ErrorCode, out: Effect[]): void {
  const c = s.connection;
  const own = s.number === null ? undefined : s.roster.points.get(s.number);
  // What is still under way, or told anew with the seat, the room cannot know yet: a seat that it had to make anew has no sources before
  // the join that comes.
  const settled = s.seat && s.link.at === 'up' && s.link.resuming === null && (c === null || holdsMedia(c));
  if (!settled || own === undefined) return;
  const known = new Set(own.published);
  if (known.size === s.told.size && [...known].every((kind) => s.told.has(kind))) return;
  s.told = known;
  tellRefused({ what: 'publish', why: code }, out);
}

const FINAL: ReadonlySet<ErrorCode> = new Set(['bad_token', 'token_expired', 'unknown_room']);
/** The seat cannot be had again: another one is taken. */
const NOT_RESUMED: ReadonlySet<ErrorCode> = new Set([...FINAL, 'state', 'room_full']);
const BAD_OFFERS_MAX = 2;
