import { beforeEach, describe, expect, it } from 'vitest';
import { stateOf } from '../src/engine/session';
import {
  at, comeBack, did, drop, enter, give, joined, later, media, now, offer, open, pass, s, sent, server, start, welcome,
} from './session-scene';

beforeEach(open);

describe('the media path', () => {
  beforeEach(enter);
  it('that comes back within two seconds costs nothing', () => {
    media('disconnected');
    pass(1_900);
    expect(did('restart')).toBeUndefined();
    media('connected');
    expect(at()).toBe('in');
  });
  it('gets an ICE restart after two seconds, a new connection after five', () => {
    media('disconnected');
    pass(2_100);
    expect(did('restart')).toBeDefined();
    give({ on: 'restart_offer', connection: s.connection?.id ?? 0, sdp: 'v=0 r' });
    const id = sent('restart')?.id ?? 0;
    server({ type: 'restarted', id, answer: 'v=0 ra' });
    expect(did('accept')).toMatchObject({ answer: 'v=0 ra', slots: null });
    pass(3_500);
    expect(did('connect')).toBeDefined();
    offer();
    expect(sent('join')).toBeDefined();
  });
  /** Asks for a restart; its id. */
  const askRestart = (): number => {
    media('disconnected');
    pass(2_100);
    give({ on: 'restart_offer', connection: s.connection?.id ?? 0, sdp: 'v=0 r' });
    return sent('restart')?.id ?? 0;
  };
  it('that comes back before its restart is answered takes the answer still', () => {
    const id = askRestart();
    media('connected');
    expect(did('take_back')).toBeUndefined();
    server({ type: 'restarted', id, answer: 'v=0 ra' });
    expect(did('accept')).toMatchObject({ answer: 'v=0 ra' });
    // And the next stall is one of its own.
    expect(askRestart()).not.toBe(id);
    expect(sent('restart')).toBeDefined();
  });
  it('that comes back before its restart is refused stays, and the offer is forgotten', () => {
    const id = askRestart();
    media('connected');
    server({ type: 'error', id, code: 'state' });
    expect(did('take_back')).toBeDefined();
    pass(20_000);
    expect(did('connect')).toBeUndefined();
  });
  it.each([
    ['is refused by the node', (id: number) => server({ type: 'error', id, code: 'unavailable' })],
    ['is refused by the browser', (id: number) => {
      server({ type: 'restarted', id, answer: 'v=0 ra' });
      give({ on: 'broken', connection: s.connection?.id ?? 0 });
    }],
  ])('that comes back just after its restart %s has the next one', (_, refuse) => {
    refuse(askRestart());
    expect(did('take_back')).toBeUndefined();
    media('connected');
    expect(did('take_back')).toBeDefined();
    media('disconnected');
    pass(2_100);
    expect(did('restart')).toBeDefined();
  });
  it('forgets the offer of a restart whose answer went down with the link, once it works', () => {
    askRestart();
    drop();
    expect(did('take_back')).toBeUndefined();
    media('connected');
    expect(did('take_back')).toBeDefined();
    media('connected');
    expect(did('take_back')).toBeUndefined();
  });
  it('is restarted at once when the network changes', () => {
    media('disconnected');
    give({ on: 'network' });
    expect(did('restart')).toBeDefined();
  });
  it('that failed, or that the node lost, is made anew at once', () => {
    server({ type: 'media', state: 'lost' });
    expect(did('connect')).toBeDefined();
    // The same news again belongs to the connection before.
    server({ type: 'media', state: 'lost' });
    expect(did('connect')).toBeUndefined();
  });
  it('events of an older connection are not heard', () => {
    const old = s.connection?.id ?? 0;
    server({ type: 'media', state: 'lost' });
    offer();
    joined();
    give({ on: 'media', connection: old, state: 'failed' });
    expect(s.connection?.state).toBe('accepted');
  });
  it('that never comes up is tried again after ten seconds', () => {
    server({ type: 'media', state: 'lost' });
    offer();
    joined();
    const all = pass(12_000);
    expect(all.filter((e) => e.do === 'connect').length).toBe(1);
  });
});

describe('the line', () => {
  const ask = (): number => {
    start();
    server(welcome);
    give({ on: 'join', name: 'An', profile: 'laptop' });
    offer();
    return s.connection?.asked ?? 0;
  };
  const waits = (): unknown => {
    const state = stateOf(s, now);
    return state.at === 'joining' ? [state.waits, state.place] : state.at;
  };
  it('says at which place we are, and each word of it is a sign that the join is not lost', () => {
    const id = ask();
    expect(waits()).toEqual([null, null]);
    for (let place = 30; place > 0; place -= 1) {
      pass(1_000);
      const ping = sent('ping');
      if (ping !== undefined) server({ type: 'pong', id: ping.id });
      server({ type: 'queued', id, place });
      server({ type: 'queued', id: id + 99, place: 4_000 });
      expect(waits()).toEqual(['line', place]);
      expect(s.connection?.asked).toBe(id);
    }
    joined();
    expect(at()).toBe('in');
  });
  it('that falls silent is asked again with a new offer', () => {
    server({ type: 'queued', id: ask(), place: 3 });
    pass(29_999);
    expect(waits()).toEqual(['line', 3]);
    pass(1_000);
    expect(did('connect')).toBeDefined();
    expect(waits()).toEqual(['node', null]);
  });
  it('is asked as long as ever when its offer had to wait for the link', () => {
    ask();
    drop();
    later(40_000);
    comeBack();
    server(welcome);
    expect(sent('join')).toBeDefined();
    pass(1_000);
    expect(did('connect')).toBeUndefined();
    expect(waits()).toEqual([null, null]);
  });
  it('ends with the link, and begins anew on the next one', () => {
    server({ type: 'queued', id: ask(), place: 3 });
    drop();
    comeBack();
    server(welcome);
    expect(sent('join')).toBeDefined();
    expect(waits()).toEqual([null, null]);
  });
});
