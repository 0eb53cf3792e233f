// What the view reads and does. It decides nothing: it holds what the SDK and the layout say in a form that Svelte can follow.
import { newAnnouncer, note, take, type Announcement } from './engine/announce';
import { arrange, keepOrder, keepScreens, type Area, type Layout, type Stage } from './engine/layout';
import { VIDEO_SLOTS, type Role, type SlotQuality } from './engine/protocol';
import { lineGrade, newSettling, reasonOf, settle, withheld, type Reason } from './engine/quality';
import { leads, maySpeak } from './engine/roster';
import { cutOf, newSteady, steady, type Cut } from './engine/sending';
import { firstName } from './engine/tab';
import { askScreen, canShare, createDevices, displayName, isOn, kindOf, pointOf } from './sdk';
import type { ClientStats, DevicesState, Figures, Grade, InputKind, Meeting, Point, Profile, Refusal, SendOrder, State } from './sdk';
import { untrack } from 'svelte';
import { SvelteMap } from 'svelte/reactivity';
import { recall, remember } from './driver/storage';
import { keepAwake } from './driver/wake';

export type Store = ReturnType<typeof createStore>;

/** Keeps the name that was typed in this tab. */
export interface NameKeeper {
  readonly name: string;
  keepName(name: string): void;
}

