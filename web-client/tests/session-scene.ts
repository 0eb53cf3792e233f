// One page's session with a server that only says what the test lets it say, on the test's clock.
import { deadline, handle, newSession, stateOf, type Effect, type Input, type Refusal, type Seat, type Session } from '../src/engine/session';
import type { ClientMessage, Point, ServerMessage } from '../src/engine/protocol';

export let s: Session;
export let now: number;
/** What the last input had done. */
export let last: Effect[];
export const me = 7;
export const point = (number: number, published: Point['published'] = []): Point => ({ number, name: `P${number}`, site: null, role: 'delegate', published, connected: true });
export const welcome: ServerMessage = { type: 'welcome', version: 3, server: 'x', room: { id: 'demo', title: 'Demo' }, name: '', site: null, role: 'delegate', points: 0,
  video: { codecs: ['vp9'], scalable: true } };

/** A page that is only just opened; for `beforeEach`. */
export const open = (): void => {
  s = newSession(() => 0.5);
  now = 1_000;
  last = [];
};
/** It is `ms` later, and no timer came. */
export const later = (ms: number): void => void (now += ms);
export const give = (input: Input): Effect[] => (last = handle(s, now, input));
export const server = (message: ServerMessage): Effect[] => give({ on: 'message', message });
export const sent = <T extends ClientMessage['type']>(type: T): Extract<ClientMessage, { type: T }> | undefined =>
  last.flatMap((e) => (e.do === 'send' ? [e.message] : [])).find((m): m is Extract<ClientMessage, { type: T }> => m.type === type);
export const did = <D extends Effect['do']>(what: D): Extract<Effect, { do: D }> | undefined => last.find((e): e is Extract<Effect, { do: D }> => e.do === what);
export const at = (): string => stateOf(s, now).at;
/** Lets time pass up to the next deadline. */
export const wait = (): Effect[] => {
  const due = deadline(s, now);
  if (due === null) throw new Error('nothing is due');
  now = Math.max(now, due);
  return give({ on: 'time' });
};
/** Lets `ms` pass, deadline by deadline. */
export const pass = (ms: number): Effect[] => {
  const all: Effect[] = [];
  const end = now + ms;
  for (let due = deadline(s, now); due !== null && due <= end; due = deadline(s, now)) {
    now = Math.max(now, due);
    all.push(...give({ on: 'time' }));
  }
  now = end;
  return (last = all);
};
export const start = (seat: Seat | null = null): void => {
  give({ on: 'start', token: 'T', seat, profile: 'laptop' });
  give({ on: 'opened' });
};
export const refused = (): Refusal[] => last.flatMap((e) => (e.do === 'tell' && e.event.tell === 'refused' ? [e.event.refusal] : []));
export const offer = (): Effect[] => {
  const id = s.connection?.id ?? 0;
  return give({ on: 'offer', connection: id, sdp: 'v=0 offer', sources: { mic: '0', camera: '1' } });
};
export const joined = (number = me): Effect[] => {
  const id = s.connection?.asked ?? 0;
  return server({ type: 'joined', id, number, resume: 'R1', answer: 'v=0 a', slots: { v0: '9' }, points: [point(number)], sequence: 10, floor: null });
};
export const media = (state: 'connected' | 'disconnected' | 'failed'): Effect[] => give({ on: 'media', connection: s.connection?.id ?? 0, state });
export const enter = (): void => {
  start();
  server(welcome);
  give({ on: 'join', name: 'An', profile: 'laptop' });
  offer();
  joined();
  media('connected');
};
export const drop = (code = 1006): Effect[] => give({ on: 'closed', code });
export const comeBack = (): void => {
  while (!did('open')) wait();
  give({ on: 'opened' });
};
