// One page's session with one room: what to do next, told the time and what happened. It owns no socket, connection, clock or chance;
// it answers with effects that drivers run. docs/PROTOCOL.md is the law it follows.
//
//   idle -> connecting -> ready -> joining -> in (<-> reconnecting) -> left | failed
//
// Two roads are watched apart: the link (WebSocket) and the media path. Media goes on while the link is away, and the other way round.
import { closed, dead, linkDeadline, linkTime, opened, sendMessage, startLink, type Link } from './session-link';
import { broken, mediaChanged, mediaDeadline, makeReady, mediaTime, offerMade, restartMade, type Connection } from './session-media';
import { received } from './session-messages';
import { EMPTY_ROSTER, type Roster } from './roster';
import type {
  ClientMessage, ClientStats, ErrorCode, Kind, Point, Profile, Server, ServerMessage, SlotChange, SlotQuality, Sources, VideoRules, Wish,
} from './protocol';

export type Input =
  /** The page has a token; `seat` is what an earlier page in this tab kept, `profile` this page's own. */
  | { on: 'start'; token: string; seat: Seat | null; profile: Profile }
  | { on: 'join'; name: string; profile: Profile }
  | { on: 'leave' }
  /** A person asks to try again after `failed` or `left`. */
  | { on: 'again' }
  | { on: 'opened' }
  /** `stayAway`: milliseconds that the server wants no new try, if it refused the socket. */
  | { on: 'closed'; code: number; stayAway?: number }
  | { on: 'message'; message: ServerMessage }
  | { on: 'offer'; connection: number; sdp: string; sources: Sources }
  | { on: 'restart_offer'; connection: number; sdp: string }
  /** The offer or an answer could not be used. */
  | { on: 'broken'; connection: number }
  | { on: 'media'; connection: number; state: 'connected' | 'disconnected' | 'failed' }
  | { on: 'publish'; source: Kind; live: boolean }
  | { on: 'view'; slots: Wish[] }
  | { on: 'stats'; stats: ClientStats }
  /** Gives the floor to a point; null: takes it from whoever has it. */
  | { on: 'floor'; number: number | null }
  /** The network or the page came back: whatever waits is done now. */
  | { on: 'network' }
  | { on: 'time' };

export type Effect =
  | { do: 'open' }
  | { do: 'close'; code: number }
  | { do: 'send'; message: ClientMessage }
  /** Drop the old media connection, make a new one and tell its offer by `offer`. */
  | { do: 'connect'; connection: number; video: VideoRules }
  | { do: 'accept'; connection: number; answer: string; slots: Readonly<Record<string, string>> | null }
  | { do: 'restart'; connection: number }
  /** Forget the offer of a restart. */
  | { do: 'take_back'; connection: number }
  /** Send as the server says. A later order replaces an earlier one. */
  | { do: 'order'; connection: number; order: SendOrder }
  | { do: 'disconnect' }
  /** Keep (or forget) the seat for a reload of this tab. */
  | { do: 'keep'; seat: Seat | null }
  | { do: 'tell'; event: Told };

/** What the session tells the page. */
export type Told =
  | { tell: 'state'; state: State }
  | { tell: 'roster'; roster: Roster; change: { kind: 'joined' | 'changed' | 'left'; point: Point } | null }
  /** The slots hold something else; `reset` forgets all that was before (a new connection). */
  | { tell: 'slots'; changes: readonly SlotChange[]; reset: boolean }
  /** What all slots get that have something wanted in them. */
  | { tell: 'quality'; slots: readonly SlotQuality[] }
  /** What this page is to send; null: nothing was said yet on this connection. */
  | { tell: 'order'; order: SendOrder | null }
  | { tell: 'speaker'; number: number | null }
  /** Who has the floor. */
  | { tell: 'floor'; number: number | null }
  /** Something that the person asked for did not happen. */
  | { tell: 'refused'; refusal: Refusal };

export interface Refusal {
  what: 'give_floor' | 'take_floor' | 'publish';
  /** `away`: it was not even asked, for there is no link. */
  why: ErrorCode | 'away';
}

export type SendOrder = Server<'send'>;

export interface Seat {
  resume: string;
  name: string;
  /** Of the page that kept it. The next one may be on another screen, and goes by its own. */
  profile: Profile;
}

export type Failure = ErrorCode | 'closed';
export type Trouble = 'link' | 'media';
export type State =
  | { at: 'idle' }
  | { at: 'connecting'; welcome: null; late: boolean }
  | { at: 'ready'; welcome: Server<'welcome'>; refused: ErrorCode | null; late: boolean }
  /** `place`: ours in the line, while the server makes us wait. */
  | { at: 'joining'; welcome: Server<'welcome'> | null; waits: 'link' | 'node' | 'line' | null; place: number | null }
  | { at: 'in'; welcome: Server<'welcome'> | null; number: number }
  | { at: 'reconnecting'; welcome: Server<'welcome'> | null; number: number; what: Trouble }
  | { at: 'left'; why: 'self' | 'taken' | 'ended' }
  | { at: 'failed'; code: Failure };

