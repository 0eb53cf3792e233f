import { describe, expect, it } from 'vitest';
import { NEW_TIMELINE, changed, owner, painted, type Timeline } from '../src/engine/slots';

const A = 5;
const B = 9;
const timeline = (...changes: [number | null, number | null][]): Timeline =>
  changes.reduce((t, [source, time]) => changed(t, { slot: 'v1', source, time }), NEW_TIMELINE);

describe('a message says from which time on', () => {
  const t = timeline([A, 1_000], [B, 5_000]);
  it('names each frame by the last change not later than it', () => {
    expect(owner(t, 4_999, [])).toBe(A);
    expect(owner(t, 5_000, [])).toBe(B);
    expect(owner(t, 9_000, [])).toBe(B);
  });
  it('names nobody before the first', () => expect(owner(t, 999, [])).toBeNull());
  it('goes over the wrap of 32 bits', () => {
    const w = timeline([A, 0xffff_f000], [B, 0x10]);
    expect(owner(w, 0xffff_ffff, [])).toBe(A);
    expect(owner(w, 0x0f, [])).toBe(A);
    expect(owner(w, 0x10, [])).toBe(B);
    expect(owner(w, 0xffff_efff, [])).toBeNull();
  });
  it('lets late frames of the old source keep their name after the slot was emptied', () => {
    const e = timeline([A, 1_000], [null, null]);
    expect(e.said).toBeNull();
    expect(owner(e, 2_000, [])).toBe(A);
    expect(changed(e, { slot: 'v1', source: B, time: 7_000 }).said).toBe(B);
  });
  it('forgets nothing that is still on its way among many changes', () => {
    const many = timeline(...Array.from({ length: 50 }, (_, i): [number, number] => [i, i * 100]));
    expect(owner(many, 4_950, [])).toBe(49);
    expect(owner(many, 4_850, [])).toBe(48);
    expect(many.entries.length).toBeLessThan(20);
  });
});

describe('packets say whose they are', () => {
  it('the frame’s own packets win over a message that is late (Chromium)', () => {
    const late = timeline([A, 1_000]);
    expect(owner(late, 5_000, [{ source: A, rtpTimestamp: 4_900 }, { source: B, rtpTimestamp: 5_000 }])).toBe(B);
  });
  it('packets of a later frame do not name this one', () => {
    const late = timeline([A, 1_000]);
    expect(owner(late, 4_900, [{ source: B, rtpTimestamp: 5_000 }, { source: A, rtpTimestamp: 4_900 }])).toBe(A);
  });
  it('one frame old packets (Firefox) do not beat a message in time', () => {
    expect(owner(timeline([A, 1_000], [B, 5_000]), 5_000, [{ source: A, rtpTimestamp: 4_900 }])).toBe(B);
  });
  it('with a late message Firefox is wrong for one frame only', () => {
    const late = timeline([A, 1_000]);
    expect(owner(late, 5_100, [{ source: A, rtpTimestamp: 4_900 }, { source: B, rtpTimestamp: 5_000 }])).toBe(B);
  });
  it('name frames without any message', () => {
    expect(owner(NEW_TIMELINE, 5, [{ source: B, rtpTimestamp: 0xffff_fffe }])).toBe(B);
  });
});

describe('the next frame has come before this one is painted (a busy page)', () => {
  const ahead = [{ source: A, rtpTimestamp: 4_900 }, { source: B, rtpTimestamp: 5_100 }];
  it('names nobody while no message says where the other source began', () => {
    expect(owner(timeline([A, 1_000]), 5_000, ahead)).toBeNull();
  });
  it('names by a message in time', () => {
    expect(owner(timeline([A, 1_000], [B, 5_000]), 5_000, ahead)).toBe(B);
    expect(owner(timeline([A, 1_000], [B, 5_100]), 5_000, ahead)).toBe(A);
  });
  it('goes on with the name that the frames before had from their own packets', () => {
    const seen = painted(timeline([A, 1_000]), 4_950, [{ source: A, rtpTimestamp: 4_900 }, { source: B, rtpTimestamp: 4_950 }]);
    expect(owner(seen, 5_000, ahead)).toBe(B);
  });
  it('remembers one fact for each change, whatever number of frames', () => {
    let t = timeline([A, 1_000]);
    for (let time = 2_000; time < 9_000; time += 100) t = painted(t, time, [{ source: time < 5_000 ? A : B, rtpTimestamp: time }]);
    expect(t.entries).toEqual([{ source: A, time: 1_000 }, { source: B, time: 5_000 }]);
    expect(t.said).toBe(A);
  });
  it('late messages of what was painted already change nothing', () => {
    const seen = painted(timeline([A, 1_000]), 5_000, [{ source: B, rtpTimestamp: 5_000 }]);
    const told = changed(seen, { slot: 'v1', source: B, time: 4_950 });
    expect(owner(told, 4_900, [])).toBe(A);
    expect(owner(told, 5_000, [])).toBe(B);
  });
});
