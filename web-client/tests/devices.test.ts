// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createDevices, isOn, type Devices, type InputKind } from '../src/driver/devices';
import { fakeMedia, fakeTrack, settle, type FakeMedia, type FakeTrack } from './scene';

let media: FakeMedia;
let devices: Devices;
/** The tracks that the browser gave, in order. */
let given: FakeTrack[];
/** Devices that give nothing. */
let broken: Set<string>;

const idOf = (wanted: MediaStreamConstraints['video']): string => {
  const id = typeof wanted === 'object' ? (wanted.deviceId as ConstrainDOMStringParameters | undefined) : undefined;
  return String(id?.exact ?? id?.ideal ?? 'first');
};

beforeEach(async () => {
  vi.useFakeTimers();
  localStorage.clear();
  sessionStorage.clear();
  [given, broken] = [[], new Set()];
  media = fakeMedia();
  media.ask = async ({ audio, video }) => {
    await Promise.resolve();
    const tracks = [...(audio ? [fakeTrack('audio', idOf(audio))] : []), ...(video ? [fakeTrack('video', idOf(video))] : [])];
    if (tracks.some(({ label }) => broken.has(label))) throw new DOMException('busy', 'NotReadableError');
    given.push(...tracks);
    return tracks;
  };
  devices = createDevices(() => undefined);
  await devices.open();
});
afterEach(() => {
  devices.close();
  vi.useRealTimers();
});

const remembered = (kind: InputKind): string | null => localStorage.getItem(`diemcau.${kind}-device`);
const choose = async (kind: InputKind, id: string): Promise<void> => {
  devices.choose(kind, id);
  await settle();
};

describe('a device that is chosen', () => {
  it('is remembered when it has given something', async () => {
    await choose('camera', 'B');
    expect(devices.state.camera).toMatchObject({ chosen: 'B', problem: null, asking: false, track: { label: 'B' } });
    expect(remembered('camera')).toBe('B');
  });
  it('and gives nothing gives way to the former one, without a word of trouble', async () => {
    await choose('camera', 'B');
    broken.add('C');
    await choose('camera', 'C');
    expect(devices.state.camera).toMatchObject({ chosen: 'B', problem: null, asking: false, track: { label: 'B', readyState: 'live' } });
    expect(remembered('camera')).toBe('B');
  });
  it('leaves a word where the former one gives nothing either', async () => {
    broken.add('B').add('first');
    await choose('camera', 'B');
    expect(devices.state.camera).toMatchObject({ chosen: '', problem: 'busy', asking: false, track: null });
    expect(remembered('camera')).toBeNull();
  });
  it('and is a microphone leaves the former one on until it gives something', async () => {
    const before = devices.state.mic.track;
    broken.add('B');
    await choose('mic', 'B');
    expect(devices.state.mic).toMatchObject({ chosen: '', problem: null, asking: false });
    expect(devices.state.mic.track).toBe(before);
    expect(before?.readyState).toBe('live');
  });
  it('and is a camera is asked for when the former one is let go', async () => {
    const before = devices.state.camera.track;
    const ask = media.ask;
    let state = '';
    media.ask = (wanted) => {
      state = before?.readyState ?? '';
      return ask(wanted);
    };
    await choose('camera', 'B');
    expect(state).toBe('ended');
  });
  it('is the last of two that were chosen in haste', async () => {
    broken.add('B');
    devices.choose('camera', 'B');
    await Promise.resolve();
    devices.choose('camera', 'C');
    await settle();
    expect(devices.state.camera).toMatchObject({ chosen: 'C', problem: null, track: { label: 'C' } });
    expect(given.filter(({ kind, readyState }) => kind === 'video' && readyState === 'live').map(({ label }) => label)).toEqual(['C']);
  });
});

