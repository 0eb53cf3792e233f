// @vitest-environment happy-dom
import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import MicMeter from '../src/view/parts/MicMeter.svelte';
import { fakeTrack } from './scene';

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
