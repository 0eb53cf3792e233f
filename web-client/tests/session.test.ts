import { beforeEach, describe, expect, it } from 'vitest';
import { deadline, handle, newSession, stateOf, type Effect, type Input, type Refusal, type Seat, type Session } from '../src/engine/session';
import type { ClientMessage, Point, ServerMessage } from '../src/engine/protocol';

let s: Session;
let now: number;
let last: Effect[];
const me = 7;
const point = (number: number, published: Point['published'] = []): Point => ({ number, name: `P${number}`, site: null, role: 'delegate', published, connected: true });
const welcome: ServerMessage = { type: 'welcome', version: 3, server: 'x', room: { id: 'demo', title: 'Demo' }, name: '', site: null, role: 'delegate', points: 0,
  video: { codecs: ['vp9'], scalable: true } };

beforeEach(() => {
  s = newSession(() => 0.5);
  now = 1_000;
  last = [];
});
const give = (input: Input): Effect[] => (last = handle(s, now, input));
const server = (message: ServerMessage): Effect[] => give({ on: 'message', message });
const sent = <T extends ClientMessage['type']>(type: T): Extract<ClientMessage, { type: T }> | undefined =>
  last.flatMap((e) => (e.do === 'send' ? [e.message] : [])).find((m): m is Extract<ClientMessage, { type: T }> => m.type === type);
const did = <D extends Effect['do']>(what: D): Extract<Effect, { do: D }> | undefined => last.find((e): e is Extract<Effect, { do: D }> => e.do === what);
const at = (): string => stateOf(s, now).at;
/** Lets time pass up to the next deadline. */
const wait = (): Effect[] => {
  const due = deadline(s, now);
  if (due === null) throw new Error('nothing is due');
  now = Math.max(now, due);
  return give({ on: 'time' });
};
/** Lets `ms` pass, deadline by deadline. */
const pass = (ms: number): Effect[] => {
  const all: Effect[] = [];
  const end = now + ms;
  for (let due = deadline(s, now); due !== null && due <= end; due = deadline(s, now)) {
    now = Math.max(now, due);
    all.push(...give({ on: 'time' }));
  }
  now = end;
  return (last = all);
};
const start = (seat: Seat | null = null): void => {
  give({ on: 'start', token: 'T', seat });
  give({ on: 'opened' });
};
const refused = (): Refusal[] => last.flatMap((e) => (e.do === 'tell' && e.event.tell === 'refused' ? [e.event.refusal] : []));
const offer = (): Effect[] => {
  const id = s.connection?.id ?? 0;
  return give({ on: 'offer', connection: id, sdp: 'v=0 offer', sources: { mic: '0', camera: '1' } });
};
const joined = (number = me): Effect[] => {
  const id = s.connection?.asked ?? 0;
  return server({ type: 'joined', id, number, resume: 'R1', answer: 'v=0 a', slots: { v0: '9' }, points: [point(number)], sequence: 10, floor: null });
};
const media = (state: 'connected' | 'disconnected' | 'failed'): Effect[] => give({ on: 'media', connection: s.connection?.id ?? 0, state });
const enter = (): void => {
  start();
  server(welcome);
  give({ on: 'join', name: 'An', profile: 'laptop' });
  offer();
  joined();
  media('connected');
};
const drop = (code = 1006): Effect[] => give({ on: 'closed', code });
const comeBack = (): void => {
  while (!did('open')) wait();
  give({ on: 'opened' });
};

