import { beforeEach, describe, expect, it } from 'vitest';
import { stateOf, type Seat } from '../src/engine/session';
import type { ServerMessage } from '../src/engine/protocol';
import {
  at, comeBack, did, drop, enter, give, joined, last, later, me, media, now, offer, open, pass, point, refused, s, sent, server, start, wait,
  welcome,
} from './session-scene';

beforeEach(open);

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
    give({ on: 'start', token: 'T', seat: null, profile: 'laptop' });
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
  it('on another screen is of that screen, whatever the seat was', () => {
    start({ ...seat, profile: 'phone' });
    server(welcome);
    offer();
    server({ type: 'resumed', number: me, resume: 'R2', media: 'kept', slots: [], points: [point(me)], sequence: 4, floor: null });
    expect(did('keep')?.seat?.profile).toBe('laptop');
    expect(sent('join')?.profile).toBe('laptop');
    joined();
    expect(did('keep')?.seat?.profile).toBe('laptop');
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
    later(500);
    expect(give({ on: 'stats', stats })).toEqual([]);
    later(500);
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
  it.each(['offering', 'failed'] as const)('is none on a seat that the server made anew: the join tells it (media %s)', (state) => {
    server({ type: 'point', sequence: 11, change: 'changed', point: point(me, ['mic']) });
    drop();
    if (state === 'failed') media('failed');
    comeBack();
    server(welcome);
    server({ type: 'resumed', number: me, resume: 'R2', media: 'lost', slots: [], points: [point(me)], sequence: 40, floor: null });
    expect(s.connection?.state).toBe(state);
    server({ type: 'error', id: null, code: 'state' });
    expect(refused()).toEqual([]);
    while (s.connection?.state !== 'offering') wait();
    offer();
    expect(sent('join')?.published).toEqual(['mic']);
  });
  it('and goes off while the media are made anew is told at once: others must not read that it is on', () => {
    server({ type: 'point', sequence: 11, change: 'changed', point: point(me, ['mic']) });
    server({ type: 'media', state: 'lost' });
    expect(s.connection?.state).toBe('offering');
    give({ on: 'publish', source: 'mic', live: false });
    expect(sent('publish')).toEqual({ type: 'publish', source: 'mic', on: false });
  });
});
