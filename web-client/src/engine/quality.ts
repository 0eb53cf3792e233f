// What the server says of a slot, as a thing to show: nothing while the picture is as wanted, else what is less and why.
import type { Cause, SlotQuality } from './protocol';
import type { Cut } from './sending';
import type { Grade } from './stats';

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
  return reason !== null && reason.cause !== 'not_sent' && reason.what !== 'smaller' && reason.what !== 'slower';
}

function whatOf({ height, rate }: SlotQuality, cause: Cause, wanted: number): Reason['what'] {
  // What comes is shown, whatever is said of the rest.
  if (height === null) return cause === 'voices_only' || cause === 'one_voice' ? cause : 'none';
  return height >= wanted && rate < 100 ? 'slower' : 'smaller';
}

/** A wanted picture, and what it gets. */
export interface Got {
  quality: SlotQuality;
  /** The height that was asked for. */
  wanted: number;
}

/**
 * How good this page's line is for what is wanted of it: the worst of what was measured (round trip and loss say nothing of a line that is
 * thin but clean, for the server sends no more than fits), of the pictures that it is too thin for, and of one's own picture on its way out.
 */
export function lineGrade(measured: Grade, pictures: readonly Got[], cut: Cut | null): Grade {
  const grades = [measured, ...pictures.map(pictureGrade), cutGrade(cut)];
  // Nothing comes: then nothing else matters.
  return Math.min(...grades) as Grade;
}

function pictureGrade({ quality: { cause, height, rate }, wanted }: Got): Grade {
  switch (cause) {
    // The line is sound, but full.
    case 'line_budget':
      return 2;
    case 'path':
    case 'voices_only':
    case 'one_voice':
      if (height === null || rate < RATE_FAIR || (height < wanted && height < HEIGHT_FAIR)) return 1;
      return height < HEIGHT_GOOD || rate < 100 ? 2 : 3;
    default:
      return 4;
  }
}

function cutGrade(cut: Cut | null): Grade {
  if (cut === null) return 4;
  if (cut.cause === 'sender_line') return 2;
  if (cut.cause !== 'sender_path') return 4;
  return cut.sends === 'less' ? 2 : 1;
}

/** A grade that falls at once and rises when the better one has stood for a while, so that it does not flicker. */
export interface Settling {
  shown: Grade;
  /** Since when there has been better than what is shown; null: there is not. */
  betterSince: number | null;
}

export const newSettling = (): Settling => ({ shown: 0, betterSince: null });

/** Takes the grade at `now` and answers what is to be shown; to be asked again while they differ. */
export function settle(s: Settling, now: number, grade: Grade): Grade {
  if (s.shown === 0 || grade <= s.shown) {
    s.shown = grade;
    s.betterSince = null;
  } else if (s.betterSince === null) {
    s.betterSince = now;
  } else if (now - s.betterSince >= RISES_MS) {
    s.shown = grade;
    s.betterSince = null;
  }
  return s.shown;
}

// Faces are hard to know below the first height, and look as they do nearby from the second on.
const HEIGHT_FAIR = 270;
const HEIGHT_GOOD = 540;
// Fewer than half of the pictures no longer move.
const RATE_FAIR = 50;
const RISES_MS = 4_000;
