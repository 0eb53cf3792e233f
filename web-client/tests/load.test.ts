import { describe, expect, it } from 'vitest';
import { judge, newLoad, overloaded, type Decoding, type Load } from '../src/engine/load';

/** One sample a second. Answers the level after each. */
function run(load: Load, samples: string, canLower = true, from = 0): { load: Load; levels: number[] } {
  const levels: number[] = [];
  for (const [i, sample] of [...samples].entries()) {
    load = judge(load, (from + i) * 1_000, sample === 'x', canLower);
    levels.push(load.level);
  }
  return { load, levels };
}

describe('a machine that is too slow', () => {
  it('lowers its own wishes after three seconds, and tells the server after three more', () => {
    expect(run(newLoad(), 'xxxxxxxx').levels).toEqual([0, 0, 0, 1, 1, 1, 2, 2]);
  });
  it('tells the server at once where it has nothing to lower', () => {
    expect(run(newLoad(), 'xxxx', false).levels).toEqual([0, 0, 0, 2]);
  });
  it('is not one that stumbles now and then', () => {
    expect(Math.max(...run(newLoad(), 'xxx.xxx.xx..xxx.'.repeat(20)).levels)).toBe(0);
  });
  it('takes back a step for each ten good seconds', () => {
    const { load } = run(newLoad(), 'xxxxxxx');
    const { levels } = run(load, '.'.repeat(22), true, 7);
    expect(levels.indexOf(1)).toBe(10);
    expect(levels.indexOf(0)).toBe(20);
  });
  it('that falls back at once waits longer each time, at most a minute', () => {
    let load = newLoad();
    let second = 0;
    const rests: number[] = [];
    for (let round = 0; round < 6; round++) {
      const worse = run(load, 'xxxx', true, second);
      second += 4;
      let rest = 0;
      load = worse.load;
      while (load.level > 0) {
        load = judge(load, second * 1_000, false, true);
        second += 1;
        rest += 1;
      }
      rests.push(rest - 1);
    }
    expect(rests).toEqual([10, 20, 40, 60, 60, 60]);
  });
});

describe('one second of decoding', () => {
  const fine: Decoding = { decoded: 120, dropped: 0, busiest: 0.1, total: 0.3, lossIn: 0 };
  it('is fine as a rule', () => expect(overloaded(fine, 2)).toBe(false));
  it('is too much when one decoder never rests', () => expect(overloaded({ ...fine, busiest: 0.9 }, 8)).toBe(true));
  it('is too much when all together take most of the cores', () => {
    expect(overloaded({ ...fine, total: 1.3 }, 2)).toBe(true);
    expect(overloaded({ ...fine, total: 1.3 }, 8)).toBe(false);
  });
  it('is too much when pictures are dropped by a machine that works', () => expect(overloaded({ ...fine, dropped: 30 }, 2)).toBe(true));
  it('is not to blame for what a bad line makes late', () => expect(overloaded({ ...fine, dropped: 30, lossIn: 0.05 }, 2)).toBe(false));
  it('says nothing where hardly anything is decoded', () => {
    expect(overloaded({ decoded: 2, dropped: 4, busiest: 0.9, total: 0.9, lossIn: 0 }, 1)).toBe(false);
  });
  it('survives a machine that does not count its cores', () => expect(overloaded({ ...fine, total: 0.7 }, 0)).toBe(true));
});
