// Which source does the frame of a slot belong to? Two kinds of facts say so: `slots` messages (from RTP time `time` on, it is this source)
// and the contributing sources of its packets. The newest fact that is not later than the frame decides; without one nobody is named.
//
// In Chromium the frame's own contributing source carries the frame's very time, so it always wins. In Firefox it is one frame old: then
// the message wins if it has come, and if it is late the frame after the first is right again.
import type { SlotChange } from './protocol';

export interface Contributing {
  source: number;
  rtpTimestamp: number;
}

interface Entry {
  source: number;
  time: number;
}

/** The recent past of one slot, oldest first. */
export interface Timeline {
  readonly entries: readonly Entry[];
  /** The last message emptied the slot. */
  readonly empty: boolean;
}

export const NEW_TIMELINE: Timeline = { entries: [], empty: true };

export function changed(timeline: Timeline, change: SlotChange): Timeline {
  if (change.source === null || change.time === null) return { entries: timeline.entries, empty: true };
  const entries = [...timeline.entries, { source: change.source, time: change.time }];
  // Frames are at most seconds old: older changes than the last eight are forgotten.
  return { entries: entries.slice(-ENTRIES_MAX), empty: false };
}

/** The source that the slot was last said to show; null: empty or never said. */
export function current(timeline: Timeline): number | null {
  return timeline.empty ? null : (timeline.entries.at(-1)?.source ?? null);
}

/** The source of the frame with this RTP time; null: unknown, so it gets no name. */
export function owner(timeline: Timeline, rtpTimestamp: number, contributing: readonly Contributing[]): number | null {
  let best: { source: number; age: number } | null = null;
  // Messages first, in their order: of two with one time the later message holds, and a packet's own word holds above both.
  for (const { source, time } of timeline.entries) best = newer(best, source, age(rtpTimestamp, time));
  for (const c of contributing) best = newer(best, c.source, age(rtpTimestamp, c.rtpTimestamp));
  return best?.source ?? null;
}

function newer(best: { source: number; age: number } | null, source: number, age: number): { source: number; age: number } | null {
  if (age < 0 || (best !== null && age > best.age)) return best;
  return { source, age };
}

/** How much later `frame` is than `fact`, in ticks; RTP time wraps at 32 bits, so beyond half of that it is earlier (negative). */
function age(frame: number, fact: number): number {
  return (frame - fact) | 0;
}

const ENTRIES_MAX = 8;
