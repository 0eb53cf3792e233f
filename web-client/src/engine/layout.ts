// Where the tiles go: a pure function of who is there, the room on the page and the page chosen. Order is frozen: nobody moves because
// somebody speaks; only the last tile of a page gives way to a speaker who is on another page.
import { VIDEO_SLOTS, sourceOf, type Kind, type Profile, type Wish } from './protocol';

export interface Area {
  /** CSS pixels. */
  width: number;
  height: number;
  /** Device pixels to a CSS pixel; heights asked of the server are device pixels. */
  density: number;
}

export interface Stage {
  number: number;
  kind: Extract<Kind, 'camera' | 'screen'>;
}

export interface Arrangement {
  profile: Profile;
  area: Area;
  /** Everybody else, in frozen order. */
  others: readonly number[];
  /** Those whose camera is on: only they need a slot. */
  cameras: ReadonlySet<number>;
  /** What is shown large: a pinned point or a screen. */
  stage: Stage | null;
  /** Whoever is loudest, or null. */
  speaker: number | null;
  page: number;
  /** The slots of the layout before, so that a tile that stays keeps its slot. */
  held: ReadonlyMap<number, string>;
}

export interface Tile {
  number: number;
  kind: Stage['kind'];
  source: number;
  /** Null: no picture to show, so no slot is taken. */
  slot: string | null;
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Layout {
  stage: Tile | null;
  tiles: readonly Tile[];
  /** Where one's own picture goes: the last place of the page. */
  self: Box;
  page: number;
  pages: number;
  /** Source to slot, to be given back as `held`. */
  held: ReadonlyMap<number, string>;
  wishes: readonly Wish[];
}

const GAP = 8;
/** Height of the pager. */
const PAGER = 44;
const RATIO = 16 / 9;
const NARROW = 600;
const ALONE_WIDTH = 640;
/** Tiles to a page, one's own included, by what fits: each entry needs `min` CSS pixels of width. */
const PAGES: readonly { tiles: number; min: number }[] = [
  { tiles: 25, min: 1_500 },
  { tiles: 16, min: 960 },
  { tiles: 9, min: 600 },
  { tiles: 6, min: 0 },
];

/** More than one page leaves room for the pager below; whether there is one never changes the area that this is told. */
export function arrange(a: Arrangement): Layout {
  const whole = place(a);
  if (whole.pages === 1) return whole;
  return place({ ...a, area: { ...a.area, height: Math.max(0, a.area.height - PAGER - GAP) } });
}

function place(a: Arrangement): Layout {
  const staged = a.stage;
  const strip = staged === null ? null : stripArea(a.area);
  const room = strip?.strip ?? { x: 0, y: 0, width: a.area.width, height: a.area.height };
  const capacity = strip === null ? gridCapacity(a) : stripCapacity(a, strip.strip);
  const others = staged?.kind === 'camera' ? a.others.filter((n) => n !== staged.number) : a.others;
  const pages = Math.max(1, Math.ceil(others.length / capacity));
  const page = Math.min(Math.max(a.page, 0), pages - 1);
  const shown = withSpeaker(others.slice(page * capacity, (page + 1) * capacity), others, a.speaker);
  const boxes = grid(shown.length + 1, room, staged === null && a.area.width < NARROW ? 1 : RATIO);
  const own = boxes[shown.length] as Box;
  const self = shown.length === 0 && staged === null ? smaller(own) : own;
  const held = assign(a, shown, staged);
  const tiles = shown.map((number, i) => {
    const source = sourceOf(number, 'camera');
    return { number, kind: 'camera' as const, source, slot: held.get(source) ?? null, ...(boxes[i] as Box) };
  });
  const stage = staged === null || strip === null ? null : stageTile(staged, strip.stage, a.cameras);
  const all = stage === null ? tiles : [stage, ...tiles];
  return { stage, tiles, self, page, pages, held, wishes: wishes(all, a.area.density) };
}

/** The order after people came and went: nobody who stays moves, but the last one fills the place of one who left. */
export function keepOrder(order: readonly number[], present: ReadonlySet<number>): number[] {
  const next = [...order];
  for (let i = 0; i < next.length; i++) {
    while (i < next.length && !present.has(next[i] as number)) {
      const last = next.pop() as number;
      if (i < next.length) next[i] = last;
    }
  }
  const known = new Set(next);
  for (const number of present) if (!known.has(number)) next.push(number);
  return next;
}

/** Who shares a screen, in the order in which they began: who goes on keeps the place, who is new comes last. */
export function keepScreens(screens: readonly number[], sharing: ReadonlySet<number>): number[] {
  const kept = screens.filter((number) => sharing.has(number));
  return [...kept, ...[...sharing].filter((number) => !kept.includes(number))];
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The largest equal boxes that fit `count` times, the last row centred: 16:9, or down to `slimmest` (width by height) where there is height. */
export function grid(count: number, room: Box, slimmest: number): Box[] {
  let best = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const cellWidth = Math.max(0, room.width - GAP * (columns - 1)) / columns;
    const cellHeight = Math.max(0, room.height - GAP * (rows - 1)) / rows;
    const width = Math.min(cellWidth, cellHeight * RATIO);
    const height = Math.min(cellHeight, width / slimmest);
    // One per cent better, or the columns would flicker between equal answers at a pixel's change.
    if (width * height > best.width * best.height * 1.01) best = { columns, width, height };
  }
  const { columns, width, height } = best;
  const rows = Math.ceil(count / columns);
  const top = room.y + (room.height - rows * height - GAP * (rows - 1)) / 2;
  return Array.from({ length: count }, (_, i) => {
    const row = Math.floor(i / columns);
    const inRow = row === rows - 1 ? count - row * columns : columns;
    const left = room.x + (room.width - inRow * width - GAP * (inRow - 1)) / 2;
    return {
      x: Math.round(left + (i % columns) * (width + GAP)),
      y: Math.round(top + row * (height + GAP)),
      width: Math.floor(width),
      height: Math.floor(height),
    };
  });
}

function gridCapacity(a: Arrangement): number {
  const byWidth = PAGES.find((p) => a.area.width >= p.min)?.tiles ?? 6;
  const flat = a.area.height < 420 ? Math.min(byWidth, 6) : byWidth;
  // Slots beyond the stage's bound a page; a page larger than that would show faces without pictures.
  return Math.max(1, Math.min(flat, VIDEO_SLOTS[a.profile]) - 1);
}

function stripCapacity(a: Arrangement, strip: Box): number {
  const beside = strip.height > strip.width;
  const fits = beside ? Math.floor(strip.height / ((strip.width / RATIO) + GAP)) : Math.floor(strip.width / (strip.height + GAP));
  return Math.max(1, Math.min(fits, 8, VIDEO_SLOTS[a.profile]) - 1);
}

/** A large stage and a strip: beside it on wide pages, below it on tall ones. */
function stripArea({ width, height }: Area): { stage: Box; strip: Box } {
  if (width >= height) {
    const side = Math.round(Math.min(240, Math.max(132, width * 0.18)));
    return {
      stage: { x: 0, y: 0, width: width - side - GAP, height },
      strip: { x: width - side, y: 0, width: side, height },
    };
  }
  const below = Math.round(Math.min(200, Math.max(88, width * 0.28)));
  return {
    stage: { x: 0, y: 0, width, height: height - below - GAP },
    strip: { x: 0, y: height - below, width, height: below },
  };
}

/** Somebody who is alone looks at a picture, not at a wall. */
function smaller({ x, y, width, height }: Box): Box {
  const part = Math.min(1, ALONE_WIDTH / width);
  const [w, h] = [Math.floor(width * part), Math.floor(height * part)];
  return { x: Math.round(x + (width - w) / 2), y: Math.round(y + (height - h) / 2), width: w, height: h };
}

function withSpeaker(page: readonly number[], others: readonly number[], speaker: number | null): readonly number[] {
  if (speaker === null || page.length < 2 || page.includes(speaker) || !others.includes(speaker)) return page;
  return [...page.slice(0, -1), speaker];
}

function stageTile(stage: Stage, box: Box, cameras: ReadonlySet<number>): Tile {
  const on = stage.kind === 'screen' || cameras.has(stage.number);
  return { ...stage, source: sourceOf(stage.number, stage.kind), slot: on ? 'v0' : null, ...box };
}

/** Source to slot: whoever stays keeps the slot, newcomers take the lowest free ones; the stage is always `v0`. */
function assign(a: Arrangement, shown: readonly number[], stage: Stage | null): Map<number, string> {
  const wanted = shown.filter((n) => a.cameras.has(n)).map((n) => sourceOf(n, 'camera'));
  const held = new Map<number, string>();
  const free = new Set(Array.from({ length: VIDEO_SLOTS[a.profile] - 1 }, (_, i) => `v${i + 1}`));
  for (const source of wanted) {
    const slot = a.held.get(source);
    if (slot !== undefined && free.delete(slot)) held.set(source, slot);
  }
  for (const source of wanted) {
    const [slot] = free;
    if (held.has(source) || slot === undefined) continue;
    free.delete(slot);
    held.set(source, slot);
  }
  if (stage !== null && (stage.kind === 'screen' || a.cameras.has(stage.number))) held.set(sourceOf(stage.number, stage.kind), 'v0');
  return held;
}

function wishes(tiles: readonly Tile[], density: number): Wish[] {
  return tiles.flatMap(({ slot, source, kind, height }) => {
    if (slot === null || height < 1) return [];
    // Steps of 36 lines, so that a drag of the window's edge does not ask again at every pixel.
    const lines = Math.ceil((height * density) / 36) * 36;
    // Only a person's pin puts a camera on the stage.
    const pinned = slot === 'v0' && kind === 'camera' ? { pinned: true as const } : {};
    return [{ slot, source, height: Math.min(2_160, Math.max(36, lines)), ...pinned }];
  });
}
