// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Seat } from '../src/engine/session';
import { firstName, seatNow } from '../src/engine/tab';
import { loadTab } from '../src/driver/storage';
import { openTab } from '../src/driver/tab';

const seat: Seat = { resume: 'R1', name: 'An', profile: 'laptop' };

describe('the seat of a tab', () => {
  it('is taken again after a reload', () => {
    expect(seatNow({ token: 'T', seat, name: '', at: 1_000_000 }, 'T', 1_060_000)).toEqual(seat);
  });
  it('is not taken hours later, nor when the clock was set back meanwhile', () => {
    expect(seatNow({ token: 'T', seat, name: '', at: 1_000_000 }, 'T', 1_000_000 + 3 * 3_600_000)).toBeNull();
    expect(seatNow({ token: 'T', seat, name: '', at: 10_000_000 }, 'T', 1_000_000)).toBeNull();
  });
  it('belongs to its invitation', () => {
    expect(seatNow({ token: 'T', seat, name: '', at: 1_000 }, 'other', 1_000)).toBeNull();
    expect(seatNow(null, 'T', 1_000)).toBeNull();
  });
});

describe('the name to begin with', () => {
  it('is the one typed here, then the invitation’s, then the last one of this browser', () => {
    expect(firstName('An', 'UBND xã Bình Liêu', 'Bình')).toBe('An');
    expect(firstName('', 'UBND xã Bình Liêu', 'Bình')).toBe('UBND xã Bình Liêu');
    expect(firstName('', '', 'Bình')).toBe('Bình');
  });
  it('is nobody’s while the invitation is not known', () => {
    expect(firstName('', null, 'Bình')).toBe('');
  });
  it('is kept for the invitation it was typed for, and no other', () => {
    openTab('names', 'T').keepName('An');
    expect(openTab('names', 'T').name).toBe('An');
    expect(openTab('names', 'other').name).toBe('');
  });
});

describe('an open page', () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());
  it('goes on saying that it is open while it has a seat, also when it is hidden and when it goes', () => {
    const tab = openTab('demo', 'T');
    tab.keep(seat);
    vi.advanceTimersByTime(30_000);
    expect(loadTab('demo')?.at).toBe(Date.now());
    for (const [on, event] of [[document, 'visibilitychange'], [window, 'pagehide']] as const) {
      vi.setSystemTime(Date.now() + 7_000);
      on.dispatchEvent(new Event(event));
      expect(loadTab('demo')?.at).toBe(Date.now());
    }
    expect(openTab('demo', 'T').seat).toEqual(seat);
  });
  it('that is restored late begins without a seat, and forgets it', () => {
    openTab('demo', 'T').keep(seat);
    vi.clearAllTimers();
    vi.setSystemTime(Date.now() + 3_600_000);
    expect(openTab('demo', 'T').seat).toBeNull();
    expect(loadTab('demo')).toMatchObject({ token: 'T', seat: null });
  });
});
