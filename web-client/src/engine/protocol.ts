// The client protocol of docs/PROTOCOL.md: what this page sends, what it takes, and the one door (`decode`) by which server messages come in.
import { boolean, fail, integer, isObject, list, map, nullable, object, oneOf, text, type Of, type Result, type Shape } from './shape';

export const VERSION = 3;

export const KINDS = ['mic', 'camera', 'screen', 'screen_sound'] as const;
/** A kind of source; its index in `KINDS` is the low two bits of a source's number. */
export type Kind = (typeof KINDS)[number];

export const PROFILES = ['phone', 'laptop', 'tv'] as const;
export type Profile = (typeof PROFILES)[number];
/** Video slots that a profile has, `v0` (the stage's) included. */
export const VIDEO_SLOTS: Readonly<Record<Profile, number>> = { phone: 8, laptop: 18, tv: 27 };
/** Audio slots, `a0` (the stage's) included. */
export const AUDIO_SLOTS = 6;

export const ROLES = ['chair', 'secretary', 'delegate', 'observer', 'guest', 'operator', 'admin'] as const;
export type Role = (typeof ROLES)[number];

export const ERROR_CODES = [
  'bad_message', 'rate_limited', 'bad_token', 'token_expired', 'unknown_room', 'room_full', 'bad_name', 'bad_sdp', 'state',
  'not_allowed', 'unavailable', 'internal',
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

export const CAUSES = [
  'path', 'line_budget', 'sender_path', 'sender_line', 'sender_cpu', 'receiver_cpu', 'not_sent', 'codec', 'policy', 'voices_only',
  'one_voice', 'node',
] as const;
/** Why less than wanted is sent. */
export type Cause = (typeof CAUSES)[number];

const U32_MAX = 0xffff_ffff;
const U16_MAX = 0xffff;
const u32 = integer(0, U32_MAX);
const number = integer(1, 2 ** 30 - 1);
const token = text(2_048, /^.+$/);
const sdp = text(262_144, /^v=0/);
const mid = text(16, /^.+$/);
const name = text(256);
const site = nullable(text(96, /^[a-z0-9.-]+$/));
const kind = oneOf(KINDS);
const SLOT = /^(a[0-5]|v(1?[0-9]|2[0-6]))$/;
const slotId = text(3, SLOT);

export const VIDEO_CODECS = ['vp8', 'h264', 'vp9', 'av1'] as const;
export type VideoCodec = (typeof VIDEO_CODECS)[number];
const videoRules = object({ codecs: list(oneOf(VIDEO_CODECS), VIDEO_CODECS.length), scalable: boolean });
/** How pictures are sent in a room: its codecs, the wanted first, and whether a camera's layers go in one stream where they can. */
export type VideoRules = Of<typeof videoRules>;

const point = object({
  number,
  name,
  site,
  role: oneOf(ROLES),
  published: list(kind, KINDS.length),
  connected: boolean,
});
/** One point of the roster. `connected` is false while its media path is down. */
export type Point = Of<typeof point>;

const slotChange = object({ slot: slotId, source: nullable(u32), time: nullable(u32) });
/** From RTP time `time` of the slot on, it shows `source`; null: it is empty. */
export type SlotChange = Of<typeof slotChange>;

// Why there is less than wanted, and which line it is, if it is one; its name may be unknown.
const shortfall = {
  cause: nullable(oneOf(CAUSES)), line: nullable(text(200, /^[a-z0-9.-]+$/)), line_name: nullable(name),
} as const;
const slotQuality = object({ slot: slotId, height: nullable(integer(0, U16_MAX)), rate: integer(0, 100), ...shortfall });
/** What a slot gets: the height of its pictures (null: none) and the share of the source's pictures per second, in percent. */
export type SlotQuality = Of<typeof slotQuality>;

const layerOrder = object({ active: boolean, bitrate: integer(0, Number.MAX_SAFE_INTEGER), fps: integer(0, 255) });
/** What an encoding is to send, at most: bits and pictures per second. */
export type LayerOrder = Of<typeof layerOrder>;
const sourceOrder = object({ source: oneOf(['camera', 'screen']), layers: list(layerOrder, 8), ...shortfall });
/** What is to be sent of a source, its encodings lowest first. */
export type SourceOrder = Of<typeof sourceOrder>;

// No room has more points than this; a longer list is refused rather than kept.
const POINTS_MAX = 4_096;
const points = list(point, POINTS_MAX);
const slotChanges = list(slotChange, 64);
const id = u32;
const sequence = integer(0, Number.MAX_SAFE_INTEGER);

const SERVER = {
  welcome: object({
    type: oneOf(['welcome']),
    version: integer(1, 1_000),
    server: text(256),
    room: object({ id: text(64, /^[a-z0-9-]+$/), title: text(1_024) }),
    name,
    site,
    role: oneOf(ROLES),
    points: integer(0, POINTS_MAX),
    video: videoRules,
  }),
  joined: object({
    type: oneOf(['joined']), id, number, resume: token, answer: sdp, slots: map(SLOT, mid, 64), points, sequence, floor: nullable(number),
  }),
  resumed: object({
    type: oneOf(['resumed']), number, resume: token, media: oneOf(['kept', 'lost']), slots: slotChanges, points, sequence,
    floor: nullable(number),
  }),
  queued: object({ type: oneOf(['queued']), id, place: integer(1, U32_MAX) }),
  restarted: object({ type: oneOf(['restarted']), id, answer: sdp }),
  point: object({ type: oneOf(['point']), sequence, change: oneOf(['joined', 'changed', 'left']), point }),
  slots: object({ type: oneOf(['slots']), slots: slotChanges }),
  quality: object({ type: oneOf(['quality']), slots: list(slotQuality, 64) }),
  send: object({ type: oneOf(['send']), voice_ms: integer(10, 120), sources: list(sourceOrder, 4) }),
  speaker: object({ type: oneOf(['speaker']), number: nullable(number) }),
  floor: object({ type: oneOf(['floor']), number: nullable(number) }),
  media: object({ type: oneOf(['media']), state: oneOf(['connected', 'lost']) }),
  error: object({ type: oneOf(['error']), id: nullable(id), code: oneOf(ERROR_CODES) }),
  bye: object({ type: oneOf(['bye']), code: oneOf(ERROR_CODES) }),
  pong: object({ type: oneOf(['pong']), id }),
} as const;

/** One wish of a `view`: this source in this slot, for a tile of this height in pixels. */
export interface Wish {
  slot: string;
  source: number;
  height: number;
  /** The person chose this picture: it comes right after the stage. */
  pinned?: true;
}

/** What a page says of itself once a second; counts are since the last report. */
export interface ClientStats {
  /** Decoding is too much for this machine. */
  cpu_limited: boolean;
  /** Encoding is too much for this machine. */
  encoder_limited: boolean;
  /** In all video slots together. */
  frames_decoded: number;
  /** Times that a picture stood still, and for how long in all. */
  freezes: number;
  freeze_ms: number;
  /** Samples of voices that were made up, in millionths of all. */
  concealed_ppm: number;
  /** Jitter buffer of voices, mean. */
  audio_delay_ms: number;
}

/** Whatever this page says. */
export type ClientMessage =
  | { type: 'hello'; version: number; token: string; resume: string | null }
  | { type: 'join'; id: number; name: string; profile: Profile; sources: Sources; published: Kind[]; offer: string }
  | { type: 'restart'; id: number; offer: string }
  | { type: 'view'; slots: Wish[] }
  | ({ type: 'stats' } & ClientStats)
  | { type: 'publish'; source: Kind; on: boolean }
  | { type: 'give_floor'; id: number; point: number }
  | { type: 'take_floor'; id: number }
  | { type: 'leave' }
  | { type: 'ping'; id: number };

/** Which m-section of the offer carries which source; a kind that is missing is never sent. */
export type Sources = Partial<Record<Kind, string>>;

type Messages<T extends Record<string, Shape<unknown>>> = { [K in keyof T]: Of<T[K]> }[keyof T];
/** Whatever the server says. */
export type ServerMessage = Messages<typeof SERVER>;
/** A message of one type, e.g. `Server<'joined'>`. */
export type Server<T extends keyof typeof SERVER> = Of<(typeof SERVER)[T]>;

export const encode = (message: ClientMessage): string => JSON.stringify(message);

/** The number of a point's source. */
export const sourceOf = (point: number, kind: Kind): number => point * 4 + KINDS.indexOf(kind);
export const pointOf = (source: number): number => Math.floor(source / 4);
export const kindOf = (source: number): Kind => KINDS[(source % 4) as 0 | 1 | 2 | 3];

/**
 * The form of a display name that the server takes: NFC, one space between words, without invisible characters. Null if nothing or too
 * much is left.
 */
export function displayName(raw: string): string | null {
  const clean = raw.normalize('NFC').replace(/[\s\p{Cc}]+/gu, ' ').replace(/\p{Cf}/gu, '').trim();
  const length = [...clean.replace(/\p{M}/gu, '')].length;
  if (length < 1 || length > 64 || new TextEncoder().encode(clean).length > 256) return null;
  return /[\p{L}\p{N}\p{P}\p{S}]/u.test(clean) ? clean : null;
}

/** Reads one text frame of the server. Anything but a message of the protocol is a reason, never an exception. */
export function decode(frame: string): Result<ServerMessage> {
  let value: unknown;
  try {
    value = JSON.parse(frame);
  } catch {
    return fail('not JSON');
  }
  if (!isObject(value) || typeof value['type'] !== 'string') return fail('not an object with a type');
  const type = value['type'];
  if (!isType(type)) return fail('unknown type');
  return (SERVER[type] as Shape<ServerMessage>)(value, type);
}

function isType(type: string): type is keyof typeof SERVER {
  return Object.hasOwn(SERVER, type);
}