export interface Session {
  /** What the person wants: look at the first page, be in the meeting, or nothing any more. */
  goal: 'nothing' | 'preview' | 'meeting';
  end: Extract<State, { at: 'left' | 'failed' }> | null;
  token: string;
  resume: string | null;
  wish: { name: string; profile: Profile } | null;
  welcome: Server<'welcome'> | null;
  refused: ErrorCode | null;
  link: Link;
  /** Why the server ends this link, as it said before the close. */
  bye: ErrorCode | null;
  /** Our number in the room; it stays while a lost seat is taken again. */
  number: number | null;
  /** The server knows us on this seat, as far as the last link said. */
  seat: boolean;
  /** This page has been in: a seat of an earlier page alone does not count. */
  entered: boolean;
  connection: Connection | null;
  roster: Roster;
  published: Set<Kind>;
  /** What the server knows of `published`. */
  told: Set<Kind>;
  view: Wish[];
  /** The wishes that the server knows, as text. */
  viewSent: string;
  /** When the last `stats` went out. */
  statsAt: number;
  /** What was last asked for of the floor; nothing but its refusal has an answer. */
  floorAsked: { id: number; what: Exclude<Refusal['what'], 'publish'> } | null;
  nextId: number;
  random: () => number;
  shown: string;
}

export function newSession(random: () => number): Session {
  return {
    goal: 'nothing', end: null, token: '', resume: null, wish: null, welcome: null, refused: null,
    link: { at: 'down' }, bye: null, number: null, seat: false, entered: false, connection: null, roster: EMPTY_ROSTER,
    published: new Set(), told: new Set(), view: [], viewSent: '[]', statsAt: -Infinity, floorAsked: null, nextId: 1, random, shown: '',
  };
}

/** Takes one input at `now` (milliseconds on any steady clock) and answers with what is to be done, in order. */
export function handle(s: Session, now: number, input: Input): Effect[] {
  const out: Effect[] = [];
  take(s, now, input, out);
  const state = stateOf(s, now);
  const key = JSON.stringify(state);
  if (key !== s.shown) {
    s.shown = key;
    out.push({ do: 'tell', event: { tell: 'state', state } });
  }
  return out;
}

/** When `time` is due, on the clock of `handle`; null: nothing is waited for. */
export function deadline(s: Session, now: number): number | null {
  const soonest = Math.min(linkDeadline(s), mediaDeadline(s), lateAt(s, now));
  return Number.isFinite(soonest) ? soonest : null;
}

export function stateOf(s: Session, now: number): State {
  if (s.end !== null) return s.end;
  const late = downFor(s, now) >= LATE_MS;
  if (s.goal === 'nothing') return { at: 'idle' };
  if (s.goal === 'preview') {
    return s.welcome === null ? { at: 'connecting', welcome: null, late } : { at: 'ready', welcome: s.welcome, refused: s.refused, late };
  }
  const c = s.connection;
  if (s.number === null || c === null || !s.entered) {
    const place = c?.state === 'asked' ? c.place : null;
    const waits = late ? 'link' : place !== null ? 'line' : (c?.renewals ?? 0) > 0 ? 'node' : null;
    return { at: 'joining', welcome: s.welcome, waits, place };
  }
  const settling = c.state === 'accepted' && !c.wasConnected && c.renewals === 0;
  // Media first: whoever hears and sees nothing must not be told that sound and pictures go on.
  const trouble: Trouble | null = c.state !== 'connected' && !settling ? 'media' : late || !s.seat ? 'link' : null;
  if (trouble !== null) return { at: 'reconnecting', welcome: s.welcome, number: s.number, what: trouble };
  return { at: 'in', welcome: s.welcome, number: s.number };
}

function take(s: Session, now: number, input: Input, out: Effect[]): void {
  switch (input.on) {
    case 'start':
      start(s, now, input.token, out);
      if (input.seat !== null) takeSeat(s, now, input.seat, input.profile, out);
      return;
    case 'join':
      return join(s, now, input.name, input.profile, out);
    case 'leave':
      if (s.link.at === 'up') out.push({ do: 'send', message: { type: 'leave' } });
      return end(s, { at: 'left', why: 'self' }, out);
    case 'again':
      return again(s, now, out);
    case 'opened':
      return opened(s, now, out);
    case 'closed':
      return closed(s, now, input.code, input.stayAway ?? 0, out);
    case 'message':
      return received(s, now, input.message, out);
    case 'offer':
      return offerMade(s, now, input, out);
    case 'restart_offer':
      return restartMade(s, now, input, out);
    case 'broken':
      return broken(s, now, input.connection);
    case 'media':
      return mediaChanged(s, now, input, out);
    case 'publish':
      if (input.live) s.published.add(input.source);
      else s.published.delete(input.source);
      return tellPublished(s, out);
    case 'view':
      s.view = input.slots;
      return tellView(s, out);
    case 'stats':
      return tellStats(s, now, input.stats, out);
    case 'floor':
      return tellFloor(s, input.number, out);
    case 'network':
    case 'time': {
      const urgent = input.on === 'network';
      linkTime(s, now, urgent, out);
      mediaTime(s, now, urgent, out);
      return;
    }
    default: {
      const _: never = input;
      return _;
    }
  }
}