describe('joining', () => {
  it('greets, asks for the seat with the offer, takes the answer, keeps the seat for a reload', () => {
    start();
    expect(sent('hello')).toEqual({ type: 'hello', version: 3, token: 'T', resume: null });
    server(welcome);
    expect(at()).toBe('ready');
    give({ on: 'publish', source: 'mic', live: true });
    give({ on: 'join', name: 'An', profile: 'laptop' });
    expect(did('connect')?.video).toEqual({ codecs: ['vp9'], scalable: true });
    expect(at()).toBe('joining');
    offer();
    expect(sent('join')).toMatchObject({ name: 'An', sources: { mic: '0', camera: '1' }, published: ['mic'], offer: 'v=0 offer' });
    joined();
    expect(did('accept')).toMatchObject({ answer: 'v=0 a', slots: { v0: '9' } });
    expect(did('keep')?.seat).toEqual({ resume: 'R1', name: 'An', profile: 'laptop' });
    expect(at()).toBe('in');
  });
  it('does not wait for the link: a click before welcome is kept, and the offer is made when the room has told its codecs', () => {
    give({ on: 'start', token: 'T', seat: null });
    give({ on: 'join', name: 'An', profile: 'laptop' });
    give({ on: 'opened' });
    expect(did('connect')).toBeUndefined();
    server(welcome);
    expect(did('connect')?.video.codecs).toEqual(['vp9']);
    offer();
    expect(sent('join')?.name).toBe('An');
  });
  it('a device that comes while the answer is on its way is told after it', () => {
    start();
    server(welcome);
    give({ on: 'join', name: 'An', profile: 'laptop' });
    offer();
    give({ on: 'publish', source: 'camera', live: true });
    expect(sent('publish')).toBeUndefined();
    joined();
    expect(sent('publish')).toEqual({ type: 'publish', source: 'camera', on: true });
  });
  it('a full room sends the person back to the first page, and the button works again', () => {
    start();
    server(welcome);
    give({ on: 'join', name: 'An', profile: 'laptop' });
    offer();
    server({ type: 'error', id: s.connection?.asked ?? 0, code: 'room_full' });
    expect(stateOf(s, now)).toMatchObject({ at: 'ready', refused: 'room_full' });
    give({ on: 'join', name: 'An', profile: 'laptop' });
    offer();
    expect(sent('join')).toBeDefined();
  });
  it('a node that is away is asked again, with growing patience', () => {
    start();
    server(welcome);
    give({ on: 'join', name: 'An', profile: 'laptop' });
    const waits: number[] = [];
    for (let i = 0; i < 8; i++) {
      offer();
      server({ type: 'error', id: s.connection?.asked ?? 0, code: 'unavailable' });
      const before = now;
      while (!did('connect')) {
        wait();
        if (sent('ping') !== undefined) server({ type: 'pong', id: sent('ping')?.id ?? 0 });
      }
      waits.push(now - before);
    }
    expect(at()).toBe('joining');
    expect(waits[0]).toBe(250);
    expect(waits.at(-1)).toBe(4_000);
  });
  it('an offer that is refused three times is not sent for ever', () => {
    start();
    server(welcome);
    give({ on: 'join', name: 'An', profile: 'laptop' });
    for (let i = 0; i < 3; i++) {
      offer();
      server({ type: 'error', id: s.connection?.asked ?? 0, code: 'bad_sdp' });
      if (i < 2) pass(2_000);
    }
    expect(stateOf(s, now)).toEqual({ at: 'failed', code: 'bad_sdp' });
  });
});

