import { describe, expect, it } from 'vitest';
import { canEase, ease, look, newViewRequest, poll, want, type ViewRequest } from '../src/engine/view-request';
import type { Wish } from '../src/engine/protocol';

const wish = (height: number, slot = 'v1', source = 5): Wish => ({ slot, source, height });
/** A request that has sent these wishes at time 0. */
const told = (...wishes: Wish[]): ViewRequest => {
  const r = newViewRequest();
  want(r, 0, wishes, false);
  expect(poll(r, 0)).toEqual(wishes);
  return r;
};

describe('when', () => {
  it('the first is told at once, a drag of the window once', () => {
    const r = told(wish(180));
    for (let i = 0; i < 10; i++) want(r, 10 + i * 10, [wish(300 + i)], false);
    expect(poll(r, 150)).toBeNull();
    expect(poll(r, 210)).toEqual([wish(309)]);
    expect(poll(r, 1_000)).toBeNull();
  });
  it('a page that begins in the background asks for nothing until it is shown', () => {
    const r = newViewRequest('none');
    want(r, 0, [wish(180)], true);
    expect(poll(r, 10_000)).toBeNull();
    look(r, 20_000, 'all');
    expect(poll(r, 20_000)).toEqual([wish(180)]);
  });
  it('a turned page does not wait', () => {
    const r = told(wish(180));
    want(r, 10, [wish(360)], true);
    expect(poll(r, 10)).toEqual([wish(360)]);
  });
});

describe('a tile that changes a little', () => {
  it('keeps the height that was asked for, however often', () => {
    const r = told(wish(360));
    for (const height of [396, 340, 324, 410, 360]) {
      want(r, 1_000, [wish(height)], false);
      expect(poll(r, 2_000), String(height)).toBeNull();
    }
  });
  it('does not drift: the height it is compared with is the one that was sent', () => {
    const r = told(wish(360));
    want(r, 1_000, [wish(410)], false);
    poll(r, 2_000);
    want(r, 3_000, [wish(420)], false);
    expect(poll(r, 4_000)).toEqual([wish(420)]);
  });
  it('another source in the slot is asked for as it is', () => {
    const r = told(wish(360));
    want(r, 1_000, [wish(396, 'v1', 9)], false);
    expect(poll(r, 2_000)).toEqual([wish(396, 'v1', 9)]);
  });
});

describe('a hidden page', () => {
  it('asks for nothing after two seconds, and for all again at once', () => {
    const r = told(wish(180));
    look(r, 100, 'none');
    expect(poll(r, 1_900)).toBeNull();
    want(r, 2_000, [wish(240)], false);
    expect(poll(r, 2_200)).toEqual([]);
    look(r, 9_000, 'all');
    expect(poll(r, 9_000)).toEqual([wish(240)]);
  });
  it('that is shown again in time has asked for nothing new', () => {
    const r = told(wish(180));
    look(r, 100, 'none');
    look(r, 1_500, 'all');
    expect(poll(r, 1_500)).toBeNull();
    expect(poll(r, 5_000)).toBeNull();
  });
  it('whose stage plays in a window of its own keeps the stage', () => {
    const r = told(wish(720, 'v0'), wish(180));
    look(r, 100, 'stage');
    want(r, 200, [wish(720, 'v0'), wish(300)], false);
    expect(poll(r, 1_000)).toBeNull();
    expect(poll(r, 2_100)).toEqual([wish(720, 'v0')]);
    look(r, 3_000, 'none');
    expect(poll(r, 5_000)).toEqual([]);
    look(r, 6_000, 'stage');
    expect(poll(r, 6_000)).toEqual([wish(720, 'v0')]);
  });
});

describe('a slow machine', () => {
  it('asks for large pictures on the stage only, and for all as before when it is well', () => {
    const r = told(wish(720, 'v0'), wish(720), wish(180, 'v2'));
    expect(canEase(r)).toBe(true);
    ease(r, 1_000, true);
    expect(poll(r, 1_000)).toEqual([wish(720, 'v0'), wish(360), wish(180, 'v2')]);
    ease(r, 9_000, false);
    expect(poll(r, 9_000)).toEqual([wish(720, 'v0'), wish(720), wish(180, 'v2')]);
  });
  it('has nothing to lower where the tiles are small', () => expect(canEase(told(wish(720, 'v0'), wish(360)))).toBe(false));
});