export function createStore(meeting: Meeting, profile: Profile, tab: NameKeeper) {
  let session = $state.raw<State>(meeting.state);
  let points = $state.raw<ReadonlyMap<number, Point>>(new Map());
  let speaker = $state<number | null>(null);
  let floor = $state<number | null>(null);
  let refused = $state.raw<Refusal | null>(null);
  let refusedAt = -Infinity;
  let role = $state<Role | null>(null);
  let figures = $state.raw<Figures | null>(null);
  let stats = $state.raw<ClientStats | null>(null);
  let quality = $state.raw<ReadonlyMap<string, SlotQuality>>(new Map());
  let sendOrder = $state.raw<SendOrder | null>(null);
  let cut = $state.raw<Cut | null>(null);
  let grade = $state<Grade>(0);
  let blocked = $state(false);
  let area = $state.raw<Area>({ width: 0, height: 0, density: 1 });
  let page = $state(0);
  let pinned = $state<number | null>(null);
  let sharing = $state.raw<MediaStream | null>(null);
  let announced = $state.raw<readonly Announcement[]>([]);
  let since = $state<number | null>(null);
  let order = $state.raw<readonly number[]>([]);
  let screens = $state.raw<readonly number[]>([]);
  const painted = new SvelteMap<string, number | null>();
  let held: ReadonlyMap<number, string> = new Map();
  let turned = false;

  const devices = createDevices((next) => {
    input = next;
    publish();
  });
  let input = $state.raw<DevicesState>(devices.state);

  const number = $derived('number' in session ? session.number : null);
  const own = $derived(number === null ? undefined : points.get(number));
  const inside = $derived(session.at === 'in' || session.at === 'reconnecting');
  /** The server forwards what this person sends. Until it has said so it is taken for granted. */
  const mayPublish = $derived(role === null || maySpeak({ role }));
  /** Who only listens is asked for no device. Where the server is out of reach nobody waits for its word. */
  const mayOpen = $derived(role === null ? isLate(session) : mayPublish);
  /** A pinned point, else the newest screen. */
  const stage = $derived.by((): Stage | null => {
    if (pinned !== null && points.has(pinned)) return { number: pinned, kind: 'camera' };
    const screen = screens.filter((n) => n !== number).at(-1);
    return screen === undefined ? null : { number: screen, kind: 'screen' };
  });
  const layout = $derived.by((): Layout => {
    const cameras = new Set([...points.values()].filter((p) => p.published.includes('camera')).map((p) => p.number));
    const next = arrange({ profile, area, others: order, cameras, stage, speaker, page, held });
    held = next.held;
    return next;
  });

  function publish(): void {
    const live = inside || session.at === 'joining';
    for (const kind of ['mic', 'camera'] as const) {
      const on = live && mayPublish && isOn(input[kind]) ? input[kind].track : null;
      if (sent.get(kind) === on) continue;
      sent.set(kind, on);
      meeting.send(kind, on);
    }
  }
  const sent = new Map<InputKind, MediaStreamTrack | null>([['mic', null], ['camera', null]]);

  /** How good the line is, by what was measured and by what the server says that it is too thin for. */
  function gradeNow(): Grade {
    const pictures = layout.wishes.flatMap(({ slot, height: wanted }) => {
      const got = quality.get(slot);
      return got === undefined ? [] : [{ quality: got, wanted }];
    });
    // What was measured last says nothing of a path that is gone.
    const away = session.at === 'reconnecting' && session.what === 'media';
    return lineGrade(away ? 0 : (figures?.grade ?? 0), pictures, cut);
  }

  const cutting = newSteady<Cut>();
  let grading = newSettling();
  let announcer = newAnnouncer();
  const ticker = setInterval(() => {
    cut = steady(cutting, performance.now(), input.camera.wanted ? cutOf(sendOrder) : null);
    grade = settle(grading, performance.now(), gradeNow());
    if (refused !== null && performance.now() - refusedAt >= REFUSED_MS) refused = null;
    const said = take(announcer, performance.now());
    if (said.length > 0) announced = said;
  }, 500);

  let letSleep: (() => void) | null = null;
  const stop = [
    meeting.on('state', (state) => {
      session = state;
      const told = 'welcome' in state ? state.welcome?.role : undefined;
      if (told !== undefined && told !== role) {
        role = told;
        if (!mayPublish) silence();
      }
      const isIn = state.at === 'in' || state.at === 'reconnecting';
      if (isIn && since === null) {
        since = Date.now();
        letSleep = keepAwake();
      }
      const isOver = state.at === 'left' || state.at === 'failed';
      // Back on the first page too, when the room was full for whoever had been away too long: the camera is shown there, a shared screen is not.
      if (isOver || (state.at === 'ready' && since !== null)) leaveBehind();
      if (isOver) devices.release();
      publish();
    }),
    meeting.on('roster', ({ roster, change }) => {
      const before = points;
      points = roster.points;
      const own = 'number' in meeting.state ? meeting.state.number : null;
      order = keepOrder(order, new Set([...points.keys()].filter((n) => n !== own)));
      screens = keepScreens(screens, new Set([...points.values()].filter((p) => p.published.includes('screen')).map((p) => p.number)));
      if (change !== null && change.kind !== 'changed' && change.point.number !== own) note(announcer, performance.now(), change.kind, change.point.name);
      // An old picture must not come back with the camera: it shows again with its first new frame. What was on its way when the camera went
      // off is painted after that news, so it counts no more when the camera comes on either.
      for (const [slot, source] of painted) if (source !== null && !(publishes(before, source) && publishes(points, source))) meeting.forget(slot);
    }),
    meeting.on('painted', ({ slot, source }) => painted.set(slot, source)),
    meeting.on('speaker', (next) => (speaker = next)),
    meeting.on('floor', (next) => (floor = next)),
    meeting.on('refused', (next) => {
      refused = next;
      refusedAt = performance.now();
    }),
    meeting.on('figures', (next) => (figures = next)),
    meeting.on('stats', (next) => (stats = next)),
    meeting.on('quality', (next) => (quality = new Map(next.map((q) => [q.slot, q])))),
    meeting.on('order', (next) => (sendOrder = next)),
    meeting.on('blocked', (next) => (blocked = next)),
    $effect.root(() => {
      $effect(() => {
        if (!inside) return;
        meeting.view(layout.wishes, turned);
        turned = false;
      });
      $effect(() => meeting.setOutput(input.speaker));
      $effect(() => {
        if (mayOpen) untrack(() => void devices.open());
      });
    }),
  ];

  /** What keeps this tile's picture from being as wanted; null: nothing. */
  function reasonFor(slot: string | null, height: number): Reason | null {
    return slot === null ? null : reasonOf(quality.get(slot), Math.ceil(height * area.density));
  }

  function leaveBehind(): void {
    quality = new Map();
    sendOrder = null;
    figures = null;
    grading = newSettling();
    announcer = newAnnouncer();
    since = null;
    letSleep?.();
    letSleep = null;
    stopSharing();
    painted.clear();
    pinned = null;
    floor = null;
    refused = null;
    speaker = null;
    page = 0;
    order = [];
    screens = [];
  }

  function silence(): void {
    devices.release();
    stopSharing();
  }

  function stopSharing(): void {
    for (const track of sharing?.getTracks() ?? []) track.stop();
    if (sharing === null) return;
    sharing = null;
    meeting.send('screen', null);
    meeting.send('screen_sound', null);
  }

  return {
    get session() { return session; },
    get number() { return number; },
    get points() { return points; },
    get layout() { return layout; },
    get speaker() { return speaker; },
    get floor() { return floor; },
    /** What was asked for a moment ago and did not happen; null: nothing. */
    get refused() { return refused; },
    /** False: this person sees and hears only. */
    get mayPublish() { return mayPublish; },
    /** This person gives the floor and takes it. */
    get leads() { return own !== undefined && leads(own); },
    get figures() { return figures; },
    /** What the page told the server of itself a second ago. */
    get stats() { return stats; },
    get quality() { return quality; },
    /** How good the line is for what is wanted of it. */
    get grade() { return grade; },
    get sendOrder() { return sendOrder; },
    /** What of one's own camera is not sent; null: all that is wanted goes out. */
    get cut() { return cut; },
    get blocked() { return blocked; },
    get input() { return input; },
    get pinned() { return pinned; },
    get sharing() { return sharing !== null; },
    get announced() { return announced; },
    /** When this page came in, on the wall clock; null outside. */
    get since() { return since; },
    get alone() { return order.length === 0; },
    canShare: canShare(),
    /** The name to begin with; `invited` is the invitation's, null while it is not known. */
    firstName: (invited: string | null): string => firstName(tab.name, invited, recall('name')),
    meeting,

    /**
     * The source a slot may show under a tile that wants `source`: only its own frames, and only while it says that it sends and the server
     * does not hold them back.
     */
    shows(slot: string | null, source: number): boolean {
      return slot !== null && publishes(points, source) && painted.get(slot) === source && !withheld(reasonFor(slot, 0));
    },
    reasonFor,
    setArea(next: Area) {
      if (next.width !== area.width || next.height !== area.height || next.density !== area.density) area = next;
    },
    retryDevices: () => devices.open(),
    choose: devices.choose,
    /** False if the name cannot be used. */
    join(raw: string, listenOnly: boolean): boolean {
      const name = displayName(raw);
      if (name === null) return false;
      remember('name', name);
      tab.keepName(name);
      if (listenOnly) devices.mute();
      else if (mayOpen) void devices.open();
      meeting.join(name);
      return true;
    },
    leave: () => meeting.leave(),
    again() {
      meeting.again();
      if (mayOpen) void devices.open();
    },
    toggle(kind: InputKind) {
      if (mayPublish) devices.want(kind, !input[kind].wanted);
    },
    async toggleShare() {
      if (sharing !== null) return stopSharing();
      if (!mayPublish) return;
      const stream = await askScreen();
      const [video] = stream?.getVideoTracks() ?? [];
      if (stream === null || video === undefined) return;
      if (!inside || sharing !== null) {
        // The meeting ended, or another share began, while the person was choosing.
        for (const track of stream.getTracks()) track.stop();
        return;
      }
      sharing = stream;
      video.onended = stopSharing;
      meeting.send('screen', video);
      meeting.send('screen_sound', stream.getAudioTracks()[0] ?? null);
    },
    pin(next: number) {
      turned = true;
      pinned = pinned === next ? null : next;
    },
    /** Gives the floor to a point, or takes it from it if it has it. */
    giveFloor(next: number) {
      refused = null;
      meeting.giveFloor(floor === next ? null : next);
    },
    mayHaveFloor(of: number): boolean {
      const point = points.get(of);
      return point !== undefined && maySpeak(point);
    },
    turn(by: number) {
      turned = true;
      page = Math.min(Math.max(layout.page + by, 0), layout.pages - 1);
    },
    resumeSound: () => meeting.resumeSound(),
    /** Every video slot with what it paints, for `window.diemcau`. */
    slots() {
      return Array.from({ length: VIDEO_SLOTS[profile] }, (_, i) => {
        const source = meeting.painted(`v${i}`);
        const name = source === null ? null : (points.get(pointOf(source))?.name ?? null);
        return { slot: `v${i}`, source, name };
      });
    },
    close() {
      clearInterval(ticker);
      for (const end of stop) end();
      devices.close();
      meeting.close();
    },
  };
}

// Long enough to be read, or heard, to its end.
const REFUSED_MS = 8_000;

function publishes(points: ReadonlyMap<number, Point>, source: number): boolean {
  return points.get(pointOf(source))?.published.includes(kindOf(source)) ?? false;
}

function isLate(session: State): boolean {
  return session.at === 'joining' ? session.waits === 'link' : 'late' in session && session.late;
}
