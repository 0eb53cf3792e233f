import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { preferVideo, skillsOf } from '../src/driver/codecs';
import type { VideoCodec, VideoRules } from '../src/engine/protocol';
import { cameraOf, codecOf, screenOf, type Skills } from '../src/engine/video';

const skills = (sends: VideoCodec[], scales = true): Skills => ({ sends: new Set(sends), scales });
const rules = (codecs: VideoCodec[], scalable = false): VideoRules => ({ codecs, scalable });
const chromium = skills(['vp8', 'h264', 'vp9', 'av1']);
const firefox = skills(['vp8', 'vp9', 'av1'], false);

describe('how pictures are sent', () => {
  it.each([
    [['vp8'], chromium, 'vp8'],
    [['av1', 'vp9'], chromium, 'av1'],
    [['h264', 'vp9'], skills(['vp8', 'vp9']), 'vp9'],
    [['h264'], firefox, 'vp8'],
    [['vp9', 'h264'], skills(['vp8', 'vp9', 'h264'], false), 'h264'],
    [['av1'], firefox, 'vp8'],
    [['av1'], skills([]), 'vp8'],
  ] as [VideoCodec[], Skills, VideoCodec][])('in a room of %s', (codecs, can, codec) => {
    expect(codecOf(rules(codecs), can)).toBe(codec);
  });
  it('a camera goes as simulcast, or as layers of one stream in a small room with a codec that has them', () => {
    const row = (codec: VideoCodec, scalable: boolean, can = chromium) => {
      const { spatial, encodings } = cameraOf(rules([codec], scalable), can);
      return [spatial, ...encodings.map((e) => [e.rid, e.scalabilityMode])];
    };
    const simulcast = [1, ['q', 'L1T3'], ['h', 'L1T3'], ['f', 'L1T3']];
    for (const codec of ['vp8', 'h264', 'vp9', 'av1'] as const) expect(row(codec, false)).toEqual(simulcast);
    for (const codec of ['vp8', 'h264'] as const) expect(row(codec, true)).toEqual(simulcast);
    for (const codec of ['vp9', 'av1'] as const) expect(row(codec, true)).toEqual([3, [undefined, 'L3T3_KEY']]);
    expect(row('vp9', true, firefox)).toEqual([1, ['q', undefined], ['h', undefined], ['f', undefined]]);
  });
  it('a screen goes in one stream of one size, and every encoding has its numbers', () => {
    const screen = screenOf(rules(['av1'], true), chromium);
    expect(screen).toMatchObject({ codec: 'av1', spatial: 1, encodings: [{ scalabilityMode: 'L1T3' }] });
    const camera = (scalable: boolean) => cameraOf(rules(['vp9'], scalable), chromium).encodings;
    for (const { maxBitrate, maxFramerate } of [...screen.encodings, ...camera(true), ...camera(false)]) {
      expect(maxBitrate).toBeGreaterThan(0);
      expect(maxFramerate).toBeGreaterThan(0);
    }
  });
});

describe('what a browser has', () => {
  const h264 = (form: string): RTCRtpCodec => ({ mimeType: 'video/H264', clockRate: 90_000, sdpFmtpLine: form });
  const codec = (name: string, form?: string): RTCRtpCodec => ({ mimeType: `video/${name}`, clockRate: 90_000, ...(form === undefined ? {} : { sdpFmtpLine: form }) });
  const good = h264('level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f');
  const all = [
    codec('VP8'), codec('rtx'), h264('level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f'),
    h264('level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f'), good, codec('AV1', 'level-idx=5;profile=0;tier=0'),
    codec('AV1', 'level-idx=5;profile=1;tier=0'), codec('VP9', 'profile-id=2'), codec('VP9', 'profile-id=0'),
  ];
  const closed = vi.fn();
  /** `mode`: what the browser makes of a scalability mode. */
  const stub = (codecs: RTCRtpCodec[], mode: string | undefined | Error) => {
    const peer = class {
      addTransceiver = () => {
        if (mode instanceof Error) throw mode;
        return { sender: { getParameters: () => ({ encodings: [{ scalabilityMode: mode }] }) } };
      };
      close = closed;
    };
    vi.stubGlobal('RTCPeerConnection', peer);
    vi.stubGlobal('RTCRtpSender', { getCapabilities: () => ({ codecs }) });
    vi.stubGlobal('RTCRtpReceiver', { getCapabilities: () => ({ codecs }) });
  };
  beforeEach(() => closed.mockClear());
  afterEach(() => vi.unstubAllGlobals());
  it('counts the forms that the server answers alone', () => {
    stub(all, 'L1T3');
    expect(skillsOf(rules(['av1']))).toEqual(chromium);
    stub([codec('VP8'), h264('packetization-mode=0;profile-level-id=42e01f'), codec('VP9')], undefined);
    expect(skillsOf(rules(['vp8', 'vp9']))).toEqual(skills(['vp8', 'vp9'], false));
    stub([codec('VP8')], new Error('refused'));
    expect(skillsOf(rules(['vp9']))).toEqual(skills(['vp8'], false));
    expect(closed).toHaveBeenCalledTimes(3);
    expect(skillsOf(rules(['vp8', 'h264']))).toEqual(skills(['vp8']));
    expect(closed, 'nothing is asked where it does not matter').toHaveBeenCalledTimes(3);
  });
  it('is offered in the order asked for, each codec once, with its repairs', () => {
    stub(all, 'L1T3');
    const setCodecPreferences = vi.fn();
    preferVideo({ setCodecPreferences } as unknown as RTCRtpTransceiver, ['h264', 'av1', 'vp8']);
    expect(setCodecPreferences).toHaveBeenCalledWith([good, all[5], all[0], all[1]]);
  });
});
