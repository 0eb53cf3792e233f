// How this page sends what the server orders, and what its person should know of it.
import type { Cause, LayerOrder } from './protocol';
import type { SendOrder } from './session';
import { scalability } from './video';

/** The part of an encoding's parameters that is written here. */
export interface Encoding {
  active?: boolean;
  maxBitrate?: number;
  maxFramerate?: number;
  scalabilityMode?: string;
  scaleResolutionDownBy?: number;
}

/**
 * The encodings as the order wants them, lowest first; null if they are so already. Every encoding gets a number for each limit, also one
 * that the order does not name (it keeps its own): in Chromium one set frame rate rules the layers where it is missing, and taking it
 * away does not undo that.
 */
export function tuned<E extends Encoding>(encodings: readonly E[], layers: readonly LayerOrder[]): E[] | null {
  const next = encodings.map((encoding, i) => {
    const layer = layers[i];
    return {
      ...encoding,
      active: layer?.active ?? encoding.active ?? true,
      maxBitrate: clamp(layer?.bitrate ?? encoding.maxBitrate ?? BITRATE_DEFAULT, BITRATE_MIN, BITRATE_MAX),
      maxFramerate: clamp(layer?.fps ?? encoding.maxFramerate ?? FPS_MAX, 1, FPS_MAX),
    };
  });
  const same = next.every((n, i) => {
    const e = encodings[i];
    return n.active === e?.active && n.maxBitrate === e.maxBitrate && n.maxFramerate === e.maxFramerate;
  });
  return same ? null : next;
}

/**
 * The one encoding that carries `spatial` layers as the order for them wants it, lowest first; null if it is so already. It sends the
 * layers up to the highest that is wanted, each as high as it always is, at what they may take together.
 */
export function scaled<E extends Encoding>(encodings: readonly E[], layers: readonly LayerOrder[], spatial: number): E[] | null {
  const [encoding] = encodings;
  // The server took the source as one of a single layer.
  if (encoding === undefined || layers.length < spatial) return tuned(encodings, layers);
  const count = layers.slice(0, spatial).reduce((most, { active }, i) => (active ? i + 1 : most), 0);
  const sent = layers.slice(0, Math.max(1, count));
  const together: LayerOrder = {
    active: count > 0, bitrate: sent.reduce((sum, { bitrate }) => sum + bitrate, 0), fps: Math.max(...sent.map(({ fps }) => fps)),
  };
  const [next] = tuned([encoding], [together]) ?? [encoding];
  const [scalabilityMode, scaleResolutionDownBy] = [scalability(sent.length), 2 ** (spatial - sent.length)];
  const same = encoding.scalabilityMode === scalabilityMode && (encoding.scaleResolutionDownBy ?? 1) === scaleResolutionDownBy;
  return same && next === encoding ? null : [{ ...(next as E), scalabilityMode, scaleResolutionDownBy }];
}

/** Less of one's own camera goes out than others want. */
export interface Cut {
  sends: 'nothing' | 'small' | 'less';
  cause: Cause;
  /** The line's name, if it is a line and has one. */
  line: string | null;
}

/** Null: all that anybody wants goes out. */
export function cutOf(order: SendOrder | null): Cut | null {
  const camera = order?.sources.find(({ source }) => source === 'camera');
  if (camera === undefined || camera.cause === null) return null;
  const active = camera.layers.flatMap(({ active }, i) => (active ? [i] : []));
  const sends = active.length === 0 ? 'nothing' : active.length === 1 && active[0] === 0 && camera.layers.length > 1 ? 'small' : 'less';
  return { sends, cause: camera.cause, line: camera.line_name };
}

/** Something that is said only when it stands: it comes after a second and goes after three, so that words do not flicker. */
export interface Steady<T> {
  shown: T | null;
  next: T | null;
  since: number;
}

export const newSteady = <T>(): Steady<T> => ({ shown: null, next: null, since: 0 });

/** Takes what holds at `now` and answers what is to be shown; to be asked again while they differ. */
export function steady<T>(s: Steady<T>, now: number, value: T | null): T | null {
  const key = JSON.stringify(value);
  if (key !== JSON.stringify(s.next)) {
    s.next = value;
    s.since = now;
  }
  if (now - s.since >= (value === null ? GOES_MS : COMES_MS)) s.shown = s.next;
  return s.shown;
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, Math.round(value)));
}

// Below this no encoder makes pictures; above it none of ours gets better.
const BITRATE_MIN = 10_000;
const BITRATE_MAX = 10_000_000;
const BITRATE_DEFAULT = 1_800_000;
const FPS_MAX = 60;
const COMES_MS = 1_000;
const GOES_MS = 3_000;
