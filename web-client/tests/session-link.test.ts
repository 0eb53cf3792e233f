import { beforeEach, describe, expect, it } from 'vitest';
import { deadline, stateOf, type Effect } from '../src/engine/session';
import {
  at, comeBack, did, drop, enter, give, joined, later, me, media, now, offer, open, pass, point, s, sent, server, start, wait, welcome,
} from './session-scene';

beforeEach(open);

describe('the link', () => {
  beforeEach(enter);
  it('is gone for less than two seconds: nobody is told', () => {
    drop();
    expect(at()).toBe('in');
    later(2_000);
    expect(stateOf(s, now)).toMatchObject({ at: 'reconnecting', what: 'link' });
  });
  it('is gone together with the media: nobody is told that sound and pictures go on', () => {
    drop();
    media('disconnected');
    later(2_000);
    expect(stateOf(s, now)).toMatchObject({ at: 'reconnecting', what: 'media' });
    media('connected');
    expect(stateOf(s, now)).toMatchObject({ at: 'reconnecting', what: 'link' });
  });
  it('comes back with the resume token and the media is untouched', () => {
    drop();
    comeBack();
    expect(sent('hello')?.resume).toBe('R1');
    server(welcome);
    expect(sent('join')).toBeUndefined();
    server({ type: 'resumed', number: me, resume: 'R2', media: 'kept', slots: [], points: [point(me), point(9)], sequence: 40, floor: null });
    expect(did('connect')).toBeUndefined();
    expect(did('keep')?.seat?.resume).toBe('R2');
    expect(s.roster.points.has(9)).toBe(true);
    expect(at()).toBe('in');
  });
  it('tells on return what changed while it was away', () => {
    drop();
    give({ on: 'publish', source: 'mic', live: true });
    give({ on: 'view', slots: [{ slot: 'v1', source: 37, height: 360 }] });
    comeBack();
    server(welcome);
    expect(sent('publish')).toBeUndefined();
    server({ type: 'resumed', number: me, resume: 'R2', media: 'kept', slots: [], points: [point(me)], sequence: 40, floor: null });
    expect(sent('publish')).toEqual({ type: 'publish', source: 'mic', on: true });
    expect(sent('view')?.slots).toHaveLength(1);
  });
  it('tells on return that nothing is looked at any more, and once only', () => {
    give({ on: 'view', slots: [{ slot: 'v1', source: 37, height: 360 }] });
    drop();
    give({ on: 'view', slots: [] });
    comeBack();
    server(welcome);
    server({ type: 'resumed', number: me, resume: 'R2', media: 'kept', slots: [], points: [point(me)], sequence: 40, floor: null });
    expect(sent('view')?.slots).toEqual([]);
    give({ on: 'view', slots: [] });
    expect(sent('view')).toBeUndefined();
  });
  it('media that the node lost is made anew on the same seat', () => {
    drop();
    comeBack();
    server(welcome);
    server({ type: 'resumed', number: me, resume: 'R2', media: 'lost', slots: [], points: [point(me)], sequence: 40, floor: null });
    expect(did('connect')).toBeDefined();
    offer();
    expect(sent('join')).toBeDefined();
    expect(at()).toBe('reconnecting');
    joined();
    media('connected');
    expect(at()).toBe('in');
  });
  it('a seat that is gone is taken anew without a question', () => {
    drop();
    comeBack();
    server(welcome);
    server({ type: 'error', id: null, code: 'bad_token' });
    expect(did('connect')).toBeDefined();
    offer();
    expect(sent('join')?.name).toBe('An');
    joined(12);
    media('connected');
    expect(stateOf(s, now)).toMatchObject({ at: 'in', number: 12 });
  });
  it('retries within half a second, then ever later, never beyond eight seconds', () => {
    drop();
    const waits: number[] = [];
    for (let i = 0; i < 12; i++) {
      const before = now;
      do wait(); while (!did('open'));
      waits.push(now - before);
      drop();
    }
    expect(waits[0]).toBe(250);
    expect(waits[1]).toBe(425);
    expect(waits.at(-1)).toBe(4_000);
  });
  it('returns at once when the network does', () => {
    drop();
    give({ on: 'network' });
    expect(did('open')).toBeDefined();
  });
  it('that is silent is given up within 12 seconds', () => {
    const all = pass(12_000);
    expect(all.some((e) => e.do === 'close')).toBe(true);
    expect(all.some((e) => e.do === 'open')).toBe(true);
  });
  it('that answers is left alone', () => {
    for (let i = 0; i < 20; i++) {
      wait();
      const ping = sent('ping');
      if (ping !== undefined) server({ type: 'pong', id: ping.id });
      expect(did('close')).toBeUndefined();
    }
  });
  it('with a gap in the roster is made anew; what was seen twice is ignored', () => {
    server({ type: 'point', sequence: 11, change: 'joined', point: point(9) });
    server({ type: 'point', sequence: 11, change: 'joined', point: point(9) });
    expect(did('close')).toBeUndefined();
    server({ type: 'point', sequence: 13, change: 'left', point: point(9) });
    expect(did('close')).toBeDefined();
    expect(s.roster.points.has(9)).toBe(true);
  });
  it.each([[4409, { at: 'left', why: 'taken' }], [4404, { at: 'failed', code: 'unknown_room' }], [4401, { at: 'failed', code: 'bad_token' }], [1008, { at: 'failed', code: 'closed' }], [1000, { at: 'left', why: 'ended' }]])(
    'closed with %i does not come back by itself',
    (code, state) => {
      drop(code);
      expect(stateOf(s, now)).toEqual(state);
      expect(deadline(s, now)).toBeNull();
      expect(did('keep')?.seat).toBeNull();
    },
  );
});