function start(s: Session, now: number, token: string, out: Effect[]): void {
  s.token = token;
  s.goal = 'preview';
  startLink(s, now, out);
}

function takeSeat(s: Session, now: number, seat: Seat, profile: Profile, out: Effect[]): void {
  s.resume = seat.resume;
  join(s, now, seat.name, profile, out);
}

function join(s: Session, now: number, name: string, profile: Profile, out: Effect[]): void {
  if (s.goal === 'meeting' || s.end !== null) return;
  s.goal = 'meeting';
  s.refused = null;
  s.wish = { name, profile };
  makeReady(s, now, out);
}

function again(s: Session, now: number, out: Effect[]): void {
  if (s.end === null) return;
  const token = s.token;
  const published = s.published;
  Object.assign(s, newSession(s.random), { nextId: s.nextId, published, view: s.view });
  start(s, now, token, out);
}

/** The session is over: everything is let go, the seat's token too. */
export function end(s: Session, state: NonNullable<Session['end']>, out: Effect[]): void {
  if (s.end !== null) return;
  s.end = state;
  s.goal = 'nothing';
  s.resume = null;
  s.connection = null;
  if (s.link.at !== 'down') out.push({ do: 'close', code: 1000 });
  s.link = { at: 'down' };
  out.push({ do: 'disconnect' }, { do: 'keep', seat: null });
}

/** The room does not take us now; the person stays on the first page and may try again. */
export function refuse(s: Session, code: ErrorCode, out: Effect[]): void {
  s.goal = 'preview';
  s.refused = code;
  s.number = null;
  s.seat = false;
  s.entered = false;
  s.resume = null;
  s.connection = null;
  out.push({ do: 'disconnect' }, { do: 'keep', seat: null });
}

/** The seat is ours (again): say what changed while nobody listened. */
export function seated(s: Session, number: number, resume: string, out: Effect[]): void {
  s.number = number;
  s.seat = true;
  s.resume = resume;
  if (s.link.at === 'up') s.link.attempt = 0;
  if (s.wish !== null) out.push({ do: 'keep', seat: { resume, ...s.wish } });
  tellPublished(s, out);
  tellView(s, out);
}

export function resync(s: Session, now: number, out: Effect[]): void {
  dead(s, now, out);
}

function tellPublished(s: Session, out: Effect[]): void {
  if (s.link.at !== 'up' || s.link.resuming !== null || !s.seat) return;
  for (const source of new Set([...s.published, ...s.told])) {
    const on = s.published.has(source);
    if (on !== s.told.has(source)) sendMessage(s, { type: 'publish', source, on }, out);
  }
  s.told = new Set(s.published);
}

function tellView(s: Session, out: Effect[]): void {
  if (s.link.at !== 'up' || s.link.resuming !== null || !s.seat) return;
  const text = JSON.stringify(s.view);
  if (text === s.viewSent) return;
  s.viewSent = text;
  sendMessage(s, { type: 'view', slots: s.view }, out);
}

function tellStats(s: Session, now: number, stats: ClientStats, out: Effect[]): void {
  if (s.link.at !== 'up' || s.link.resuming !== null || !s.seat || now - s.statsAt < STATS_MS) return;
  s.statsAt = now;
  sendMessage(s, { type: 'stats', ...stats }, out);
}

/** Without a link it is not kept: what was meant for this moment must not happen a minute later. */
function tellFloor(s: Session, point: number | null, out: Effect[]): void {
  const what = point === null ? 'take_floor' : 'give_floor';
  if (s.link.at !== 'up' || s.link.resuming !== null || !s.seat) return tellRefused({ what, why: 'away' }, out);
  const id = s.nextId++;
  s.floorAsked = { id, what };
  sendMessage(s, point === null ? { type: 'take_floor', id } : { type: 'give_floor', id, point }, out);
}

export function tellRefused(refusal: Refusal, out: Effect[]): void {
  out.push({ do: 'tell', event: { tell: 'refused', refusal } });
}

/** How long the link has been away; 0 while it is up. */
function downFor(s: Session, now: number): number {
  return 'downSince' in s.link ? now - s.link.downSince : 0;
}

function lateAt(s: Session, now: number): number {
  if (!('downSince' in s.link)) return Infinity;
  const at = s.link.downSince + LATE_MS;
  return at > now ? at : Infinity;
}

// A link that is away for less than this is nobody's concern: sound and pictures go on.
const LATE_MS = 2_000;
// Once a second, by a timer that may come a little early; whatever comes sooner is dropped.
const STATS_MS = 800;
