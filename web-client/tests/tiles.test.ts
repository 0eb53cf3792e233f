// @vitest-environment happy-dom
import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Point, Role } from '../src/engine/protocol';
import { createStore, type Store } from '../src/store.svelte';
import Grid from '../src/view/parts/Grid.svelte';
import { fakeMedia, fakeMeeting, point, settle, welcomed, type FakeMeeting } from './scene';

let meeting: FakeMeeting;
let store: Store;
let view: Record<string, unknown> | null = null;

beforeEach(() => {
  localStorage.clear();
  sessionStorage.clear();
  fakeMedia();
  meeting = fakeMeeting();
  store = createStore(meeting, 'laptop', { name: '', keepName: () => undefined });
});
afterEach(async () => {
  if (view !== null) await unmount(view);
  view = null;
  store.close();
  document.body.replaceChildren();
});

const enter = async (role: Role, ...others: Point[]): Promise<void> => {
  meeting.to({ at: 'in', welcome: welcomed(role), number: 7 });
  meeting.meet(point(7, [], role), ...others);
  view = mount(Grid, { target: document.body, props: { store } });
  store.setArea({ width: 1_200, height: 700, density: 1 });
  flushSync();
  await settle();
  flushSync();
};
const tile = (number: number): HTMLElement => document.querySelector(`[data-pins="${number}"]`)?.closest('[data-testid=tile]') as HTMLElement;
const own = (): HTMLElement => document.querySelector('[data-testid=self]') as HTMLElement;
const isMuted = (of: HTMLElement): boolean => of.querySelector('.muted') !== null;

describe('a microphone that is off', () => {
  it('is shown of who could switch it on', async () => {
    await enter('delegate', point(9));
    expect(isMuted(tile(9))).toBe(true);
    expect(tile(9).getAttribute('aria-label')).toContain('mic tắt');
  });
  it('is not shown of who sees and hears only, to others or to oneself', async () => {
    await enter('observer', point(9, [], 'observer'));
    for (const [of, name] of [[tile(9), 'P9'], [own(), 'Bạn']] as const) {
      expect(isMuted(of)).toBe(false);
      expect(of.getAttribute('aria-label')).toBe(`${name}, chỉ nghe và xem`);
    }
  });
});

describe('the picture of a tile', () => {
  it('stays where it is while others come, speak and go', async () => {
    const video = document.createElement('video');
    const park = vi.fn(() => void video.remove());
    Object.assign(meeting, { video: () => video, park });
    await enter('delegate', point(9, ['camera']));
    expect(video.closest('[data-testid=tile]')).toBe(tile(9));
    meeting.meet(point(7), point(9, ['camera']), point(11));
    flushSync();
    meeting.say('speaker', 11);
    flushSync();
    meeting.meet(point(7), point(9, ['camera', 'mic']));
    flushSync();
    expect(park).not.toHaveBeenCalled();
    meeting.meet(point(7), point(9));
    flushSync();
    expect(park).toHaveBeenCalledOnce();
  });
});

it('one’s own picture goes on when other devices come', async () => {
  let made = 0;
  vi.stubGlobal('MediaStream', class extends MediaStream {
    constructor() {
      super();
      made += 1;
    }
  });
  await enter('delegate');
  await store.retryDevices();
  flushSync();
  expect(made).toBe(1);
  const before = store.input.camera;
  navigator.mediaDevices.dispatchEvent(new Event('devicechange'));
  await settle();
  flushSync();
  expect(store.input.camera).not.toBe(before);
  expect(made).toBe(1);
  vi.unstubAllGlobals();
});

it('the button that turned to the last page keeps the focus', async () => {
  await enter('delegate', ...Array.from({ length: 60 }, (_, i) => point(10 + i)));
  const next = document.querySelector('[data-testid=page-next]') as HTMLElement;
  next.focus();
  for (let i = 0; i < 20; i++) {
    next.click();
    flushSync();
  }
  expect(store.layout.page).toBe(store.layout.pages - 1);
  expect(next.getAttribute('aria-disabled')).toBe('true');
  expect(document.activeElement).toBe(next);
});
