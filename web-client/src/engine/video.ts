// How this page sends pictures in a room: which codec, in how many encodings. What the browser can do is told; nothing is asked here.
import type { VideoCodec, VideoRules } from './protocol';

/** What a browser can do with pictures. */
export interface Skills {
  sends: ReadonlySet<VideoCodec>;
  /** It takes `scalabilityMode`; where no codec needs it, it may only be thought to. */
  scales: boolean;
}

/** TypeScript's own type knows no scalability modes yet. */
export type Encoding = RTCRtpEncodingParameters & { scalabilityMode?: string };

/** How a source of pictures is sent. */
export interface Sending {
  codec: VideoCodec;
  encodings: readonly Encoding[];
  /** Spatial layers that go in the one encoding; 1: the encodings themselves are the layers. */
  spatial: number;
}

/**
 * The first of the room's codecs that the browser sends, else VP8. VP9 and AV1 only where it also says how they scale: a camera in one
 * unlayered stream would be sent to a thumbnail as large as to a stage.
 */
export function codecOf(rules: VideoRules, skills: Skills): VideoCodec {
  return rules.codecs.find((codec) => skills.sends.has(codec) && (skills.scales || !LAYERED.has(codec))) ?? 'vp8';
}

export function cameraOf(rules: VideoRules, skills: Skills): Sending {
  const codec = codecOf(rules, skills);
  if (rules.scalable && LAYERED.has(codec)) {
    return { codec, spatial: MODES.length, encodings: [{ ...SCALABLE, scalabilityMode: scalability(MODES.length) }] };
  }
  return { codec, spatial: 1, encodings: withTime(CAMERA_LAYERS, skills) };
}

export function screenOf(rules: VideoRules, skills: Skills): Sending {
  return { codec: codecOf(rules, skills), spatial: 1, encodings: withTime(SCREEN_LAYER, skills) };
}

/** The mode with so many spatial layers, 1 to 3. */
export function scalability(spatial: number): string {
  return MODES[Math.min(Math.max(spatial, 1), MODES.length) - 1] as string;
}

function withTime(encodings: readonly Encoding[], skills: Skills): readonly Encoding[] {
  return skills.scales ? encodings.map((encoding) => ({ ...encoding, scalabilityMode: scalability(1) })) : encodings;
}

/** For these codecs it matters whether the browser takes `scalabilityMode`. */
export const needsModes = (rules: VideoRules): boolean => rules.codecs.some((codec) => LAYERED.has(codec));

/** What a room has whose server does not say. */
export const VP8_ONLY: VideoRules = { codecs: ['vp8'], scalable: false };

const LAYERED: ReadonlySet<VideoCodec> = new Set(['vp9', 'av1']);
// Between key pictures no layer leans on a lower one: so the node can leave out any of them, and a step down needs no key picture.
const MODES = ['L1T3', 'L2T3_KEY', 'L3T3_KEY'] as const;
// A number for maxFramerate stands on every encoding: in Chromium one set value would rule the layers where it is missing.
const CAMERA_LAYERS: readonly RTCRtpEncodingParameters[] = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000, maxFramerate: 15 },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000, maxFramerate: 30 },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_800_000, maxFramerate: 30 },
];
const SCALABLE: RTCRtpEncodingParameters = { scaleResolutionDownBy: 1, maxBitrate: 2_450_000, maxFramerate: 30 };
const SCREEN_LAYER: readonly RTCRtpEncodingParameters[] = [{ maxBitrate: 2_500_000, maxFramerate: 15 }];