describe('the link', () => {
  beforeEach(enter);
  it('is gone for less than two seconds: nobody is told', () => {
    drop();
    expect(at()).toBe('in');
    now += 2_000;
    expect(stateOf(s, now)).toMatchObject({ at: 'reconnecting', what: 'link' });
  });
  it('is gone together with the media: nobody is told that sound and pictures go on', () => {
    drop();
    media('disconnected');
    now += 2_000;
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

describe('a reload', () => {
  const seat: Seat = { resume: 'R1', name: 'An', profile: 'laptop' };
  it('takes the same seat with new media, without a click', () => {
    start(seat);
    expect(sent('hello')?.resume).toBe('R1');
    expect(at()).toBe('joining');
    server(welcome);
    expect(did('connect')).toBeDefined();
    offer();
    expect(sent('join')).toBeUndefined();
    server({ type: 'resumed', number: me, resume: 'R2', media: 'kept', slots: [], points: [point(me, ['mic'])], sequence: 4, floor: null });
    expect(sent('join')).toMatchObject({ name: 'An' });
    expect(at()).toBe('joining');
    joined();
    expect(stateOf(s, now)).toMatchObject({ at: 'in', number: me });
  });
  it('after the seat is gone takes a new one', () => {
    start(seat);
    server(welcome);
    offer();
    server({ type: 'error', id: null, code: 'token_expired' });
    expect(sent('join')).toMatchObject({ name: 'An' });
  });
});

describe('the end', () => {
  it('leaving says so, lets everything go and forgets the seat', () => {
    enter();
    give({ on: 'leave' });
    expect(last.map((e) => e.do)).toEqual(['send', 'close', 'disconnect', 'keep', 'tell']);
    expect(at()).toBe('left');
    give({ on: 'again' });
    expect(did('open')).toBeDefined();
    expect(at()).toBe('connecting');
  });
  it('is told as the server said it, if the close itself says nothing', () => {
    enter();
    server({ type: 'bye', code: 'bad_message' });
    drop(4400);
    expect(stateOf(s, now)).toEqual({ at: 'failed', code: 'bad_message' });
    give({ on: 'again' });
    give({ on: 'opened' });
    drop(1009);
    expect(stateOf(s, now)).toEqual({ at: 'failed', code: 'closed' });
  });
  it('a bad token at the door is final', () => {
    start();
    server({ type: 'error', id: null, code: 'token_expired' });
    drop(4401);
    expect(stateOf(s, now)).toEqual({ at: 'failed', code: 'token_expired' });
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
    now += 40_000;
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

describe('a refused socket', () => {
  it('is not tried again before the server wants it, whatever comes back meanwhile', () => {
    give({ on: 'start', token: 'T', seat: null });
    give({ on: 'closed', code: 1006, stayAway: 5_000 });
    const all = [...pass(4_900), ...give({ on: 'network' })];
    expect(all.filter((e) => e.do === 'open')).toEqual([]);
    pass(100);
    give({ on: 'network' });
    expect(did('open')).toBeDefined();
  });
  it('without a word is tried again by the law, at once when the network is back', () => {
    give({ on: 'start', token: 'T', seat: null });
    drop();
    give({ on: 'network' });
    expect(did('open')).toBeDefined();
  });
});

describe('quality', () => {
  const order: ServerMessage = {
    type: 'send', voice_ms: 60,
    sources: [{ source: 'camera', layers: [{ active: true, bitrate: 150_000, fps: 15 }], cause: 'sender_line', line: 'tinh.co-to', line_name: 'Cô Tô' }],
  };
  const stats = {
    cpu_limited: false, encoder_limited: false, frames_decoded: 30, freezes: 0, freeze_ms: 0, concealed_ppm: 0, audio_delay_ms: 40,
  };
  it('an order goes to the connection that it is for, and to the page', () => {
    enter();
    server(order);
    expect(did('order')).toEqual({ do: 'order', connection: s.connection?.id, order });
    expect(last).toContainEqual({ do: 'tell', event: { tell: 'order', order } });
  });
  it('an order that comes while a new connection is made is for the old one', () => {
    enter();
    server({ type: 'media', state: 'lost' });
    expect(server(order)).toEqual([]);
    offer();
    expect(server(order)).toEqual([]);
    joined();
    expect(last).toContainEqual({ do: 'tell', event: { tell: 'order', order: null } });
    expect(last).toContainEqual({ do: 'tell', event: { tell: 'quality', slots: [] } });
    server(order);
    expect(did('order')?.connection).toBe(s.connection?.id);
  });
  it('what the slots get is told to the page, with nothing said to the server', () => {
    enter();
    const slots = [{ slot: 'v0', height: 180, rate: 100, cause: 'path' as const, line: null, line_name: null }];
    expect(server({ type: 'quality', slots })).toEqual([{ do: 'tell', event: { tell: 'quality', slots } }]);
  });
  it('is reported at most once a second', () => {
    enter();
    expect(give({ on: 'stats', stats }).length).toBe(1);
    expect(sent('stats')).toEqual({ type: 'stats', ...stats });
    now += 500;
    expect(give({ on: 'stats', stats })).toEqual([]);
    now += 500;
    expect(give({ on: 'stats', stats }).length).toBe(1);
  });
  it('is not reported without a seat or a link', () => {
    start();
    server(welcome);
    expect(give({ on: 'stats', stats })).toEqual([]);
    give({ on: 'join', name: 'An', profile: 'laptop' });
    offer();
    joined();
    drop();
    expect(give({ on: 'stats', stats })).toEqual([]);
  });
});

describe('the floor', () => {
  const told = (): (number | null)[] => last.flatMap((e) => (e.do === 'tell' && e.event.tell === 'floor' ? [e.event.number] : []));
  it('is what the seat begins with and what comes later', () => {
    enter();
    server({ type: 'floor', number: 9 });
    expect(told()).toEqual([9]);
    drop();
    comeBack();
    server(welcome);
    server({ type: 'resumed', number: me, resume: 'R2', media: 'kept', slots: [], points: [point(me)], sequence: 40, floor: null });
    expect(told()).toEqual([null]);
  });
  it('is given and taken now or never', () => {
    enter();
    give({ on: 'floor', number: 9 });
    expect(sent('give_floor')).toMatchObject({ point: 9 });
    give({ on: 'floor', number: null });
    expect(sent('take_floor')).toBeDefined();
    drop();
    give({ on: 'floor', number: 9 });
    comeBack();
    server(welcome);
    server({ type: 'resumed', number: me, resume: 'R2', media: 'kept', slots: [], points: [point(me)], sequence: 40, floor: null });
    expect(sent('give_floor')).toBeUndefined();
  });
  it('that the server refuses is told, and only its own refusal', () => {
    enter();
    give({ on: 'floor', number: 9 });
    server({ type: 'error', id: 4_000, code: 'internal' });
    expect(refused()).toEqual([]);
    give({ on: 'floor', number: 9 });
    server({ type: 'error', id: sent('give_floor')?.id ?? 0, code: 'state' });
    expect(refused()).toEqual([{ what: 'give_floor', why: 'state' }]);
    give({ on: 'floor', number: null });
    server({ type: 'error', id: sent('take_floor')?.id ?? 0, code: 'not_allowed' });
    expect(refused()).toEqual([{ what: 'take_floor', why: 'not_allowed' }]);
    expect(at()).toBe('in');
  });
  it('that cannot be asked for without a link is told at once', () => {
    enter();
    drop();
    give({ on: 'floor', number: 9 });
    expect(refused()).toEqual([{ what: 'give_floor', why: 'away' }]);
  });
});

describe('a source that the server did not take', () => {
  beforeEach(() => {
    enter();
    give({ on: 'publish', source: 'mic', live: true });
  });
  it('is told to the person, and anew to the server with the next switch', () => {
    server({ type: 'error', id: null, code: 'rate_limited' });
    expect(refused()).toEqual([{ what: 'publish', why: 'rate_limited' }]);
    give({ on: 'publish', source: 'mic', live: false });
    expect(sent('publish')).toBeUndefined();
    give({ on: 'publish', source: 'mic', live: true });
    expect(sent('publish')).toEqual({ type: 'publish', source: 'mic', on: true });
  });
  it('is none once the room knows it: the refusal is of something else', () => {
    server({ type: 'point', sequence: 11, change: 'changed', point: point(me, ['mic']) });
    server({ type: 'error', id: null, code: 'bad_message' });
    expect(refused()).toEqual([]);
  });
});
