// What the server says of a slot, as a thing to show: nothing while the picture is as wanted, else what is less and why.
import type { Cause, SlotQuality } from './protocol';

export interface Reason {
  /** The picture is smaller, comes slower, is away, or there are only voices. */
  what: 'smaller' | 'slower' | 'none' | 'voices_only' | 'one_voice';
  cause: Cause;
  /** The line's name, if it is a line and has one. */
  line: string | null;
}

/** `wanted` is the height that was asked for. */
export function reasonOf(quality: SlotQuality | undefined, wanted: number): Reason | null {
  if (quality === undefined || quality.cause === null) return null;
  return { what: whatOf(quality, quality.cause, wanted), cause: quality.cause, line: quality.line_name };
}

/**
 * The picture in the slot stands still on purpose, so it must not be shown as if it lived. One that just does not arrive may come back at
 * any moment: it stays until something else is known.
 */
export function withheld(reason: Reason | null): boolean {
  return reason !== null && reason.cause !== 'not_sent' && (reason.what === 'none' || VOICES.has(reason.cause));
}

function whatOf({ height, rate }: SlotQuality, cause: Cause, wanted: number): Reason['what'] {
  if (cause === 'voices_only' || cause === 'one_voice') return cause;
  if (height === null) return 'none';
  return height >= wanted && rate < 100 ? 'slower' : 'smaller';
}

const VOICES: ReadonlySet<Cause> = new Set(['voices_only', 'one_voice']);
