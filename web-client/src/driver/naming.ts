// Whose frames each slot paints: joins the `slots` messages with the frames as they are painted.
import { NEW_TIMELINE, changed, owner, painted, type Timeline } from '../engine/slots';
import type { SlotChange } from '../engine/protocol';
import type { Elements } from './elements';
import { canWatch, watchFrames } from './frames';

export interface Naming {
  /** Takes what the server said of slots; `reset` forgets all before (a new connection). */
  said(changes: readonly SlotChange[], reset: boolean): void;
  /** The source whose frame the slot paints now; null: none, or nobody can say whose. */
  painted(slot: string): number | null;
  /** The slots that are said to show something. */
  occupied(): ReadonlySet<string>;
  /** What the slot painted counts no more; its next frame says anew whose it is. */
  forget(slot: string): void;
  /** Nothing is painted any more. */
  clear(): void;
  stop(): void;
}

export function createNaming(
  elements: Elements,
  receiver: (slot: string) => RTCRtpReceiver | undefined,
  told: (slot: string, source: number | null) => void,
): Naming {
  const timelines = new Map<string, Timeline>();
  const shown = new Map<string, number | null>();
  const timeline = (slot: string): Timeline => timelines.get(slot) ?? NEW_TIMELINE;

  function paint(slot: string, source: number | null): void {
    if (shown.get(slot) === source) return;
    shown.set(slot, source);
    told(slot, source);
  }

  function clear(): void {
    for (const slot of shown.keys()) paint(slot, null);
  }

  const stops = elements.slots.flatMap((slot) => {
    const video = elements.video(slot);
    if (video === null || !canWatch(video)) return [];
    return [watchFrames(video, () => receiver(slot), (time, contributing) => {
      paint(slot, owner(timeline(slot), time, contributing));
      timelines.set(slot, painted(timeline(slot), time, contributing));
    })];
  });

  return {
    said(changes, reset) {
      if (reset) {
        timelines.clear();
        clear();
      }
      for (const change of changes) {
        const next = changed(timeline(change.slot), change);
        timelines.set(change.slot, next);
        const video = elements.video(change.slot);
        if (video !== null && (next.said === null || !canWatch(video))) paint(change.slot, next.said);
      }
    },
    painted: (slot) => shown.get(slot) ?? null,
    occupied: () => new Set([...timelines].flatMap(([slot, of]) => (of.said === null ? [] : [slot]))),
    forget: (slot) => paint(slot, null),
    clear,
    stop: () => stops.forEach((stop) => stop()),
  };
}
