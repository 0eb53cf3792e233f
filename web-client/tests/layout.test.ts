import { describe, expect, it } from 'vitest';
import { arrange, grid, keepOrder, type Arrangement } from '../src/engine/layout';
import { sourceOf } from '../src/engine/protocol';

const laptop = { width: 1_366, height: 640, density: 1 };
const phone = { width: 344, height: 480, density: 3 };
const people = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 2);
const make = (patch: Partial<Arrangement> = {}): Arrangement => {
  const others = patch.others ?? people(3);
  return { profile: 'laptop', area: laptop, others, cameras: new Set(others), stage: null, speaker: null, page: 0, held: new Map(), ...patch };
};

describe('grid', () => {
  it.each([1, 2, 3, 5, 9, 16, 25])('%i boxes lie inside and apart', (count) => {
    for (const room of [{ x: 0, y: 0, ...laptop }, { x: 10, y: 20, ...phone }, { x: 0, y: 0, width: 200, height: 900 }]) {
      const boxes = grid(count, room, room.width < 600 ? 1 : 16 / 9);
      expect(boxes).toHaveLength(count);
      for (const [i, a] of boxes.entries()) {
        expect(a.width).toBeGreaterThan(20);
        expect(a.x).toBeGreaterThanOrEqual(room.x - 1);
        expect(a.y).toBeGreaterThanOrEqual(room.y - 1);
        expect(a.x + a.width).toBeLessThanOrEqual(room.x + room.width + 1);
        expect(a.y + a.height).toBeLessThanOrEqual(room.y + room.height + 1);
        for (const b of boxes.slice(i + 1)) {
          const apart = a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
          expect(apart).toBe(true);
        }
      }
    }
  });
  it('survives a page without room', () => {
    for (const box of grid(4, { x: 0, y: 0, width: 0, height: 0 }, 1)) expect([box.width, box.height]).toEqual([0, 0]);
  });
});

describe('pages', () => {
  it('a province of 239 turns pages without ever asking for more slots than there are', () => {
    const first = arrange(make({ others: people(238) }));
    expect(first.tiles).toHaveLength(15);
    expect(first.pages).toBe(16);
    const seen = new Set<number>();
    for (let page = 0; page < first.pages; page++) {
      const { tiles, wishes } = arrange(make({ others: people(238), page }));
      expect(new Set(wishes.map((w) => w.slot)).size).toBe(wishes.length);
      for (const tile of tiles) seen.add(tile.number);
    }
    expect(seen.size).toBe(238);
  });
  it('a phone never wants more than its eight slots', () => {
    const { wishes, tiles } = arrange(make({ profile: 'phone', area: phone, others: people(40), stage: { number: 3, kind: 'camera' } }));
    expect(wishes.length).toBeLessThanOrEqual(8);
    expect(tiles.length).toBeGreaterThan(0);
  });
  it('leave room for the pager below the tiles where there is one', () => {
    for (let width = 200; width <= 1_400; width += 37) {
      for (let height = 160; height <= 900; height += 41) {
        for (const stage of [null, { number: 2, kind: 'camera' as const }]) {
          const { tiles, self, pages, stage: large } = arrange(make({ area: { width, height, density: 1 }, others: people(9), stage }));
          const lowest = Math.max(...[...tiles, self, ...(large === null ? [] : [large])].map((x) => x.y + x.height));
          expect(lowest, `${width}x${height}`).toBeLessThanOrEqual(pages > 1 ? height - 52 + 1 : height + 1);
        }
      }
    }
  });
  it('a page that is gone falls back to the last', () => {
    expect(arrange(make({ others: people(3), page: 9 })).page).toBe(0);
  });
  it('a speaker of another page takes the last place, nobody else moves', () => {
    const quiet = arrange(make({ others: people(40) })).tiles.map((x) => x.number);
    const loud = arrange(make({ others: people(40), speaker: 41 })).tiles.map((x) => x.number);
    expect(loud.slice(0, -1)).toEqual(quiet.slice(0, -1));
    expect(loud.at(-1)).toBe(41);
  });
});

describe('slots', () => {
  it('whoever stays keeps the slot', () => {
    const before = arrange(make({ others: [2, 3, 4] }));
    const after = arrange(make({ others: [2, 4, 9], held: before.held }));
    const slot = (layout: typeof before, n: number): string | null | undefined => layout.tiles.find((x) => x.number === n)?.slot;
    expect(slot(after, 4)).toBe(slot(before, 4));
    expect(slot(after, 9)).toBe(slot(before, 3));
  });
  it('the stage is v0 and is asked for larger than the strip', () => {
    const { stage, tiles, wishes } = arrange(make({ stage: { number: 3, kind: 'camera' } }));
    expect(stage?.slot).toBe('v0');
    expect(tiles.map((x) => x.number)).toEqual([2, 4]);
    expect(tiles.every((x) => x.slot !== 'v0')).toBe(true);
    const height = (n: number): number => wishes.find((w) => w.source === sourceOf(n, 'camera'))?.height ?? 0;
    expect(height(3)).toBeGreaterThan(3 * height(2));
  });
  it('a screen on the stage leaves its owner among the tiles', () => {
    const { stage, tiles } = arrange(make({ stage: { number: 3, kind: 'screen' } }));
    expect(stage?.source).toBe(sourceOf(3, 'screen'));
    expect(tiles.map((x) => x.number)).toContain(3);
  });
  it('a point without a camera takes none', () => {
    const { tiles, wishes } = arrange(make({ others: [2, 3], cameras: new Set([3]) }));
    expect(tiles[0]?.slot).toBeNull();
    expect(wishes).toHaveLength(1);
  });
  it('only a pinned camera is asked for as pinned', () => {
    const pins = (layout: ReturnType<typeof make>): (string | undefined)[] => arrange(layout).wishes.flatMap((w) => (w.pinned ? [w.slot] : []));
    expect(pins(make({ stage: { number: 3, kind: 'camera' } }))).toEqual(['v0']);
    expect(pins(make({ stage: { number: 3, kind: 'screen' } }))).toEqual([]);
    expect(pins(make())).toEqual([]);
  });
  it('heights are device pixels within the protocol’s limits', () => {
    const { wishes } = arrange(make({ others: [2], area: { width: 3_840, height: 2_160, density: 3 } }));
    expect(wishes[0]?.height).toBe(2_160);
  });
});

describe('frozen order', () => {
  it('keeps everybody’s place when people come', () => expect(keepOrder([2, 3], new Set([2, 3, 4]))).toEqual([2, 3, 4]));
  it('the last one fills a hole', () => expect(keepOrder([2, 3, 4, 5], new Set([2, 4, 5]))).toEqual([2, 5, 4]));
  it('holds over any coming and going', () => {
    let order: number[] = [];
    let seed = 7;
    for (let round = 0; round < 500; round++) {
      const present = new Set<number>();
      for (let n = 1; n < 40; n++) if (((seed = (seed * 1_103_515_245 + 12_345) & 0x7fff_ffff) >> 16) % 3 > 0) present.add(n);
      const next = keepOrder(order, present);
      expect(new Set(next)).toEqual(present);
      expect(next).toHaveLength(present.size);
      order = next;
    }
  });
});
