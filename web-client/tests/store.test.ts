// @vitest-environment happy-dom
import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { setLanguage } from '../src/i18n/index.svelte';
import { createStore, type Store } from '../src/store.svelte';
import Controls from '../src/view/parts/Controls.svelte';
import Quality from '../src/view/parts/Quality.svelte';
import SwitchButton from '../src/view/parts/SwitchButton.svelte';
import TroubleBar from '../src/view/parts/TroubleBar.svelte';
import { fakeMedia, fakeMeeting, point, settle, welcomed, type FakeMedia, type FakeMeeting } from './scene';
import type { Role } from '../src/engine/protocol';

let meeting: FakeMeeting;
let media: FakeMedia;
let store: Store;
let typed: string;

beforeEach(() => {
  localStorage.clear();
  sessionStorage.clear();
  media = fakeMedia();
  meeting = fakeMeeting();
  typed = '';
  store = createStore(meeting, 'laptop', { get name() { return typed; }, keepName: (name) => void (typed = name) });
});
afterEach(() => {
  store.close();
  document.body.replaceChildren();
});

const ready = async (role: Role = 'delegate'): Promise<void> => {
  meeting.to({ at: 'ready', welcome: welcomed(role), refused: null, late: false });
  flushSync();
  await settle();
};
const enter = async (role: Role = 'delegate'): Promise<void> => {
  await ready(role);
  store.join('An', false);
  await settle();
  meeting.to({ at: 'in', welcome: welcomed(role), number: 7 });
  meeting.meet(point(7, [], role));
  flushSync();
  await settle();
};

describe('who sees and hears only', () => {
  it('is asked for no device and sends nothing', async () => {
    await enter('observer');
    store.toggle('mic');
    await store.toggleShare();
    await settle();
    expect(media.asked).toEqual([]);
    expect(meeting.send).not.toHaveBeenCalled();
  });
  it('is told so in place of the switches', async () => {
    await enter('observer');
    const view = mount(Controls, { target: document.body, props: { store, openSettings: () => undefined } });
    expect(document.querySelector('[data-testid=watch-only]')?.textContent).toBe('Chỉ nghe và xem');
    for (const button of ['mic', 'camera', 'share']) expect(document.querySelector(`[data-testid=${button}]`), button).toBeNull();
    await unmount(view);
  });
  it('is let go of devices that were opened before the server said so', async () => {
    meeting.to({ at: 'connecting', welcome: null, late: true });
    flushSync();
    await settle();
    expect(store.input.mic.track).not.toBeNull();
    await ready('observer');
    expect(store.input.mic.track).toBeNull();
  });
});

it('the name typed is there again after the meeting, before the invitation’s', async () => {
  localStorage.setItem('diemcau.name', 'Người trước');
  expect(store.firstName('UBND xã Bình Liêu')).toBe('UBND xã Bình Liêu');
  await enter();
  expect(store.firstName('UBND xã Bình Liêu')).toBe('An');
});

describe('the stage', () => {
  it('shows the screen that was shared last, not the one of the highest number, and never one’s own', async () => {
    await enter();
    const others = (...sharing: number[]): void => {
      meeting.meet(...[3, 7, 9].map((n) => point(n, sharing.includes(n) ? ['screen'] : [])));
      flushSync();
    };
    others(9);
    others(9, 3);
    expect(store.layout.stage).toMatchObject({ number: 3, kind: 'screen' });
    others(9, 3, 7);
    expect(store.layout.stage?.number).toBe(3);
    others(9, 7);
    expect(store.layout.stage?.number).toBe(9);
    meeting.to({ at: 'left', why: 'self' });
    flushSync();
    expect(store.layout.stage).toBeNull();
  });
});

it('no picture of before comes back with a camera, also if some of it was painted after the camera went off', async () => {
  await enter();
  meeting.forget = (slot) => meeting.say('painted', { slot, source: null });
  const camera = (on: boolean): void => meeting.meet(point(7), point(9, on ? ['camera'] : []));
  const paint = (): void => meeting.say('painted', { slot: 'v1', source: 37 });
  camera(true);
  paint();
  expect(store.shows('v1', 37)).toBe(true);
  camera(true);
  expect(store.shows('v1', 37)).toBe(true);
  camera(false);
  paint();
  camera(true);
  expect(store.shows('v1', 37)).toBe(false);
  paint();
  expect(store.shows('v1', 37)).toBe(true);
});

