import { describe, expect, it } from 'vitest';
import { adjust, newVoiceBuffer } from '../src/engine/voice-buffer';

/** The buffer after each second, in which of 50 packets so many are lost, or come too late. */
function run(lost: readonly number[], all = 50, copies = true, late = 0): number[] {
  let buffer = newVoiceBuffer();
  return lost.map((count, second) => {
    buffer = adjust(buffer, second * 1_000, { packets: all - count, lost: count, discarded: late }, copies);
    return buffer.ms;
  });
}

const seconds = (count: number, lost: number): number[] => Array.from({ length: count }, () => lost);

describe('the buffer of voices', () => {
  it('is the browser’s own as long as next to nothing is lost', () => expect(run([0, 1, 0, 1])).toEqual([0, 0, 0, 0]));
  it('waits for the near copy from 3 % loss on, for all of them from a tenth on, at once', () => {
    expect(run([0, 2, 4, 5, 15])).toEqual([0, 100, 100, 200, 200]);
  });
  it('is the browser’s own again ten seconds after the last need', () => {
    const ms = run([15, ...seconds(12, 0)]);
    expect(ms.indexOf(0)).toBe(10);
    expect(ms[12]).toBe(0);
  });
  it('goes back to what is needed then', () => expect(run([15, ...seconds(12, 2)]).slice(9, 12)).toEqual([200, 100, 100]));
  it('does not breathe with bursts', () => expect(new Set(run([10, ...seconds(9, 0), 10, ...seconds(9, 0), 10]))).toEqual(new Set([200])));
  it('waits for all repeats at once where there are no copies: what is lost is what none of them brought', () => {
    expect(run([0, 1, 2, 15], 50, false)).toEqual([0, 0, 200, 200]);
    expect(run([0, 0], 50, false, 2)).toEqual([200, 200]);
    expect(run([0, 0], 50, true, 2)).toEqual([0, 0]);
  });
  it('hears nothing from a handful of packets', () => expect(run([5, 9], 15)).toEqual([0, 0]));
});