describe('a chosen microphone that is pulled out and plugged in again', () => {
  const plug = async (...ids: string[]): Promise<void> => {
    media.devices = ids.map((deviceId) => ({ kind: 'audioinput', deviceId, label: deviceId }));
    navigator.mediaDevices.dispatchEvent(new Event('devicechange'));
    await settle();
  };
  beforeEach(async () => {
    await plug('first', 'headset');
    await choose('mic', 'headset');
    // The browser gives another one in its place.
    const ask = media.ask;
    media.ask = async (wanted) => {
      const there = media.devices.some(({ deviceId }) => deviceId === 'headset');
      return there || !wanted.audio ? ask(wanted) : ask({ ...wanted, audio: { deviceId: { ideal: 'first' } } });
    };
    await plug('first');
    devices.state.mic.track?.onended?.call(devices.state.mic.track, new Event('ended'));
    await settle();
  });
  it('is the one that is heard again, once', async () => {
    expect(devices.state.mic).toMatchObject({ chosen: 'headset', track: { label: 'first' } });
    await plug('first', 'headset');
    expect(devices.state.mic).toMatchObject({ chosen: 'headset', problem: null, track: { label: 'headset', readyState: 'live' } });
    const asked = media.asked.length;
    await plug('first', 'headset', 'another');
    expect(media.asked.length).toBe(asked);
  });
  it('leaves the stand-in on where it gives nothing, and is not asked for at every news', async () => {
    broken.add('headset');
    await plug('first', 'headset');
    const asked = media.asked.length;
    await plug('first', 'headset', 'another');
    expect(media.asked.length).toBe(asked);
    expect(devices.state.mic).toMatchObject({ problem: null, track: { label: 'first', readyState: 'live' } });
  });
});

it('a camera that is plugged in after the meeting stays shut, and comes with the next one', async () => {
  const camera = devices.state.camera.track as FakeTrack;
  const ask = media.ask;
  media.ask = () => Promise.reject(new DOMException('none', 'NotFoundError'));
  camera.stop();
  camera.onended?.call(camera, new Event('ended'));
  await settle();
  expect(devices.state.camera).toMatchObject({ wanted: true, problem: 'none', track: null });
  devices.release();
  media.ask = ask;
  media.devices = [{ kind: 'videoinput', deviceId: 'B', label: 'B' }];
  const asked = media.asked.length;
  navigator.mediaDevices.dispatchEvent(new Event('devicechange'));
  await settle();
  expect(devices.state.camera.choices).toHaveLength(1);
  expect(media.asked.length).toBe(asked);
  await devices.open();
  expect(devices.state.camera.track?.readyState).toBe('live');
});

describe('a microphone that the system holds back', () => {
  /** Every track that is given from now on is held back too, until it is let go. */
  const hold = async (): Promise<void> => {
    const ask = media.ask;
    media.ask = async (wanted) => {
      const tracks = await ask(wanted);
      for (const track of tracks) track.muted = true;
      return tracks;
    };
    (devices.state.mic.track as FakeTrack).muted = true;
    await vi.advanceTimersByTimeAsync(5_000);
  };
  const show = (state: string): void => void Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
  afterEach(() => show('visible'));

  it('is asked for once more, then no longer called on, until it is free again', async () => {
    await hold();
    expect(media.asked.length).toBe(2);
    expect(isOn(devices.state.mic)).toBe(true);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(media.asked.length).toBe(2);
    expect(devices.state.mic.problem).toBe('busy');
    expect(isOn(devices.state.mic)).toBe(false);
    (devices.state.mic.track as FakeTrack).muted = false;
    await vi.advanceTimersByTimeAsync(1_000);
    expect(isOn(devices.state.mic)).toBe(true);
  });
  it('for a moment only is nobody’s concern', async () => {
    (devices.state.mic.track as FakeTrack).muted = true;
    await vi.advanceTimersByTimeAsync(2_000);
    (devices.state.mic.track as FakeTrack).muted = false;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(media.asked.length).toBe(1);
  });
  it('while the page is hidden is not asked for', async () => {
    show('hidden');
    await hold();
    expect(media.asked.length).toBe(1);
  });
  it('is asked for when the person tries again', async () => {
    await hold();
    await vi.advanceTimersByTimeAsync(30_000);
    await devices.open();
    expect(media.asked.length).toBe(3);
    // What comes is held back like the one before.
    await vi.advanceTimersByTimeAsync(5_000);
    expect(devices.state.mic.problem).toBe('busy');
  });
});
