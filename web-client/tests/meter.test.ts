// @vitest-environment happy-dom
import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createStore } from '../src/store.svelte';
import DeviceFields from '../src/view/parts/DeviceFields.svelte';
import MicMeter from '../src/view/parts/MicMeter.svelte';
import { fakeMedia, fakeMeeting, fakeTrack, settle } from './scene';

let state: AudioContextState;

beforeEach(() => {
  vi.useFakeTimers();
  state = 'suspended';
  class Context {
    get state(): AudioContextState { return state; }
    createMediaStreamSource(): unknown { return { connect: () => undefined, disconnect: () => undefined }; }
    createAnalyser(): unknown { return { fftSize: 0, getFloatTimeDomainData: (samples: Float32Array) => samples.fill(0.05) }; }
    resume(): Promise<void> { return Promise.resolve(); }
    close(): Promise<void> { return Promise.resolve(); }
  }
  vi.stubGlobal('AudioContext', Context);
  vi.stubGlobal('MediaStream', class {});
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

it('a microphone is not called silent while the browser does not let the page listen', async () => {
  const view = mount(MicMeter, { target: document.body, props: { track: fakeTrack('audio') } });
  const word = (): string | null | undefined => {
    flushSync();
    vi.advanceTimersByTime(1_000);
    flushSync();
    return document.querySelector('.word')?.textContent;
  };
  expect(word()).toBe('Bấm vào trang để thử micro');
  state = 'running';
  expect(word()).toBe('nghe rõ');
  await unmount(view);
});

describe('a browser that refuses to listen', () => {
  beforeEach(() => {
    vi.stubGlobal('AudioContext', class {
      createMediaStreamSource(): never { throw new DOMException('another rate', 'NotSupportedError'); }
      createMediaStreamDestination(): never { throw new DOMException('no sound here', 'NotSupportedError'); }
      close(): Promise<void> { return Promise.resolve(); }
    });
  });
  it('costs the meter and nothing else', async () => {
    const view = mount(MicMeter, { target: document.body, props: { track: fakeTrack('audio') } });
    flushSync();
    expect(document.querySelector('.word')?.textContent).toBe('không đo được mức tiếng');
    await unmount(view);
  });
  it('leaves the button of the speaker’s test free', async () => {
    fakeMedia();
    const store = createStore(fakeMeeting(), 'laptop', { name: '', keepName: () => undefined });
    const view = mount(DeviceFields, { target: document.body, props: { store } });
    flushSync();
    const button = document.querySelector('button') as HTMLButtonElement;
    button.click();
    flushSync();
    expect(button.disabled).toBe(true);
    await settle();
    flushSync();
    expect(button.disabled).toBe(false);
    await unmount(view);
    store.close();
  });
});