it('the line has no grade while sound and pictures are away', async () => {
  vi.useFakeTimers();
  const timed = createStore(meeting, 'laptop', { name: '', keepName: () => undefined });
  try {
    meeting.say('figures', { rttMs: 5, lossIn: 0, lossOut: 0, kbpsIn: 900, kbpsOut: 900, roomOutKbps: null, voiceDelayMs: 40, framesIn: 15, slots: new Map(), grade: 4 });
    meeting.to({ at: 'in', welcome: null, number: 7 });
    vi.advanceTimersByTime(1_000);
    expect(timed.grade).toBe(4);
    meeting.to({ at: 'reconnecting', welcome: null, number: 7, what: 'media' });
    vi.advanceTimersByTime(1_000);
    expect(timed.grade).toBe(0);
    meeting.to({ at: 'reconnecting', welcome: null, number: 7, what: 'link' });
    vi.advanceTimersByTime(1_000);
    expect(timed.grade).toBe(4);
  } finally {
    timed.close();
    vi.useRealTimers();
  }
});

it('a switch turns a microphone off that was refused: no trouble is told any more, and it stays off', async () => {
  media.ask = () => Promise.reject(new DOMException('no', 'NotAllowedError'));
  await enter();
  const view = mount(SwitchButton, { target: document.body, props: { kind: 'mic', store } });
  expect(store.input.mic).toMatchObject({ wanted: true, problem: 'denied' });
  document.querySelector('button')?.click();
  flushSync();
  expect(store.input.mic).toMatchObject({ wanted: false, problem: null });
  expect(localStorage.getItem('diemcau.mic')).toBe('off');
  await unmount(view);
});

it('the keys of the meeting are named where they work', async () => {
  await enter();
  const first = mount(SwitchButton, { target: document.body, props: { kind: 'mic', store, compact: true } });
  expect(document.querySelector('button')?.title).toBe('Tắt mic');
  await unmount(first);
  const meeting = mount(Controls, { target: document.body, props: { store, openSettings: () => undefined } });
  expect(document.querySelector<HTMLElement>('[data-testid=mic]')?.title).toBe('Tắt mic (Ctrl+D)');
  await unmount(meeting);
});

describe('devices', () => {
  it('are asked for as soon as the server has said who this is', async () => {
    flushSync();
    expect(media.asked).toEqual([]);
    await ready();
    expect(media.asked.length).toBe(1);
    await enter();
    expect(meeting.send).toHaveBeenCalledWith('mic', store.input.mic.track);
  });
  it('wait no longer than two seconds for a server that is out of reach', async () => {
    meeting.to({ at: 'connecting', welcome: null, late: true });
    flushSync();
    await settle();
    expect(media.asked.length).toBe(1);
  });
});

it('what the server refused is told in words where a screen reader listens, each time anew, and goes by itself', async () => {
  vi.useFakeTimers();
  const timed = createStore(meeting, 'laptop', { name: '', keepName: () => undefined });
  const view = mount(TroubleBar, { target: document.body, props: { store: timed } });
  const place = document.querySelector('[data-testid=refused]') as HTMLElement;
  const said = (): string => (flushSync(), place.textContent?.trim() ?? '');
  try {
    expect(place.getAttribute('role')).toBe('status');
    expect(said()).toBe('');
    meeting.say('refused', { what: 'give_floor', why: 'state' });
    expect(said()).toBe('Chưa mời phát biểu được. Điểm cầu này vừa rời họp hoặc chỉ nghe và xem.');
    const first = place.firstElementChild;
    meeting.say('refused', { what: 'give_floor', why: 'state' });
    expect(said()).not.toBe('');
    expect(place.firstElementChild).not.toBe(first);
    timed.giveFloor(9);
    expect(said()).toBe('');
    meeting.say('refused', { what: 'take_floor', why: 'away' });
    expect(said()).toContain('Đang mất liên lạc với máy chủ');
    vi.advanceTimersByTime(9_000);
    expect(said()).toBe('');
  } finally {
    timed.close();
    await unmount(view);
    vi.useRealTimers();
  }
});

it('nobody is told, after the meeting, who came or went in it', async () => {
  vi.useFakeTimers();
  const timed = createStore(meeting, 'laptop', { name: '', keepName: () => undefined });
  try {
    meeting.to({ at: 'in', welcome: null, number: 7 });
    meeting.say('roster', { roster: { points: new Map(), sequence: 1 }, change: { kind: 'left', point: point(9) } });
    meeting.to({ at: 'left', why: 'ended' });
    vi.advanceTimersByTime(12_000);
    expect(timed.announced).toEqual([]);
  } finally {
    timed.close();
    vi.useRealTimers();
  }
});

it('figures are written as the page’s language writes them', async () => {
  const view = mount(Quality, { target: document.body, props: { store } });
  meeting.say('figures', { rttMs: 5, lossIn: 0.005, lossOut: 0, kbpsIn: 900, kbpsOut: 900, roomOutKbps: null, voiceDelayMs: 40, framesIn: 15, slots: new Map(), grade: 4 });
  flushSync();
  expect(document.querySelector('dl')?.textContent).toContain('0,5 % / 0 %');
  setLanguage('en');
  flushSync();
  expect(document.querySelector('dl')?.textContent).toContain('0.5 % / 0 %');
  setLanguage('vi');
  await unmount(view);
});
