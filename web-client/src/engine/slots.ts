// Which source does the frame of a slot belong to? Two kinds of facts say so: `slots` messages (from RTP time `time` on, it is this source)
// and the contributing sources of its packets. The newest fact that is not later than the frame decides; without one nobody is named.
//
// In Chromium the frame's own contributing source carries the frame's very time, so it always wins, unless the next frame has come
// before this one is painted: a source is told with its latest time only. Then another source's later time makes the older facts
// doubtful, and nobody is named. In Firefox contributing sources are one frame old: then the message wins if it has come, and if it is
// late the frame after the first is right again.
import type { SlotChange } from './protocol';

export interface Contributing {
  source: number;
  rtpTimestamp: number;
}

/** From `time` on it is `source`. */
interface Entry {
  source: number;
  time: number;
}

/** The recent past of one slot, oldest first. */
export interface Timeline {
  readonly entries: readonly Entry[];
  /** The source that the slot was last said to show; null: empty or never said. */
  readonly said: number | null;
}

export const NEW_TIMELINE: Timeline = { entries: [], said: null };

export function changed(timeline: Timeline, change: SlotChange): Timeline {
  if (change.source === null || change.time === null) return { entries: timeline.entries, said: null };
  const entries = [...timeline.entries, { source: change.source, time: change.time }];
  // Frames are at most seconds old: older changes than the last eight are forgotten.
  return { entries: entries.slice(-ENTRIES_MAX), said: change.source };
}

/** A frame was painted whose packets named their source: that stays true of its time when its source is told with a later one. */
export function painted(timeline: Timeline, rtpTimestamp: number, contributing: readonly Contributing[]): Timeline {
  const own = contributing.find((c) => c.rtpTimestamp === rtpTimestamp);
  if (own === undefined || newest(timeline.entries, rtpTimestamp)?.source === own.source) return timeline;
  return { ...timeline, entries: [...timeline.entries, { source: own.source, time: rtpTimestamp }].slice(-ENTRIES_MAX) };
}

/** The source of the frame with this RTP time; null: unknown, so it gets no name. */
export function owner(timeline: Timeline, rtpTimestamp: number, contributing: readonly Contributing[]): number | null {
  // Messages first, in their order: of two with one time the later message holds, and a packet's own word holds above both.
  const facts = [...timeline.entries, ...contributing.map((c) => ({ source: c.source, time: c.rtpTimestamp }))];
  const best = newest(facts, rtpTimestamp);
  if (best === null || best.time === rtpTimestamp) return best?.source ?? null;
  // A source's later frames are here. Did they begin before this frame or behind it? Only a message says that.
  const doubtful = contributing.some((c) => c.source !== best.source && age(rtpTimestamp, c.rtpTimestamp) < 0
    && !timeline.entries.some((e) => e.source === c.source && age(rtpTimestamp, e.time) < 0));
  return doubtful ? null : best.source;
}

/** The latest of the facts that are not later than the frame; of two with one time, the last. */
function newest(facts: readonly Entry[], rtpTimestamp: number): Entry | null {
  let best: Entry | null = null;
  for (const fact of facts) {
    const since = age(rtpTimestamp, fact.time);
    if (since >= 0 && (best === null || since <= age(rtpTimestamp, best.time))) best = fact;
  }
  return best;
}

/** How much later `frame` is than `fact`, in ticks; RTP time wraps at 32 bits, so beyond half of that it is earlier (negative). */
function age(frame: number, fact: number): number {
  return (frame - fact) | 0;
}

const ENTRIES_MAX = 8;