describe('a thin line in a large room', () => {
  const resumed = (): Effect[] =>
    server({ type: 'resumed', number: me, resume: 'R2', media: 'kept', slots: [], points: [point(me)], sequence: 40, floor: null });
  /** A ping was sent behind the long message, as its answer is. */
  const pong = (all: Effect[]): void => {
    for (const e of all) if (e.do === 'send' && e.message.type === 'ping') server({ type: 'pong', id: e.message.id });
  };
  it('is waited for while the seat’s answer is under way', () => {
    enter();
    drop();
    comeBack();
    server(welcome);
    const all = pass(25_000);
    expect(all.filter((e) => e.do === 'close' || e.do === 'open')).toEqual([]);
    resumed();
    pong(all);
    expect(did('close')).toBeUndefined();
    expect(at()).toBe('in');
    expect(pass(12_000).some((e) => e.do === 'close')).toBe(true);
  });
  it('is waited for while the answer to a join is under way', () => {
    start();
    server(welcome);
    give({ on: 'join', name: 'An', profile: 'laptop' });
    offer();
    const all = pass(25_000);
    expect(all.filter((e) => e.do === 'close' || e.do === 'connect')).toEqual([]);
    joined();
    pong(all);
    expect(at()).toBe('in');
    expect(did('close')).toBeUndefined();
  });
  it('is not waited for that long once the network came back: it may be another one', () => {
    enter();
    drop();
    comeBack();
    server(welcome);
    give({ on: 'network' });
    expect(pass(5_900).some((e) => e.do === 'close')).toBe(false);
    expect(pass(100).some((e) => e.do === 'close')).toBe(true);
  });
  it('that is too thin is tried ever more seldom, until the seat is there', () => {
    enter();
    const waits: number[] = [];
    for (let i = 0; i < 3; i++) {
      drop();
      const before = now;
      comeBack();
      waits.push(now - before);
      server(welcome);
    }
    expect(waits).toEqual([250, 425, 722]);
    resumed();
    drop();
    const before = now;
    comeBack();
    expect(now - before).toBe(250);
  });
});

describe('a refused socket', () => {
  it('is not tried again before the server wants it, whatever comes back meanwhile', () => {
    give({ on: 'start', token: 'T', seat: null, profile: 'laptop' });
    give({ on: 'closed', code: 1006, stayAway: 5_000 });
    const all = [...pass(4_900), ...give({ on: 'network' })];
    expect(all.filter((e) => e.do === 'open')).toEqual([]);
    pass(100);
    give({ on: 'network' });
    expect(did('open')).toBeDefined();
  });
  it('without a word is tried again by the law, at once when the network is back', () => {
    give({ on: 'start', token: 'T', seat: null, profile: 'laptop' });
    drop();
    give({ on: 'network' });
    expect(did('open')).toBeDefined();
  });
});
