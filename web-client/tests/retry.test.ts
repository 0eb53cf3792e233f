import { describe, expect, it } from 'vitest';
import { retryDelay, stayAwayMs } from '../src/engine/retry';

describe('the retry law', () => {
  // attempt, random, told to stay away (ms), delay (ms)
  it.each([
    [0, 0, 0, 0],
    [0, 0.5, 0, 250],
    [0, 0.999, 0, 499],
    [1, 0.999, 0, 849],
    [2, 0.5, 0, 722],
    [5, 0.999, 0, 7_092],
    [6, 0.999, 0, 7_992],
    [400, 0, 0, 0],
    [400, 0.999, 0, 7_992],
    [1_000_000, 0.5, 0, 4_000],
    [0, 0.5, 3_000, 3_250],
    [3, 0, 3_000, 3_000],
    [0, 0, 86_400_000, 60_000],
    [0, 0, -5, 0],
  ])('try %i with chance %d after "stay away for %i ms" is after %i ms', (attempt, random, stayAway, delay) => {
    expect(retryDelay(attempt, random, stayAway)).toBe(delay);
  });
  it('spreads those who lost the server in one moment over the whole span', () => {
    const pages = Array.from({ length: 239 }, (_, i) => retryDelay(0, i / 239));
    const each = [0, 100, 200, 300, 400].map((from) => pages.filter((at) => at >= from && at < from + 100).length);
    for (const count of each) expect(count).toBeGreaterThan(40);
  });
});

describe('Retry-After', () => {
  const wall = Date.parse('Fri, 27 Nov 2026 10:00:00 GMT');
  it.each([
    [null, 0],
    ['', 0],
    ['0', 0],
    ['7', 7_000],
    [' 8 ', 8_000],
    ['3600', 60_000],
    ['999999999999', 0],
    ['-1', 0],
    ['1.5', 0],
    ['soon', 0],
    ['2026', 60_000],
    ['Fri, 27 Nov 2026 10:00:05 GMT', 5_000],
    ['Fri, 27 Nov 2026 09:00:00 GMT', 0],
    ['Fri, 27 Nov 2027 10:00:00 GMT', 60_000],
    ['Fri, 99 Foo 2026 10:00:05 GMT', 0],
    ['2026-11-27T10:00:05Z', 0],
  ])('%j is %i ms', (header, ms) => {
    expect(stayAwayMs(header, wall)).toBe(ms);
  });
});
