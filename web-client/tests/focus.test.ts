// @vitest-environment happy-dom
import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createStore, type Store } from '../src/store.svelte';
import Announcer from '../src/view/parts/Announcer.svelte';
import SettingsDialog from '../src/view/parts/SettingsDialog.svelte';
import PreJoin from '../src/view/PreJoin.svelte';
import { fakeMedia, fakeMeeting, point, settle, welcomed, type FakeMeeting } from './scene';

let meeting: FakeMeeting;
let store: Store;

beforeEach(() => {
  vi.useFakeTimers();
  fakeMedia().ask = () => Promise.reject(new DOMException('no', 'NotFoundError'));
  meeting = fakeMeeting();
  store = createStore(meeting, 'laptop', { name: 'An', keepName: () => undefined });
  meeting.to({ at: 'ready', welcome: welcomed(), refused: null, late: false });
});
afterEach(() => {
  store.close();
  document.body.replaceChildren();
  vi.useRealTimers();
});

const show = (): (() => Promise<void>) => {
  const view = mount(PreJoin, { target: document.body, props: { store } });
  flushSync();
  return () => unmount(view);
};
const find = (id: string): HTMLElement => document.querySelector(`[data-testid=${id}]`) as HTMLElement;

describe('the first page', () => {
  it('takes the focus when one comes back to it, and not when it was just opened', async () => {
    const hide = show();
    expect(document.activeElement).toBe(document.body);
    await hide();
    show();
    expect(document.activeElement?.tagName).toBe('H1');
  });
  it('gives the focus back to the button when the room is full', async () => {
    show();
    (document.activeElement as HTMLElement).blur();
    meeting.to({ at: 'joining', welcome: welcomed(), waits: null, place: null });
    flushSync();
    meeting.to({ at: 'ready', welcome: welcomed(), refused: 'room_full', late: false });
    flushSync();
    expect(document.activeElement).toBe(find('join-button'));
    await settle();
  });
  it('says that one waits in a place that was there before', () => {
    show();
    const waits = find('waits');
    expect(waits.textContent?.trim()).toBe('');
    meeting.to({ at: 'joining', welcome: welcomed(), waits: 'node', place: null });
    flushSync();
    expect(find('waits')).toBe(waits);
    expect(waits.textContent).toContain('Máy chủ đang bận');
  });
});

it('the settings are closed by the browser, which gives the focus back, and taken away after it', async () => {
  const close = vi.fn();
  const view = mount(SettingsDialog, { target: document.body, props: { store, close } });
  flushSync();
  const dialog = document.querySelector('dialog') as HTMLDialogElement;
  const closed = vi.spyOn(dialog, 'close');
  document.querySelector<HTMLElement>('dialog .head button')?.click();
  expect(closed).toHaveBeenCalledOnce();
  await unmount(view);
});

it('the same news twice in a row is said twice', async () => {
  const view = mount(Announcer, { target: document.body, props: { store } });
  const said = (): string => document.querySelector('[role=status]')?.textContent ?? '';
  for (let i = 0; i < 2; i++) {
    meeting.say('roster', { roster: { points: new Map([[9, point(9)]]), sequence: 1 }, change: { kind: 'joined', point: point(9) } });
    vi.advanceTimersByTime(11_000);
    flushSync();
    expect(said()).toBe('P9 vừa vào họp.');
    vi.advanceTimersByTime(6_000);
    flushSync();
    expect(said()).toBe('');
  }
  await unmount(view);
});
