// @vitest-environment happy-dom
// What the browser does seldom, and the drivers must outlive.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Connection } from '../src/driver/connection';
import { createElements } from '../src/driver/elements';
import { watchStats } from '../src/driver/stats';
import { keepAwake } from '../src/driver/wake';
import { settle } from './scene';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

it('a connection that is closed before it has told its figures does not end them for the next', async () => {
  const connection = (report: Promise<Map<string, object>>): Connection => ({ pc: { getStats: () => report }, slotOf: () => null }) as unknown as Connection;
  let at = 0;
  const told = vi.fn();
  let current = connection(new Promise(() => undefined));
  const stop = watchStats(() => current, () => ({ occupied: new Set(), cores: 4, canEase: false, takesRed: true }), told);
  vi.advanceTimersByTime(2_000);
  current = connection(Promise.resolve(new Map()));
  Object.assign(current.pc, { getStats: () => Promise.resolve(new Map([['T', { id: 'T', type: 'transport', timestamp: (at += 1_000) }]])) });
  for (let i = 0; i < 3; i++) {
    vi.advanceTimersByTime(1_000);
    await settle();
  }
  expect(told).toHaveBeenCalledTimes(2);
  stop();
});

describe('sound that the browser holds back', () => {
  it('is no longer said to be once all plays, whatever touch let it', async () => {
    let allowed = false;
    const playing = new Set<unknown>();
    const media = HTMLMediaElement.prototype;
    vi.spyOn(media, 'play').mockImplementation(function play(this: HTMLMediaElement) {
      if (!allowed && !this.muted) return Promise.reject(new DOMException('no', 'NotAllowedError'));
      playing.add(this);
      return Promise.resolve();
    });
    vi.spyOn(media, 'paused', 'get').mockImplementation(function paused(this: HTMLMediaElement) { return !playing.has(this); });
    const blocked = vi.fn();
    const elements = createElements('phone', blocked);
    elements.play(new Map());
    await settle();
    expect(blocked).toHaveBeenLastCalledWith(true);
    allowed = true;
    elements.play(new Map());
    await settle();
    expect(blocked).toHaveBeenLastCalledWith(false);
    elements.remove();
  });
});

it('a screen that was hidden and shown at once is let sleep after the meeting', async () => {
  const locks: { released: boolean; release(): Promise<void> }[] = [];
  const request = (): Promise<object> => {
    const lock = {
      released: false,
      release(): Promise<void> {
        lock.released = true;
        return Promise.resolve();
      },
    };
    locks.push(lock);
    return Promise.resolve(lock);
  };
  Object.defineProperty(navigator, 'wakeLock', { value: { request }, configurable: true });
  const letSleep = keepAwake();
  document.dispatchEvent(new Event('visibilitychange'));
  await settle();
  expect(locks.map(({ released }) => released)).toEqual([false, true]);
  letSleep();
  await settle();
  expect(locks.every(({ released }) => released)).toBe(true);
});
