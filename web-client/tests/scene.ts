// A store on a meeting that only says what the test lets it say, and cameras and microphones that do as they are told.
import { vi } from 'vitest';
import { VP8_ONLY } from '../src/engine/video';
import { EMPTY_ROSTER } from '../src/engine/roster';
import type { Point, Role, Server } from '../src/engine/protocol';
import type { Events, Meeting, State } from '../src/sdk';

export const welcomed = (role: Role = 'delegate', name = ''): Server<'welcome'> => ({
  type: 'welcome', version: 3, server: 'x', room: { id: 'demo', title: 'Demo' }, name, site: null, role, points: 0, video: VP8_ONLY,
});
export const point = (number: number, published: Point['published'] = [], role: Role = 'delegate'): Point => ({
  number, name: `P${number}`, site: null, role, published, connected: true,
});

export interface FakeMeeting extends Meeting {
  say<E extends keyof Events>(event: E, value: Events[E]): void;
  /** The state changes, and is told. */
  to(state: State): void;
  meet(...points: Point[]): void;
}

export function fakeMeeting(): FakeMeeting {
  const hearers = new Map<keyof Events, Set<(value: never) => void>>();
  let state: State = { at: 'connecting', welcome: null, late: false };
  const none = (): void => undefined;
  const meeting: FakeMeeting = {
    get state() { return state; },
    roster: EMPTY_ROSTER, pc: null, undecoded: 0,
    on(event, hear) {
      const set = hearers.get(event) ?? new Set();
      hearers.set(event, set.add(hear as (value: never) => void));
      return () => void set.delete(hear as (value: never) => void);
    },
    say(event, value) {
      for (const hear of hearers.get(event) ?? []) (hear as (value: unknown) => void)(value);
    },
    to(next) {
      state = next;
      this.say('state', next);
    },
    meet(...points) {
      this.say('roster', { roster: { points: new Map(points.map((p) => [p.number, p])), sequence: 1 }, change: null });
    },
    join: vi.fn(), leave: vi.fn(), again: vi.fn(), send: vi.fn(), view: vi.fn(), giveFloor: vi.fn(),
    video: () => null, park: none, setOutput: none, resumeSound: none, painted: () => null, forget: none, close: none,
  };
  return meeting;
}

export interface FakeTrack extends MediaStreamTrack {
  muted: boolean;
}

export function fakeTrack(kind: 'audio' | 'video', label = ''): FakeTrack {
  const track = Object.assign(new EventTarget(), {
    kind, label, muted: false, readyState: 'live', contentHint: '', onended: null, enabled: true, id: label,
    stop(this: { readyState: string }) { this.readyState = 'ended'; },
    getSettings: () => ({ deviceId: label }),
  });
  return track as unknown as FakeTrack;
}

/** What the browser answers when it is asked; a test changes `ask` for another answer. */
export interface FakeMedia {
  ask: (wanted: MediaStreamConstraints) => Promise<FakeTrack[]>;
  /** What is plugged in. */
  devices: readonly Pick<MediaDeviceInfo, 'kind' | 'deviceId' | 'label'>[];
  asked: MediaStreamConstraints[];
}

export function fakeMedia(): FakeMedia {
  const media: FakeMedia = {
    asked: [],
    devices: [],
    ask: (wanted) => Promise.resolve([...(wanted.audio ? [fakeTrack('audio')] : []), ...(wanted.video ? [fakeTrack('video')] : [])]),
  };
  const devices = Object.assign(new EventTarget(), {
    getUserMedia: async (wanted: MediaStreamConstraints) => {
      media.asked.push(wanted);
      const tracks = await media.ask(wanted);
      return { getTracks: () => tracks };
    },
    enumerateDevices: () => Promise.resolve(media.devices),
    getDisplayMedia: () => Promise.reject(new Error('nobody asked')),
  });
  Object.defineProperty(navigator, 'mediaDevices', { value: devices, configurable: true });
  return media;
}

/** Lets all that was promised happen. */
export const settle = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};
