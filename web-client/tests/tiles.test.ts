// @vitest-environment happy-dom
import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
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
