// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDevices, type Devices, type InputKind } from '../src/driver/devices';
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
afterEach(() => devices.close());

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
