// How long voices wait before they are played. What is lost comes again, inside later packets (RED) or as it was, which helps only those who still wait
// for it. Browsers learn that by themselves, but each thing they learn from is a hole that was heard, and they learn for seconds.

/** What receivers are to wait for at least, in milliseconds; 0: as long as they like. */
export interface VoiceBuffer {
  ms: number;
  /** When so much was needed last. */
  needed: number;
}

/** One second of all voices together. */
export interface VoicePackets {
  packets: number;
  lost: number;
  /** Of those that came, those that came too late. */
  discarded: number;
}

export const newVoiceBuffer = (): VoiceBuffer => ({ ms: 0, needed: 0 });

/** Takes one second: a longer buffer at once, a shorter one after ten seconds without need, so that nobody hears it breathe. `copies`: voices may come
 * as RED; else they come again as they were, and what is missing is what no repeat brought in time. */
export function adjust(buffer: VoiceBuffer, now: number, { packets, lost, discarded }: VoicePackets, copies: boolean): VoiceBuffer {
  const all = packets + lost;
  const missing = copies ? lost : lost + discarded;
  const ms = all < PACKETS_MIN ? 0 : neededFor(missing / all, copies);
  return ms >= buffer.ms || now - buffer.needed >= HOLD_MS ? { ms, needed: now } : buffer;
}

function neededFor(loss: number, copies: boolean): number {
  if (loss >= LOSS_HEAVY || (!copies && loss >= LOSS_SOME)) return ALL_COPIES_MS;
  return loss >= LOSS_SOME ? NEAR_COPY_MS : 0;
}

// Shares of fewer are chance.
const PACKETS_MIN = 20;
const LOSS_SOME = 0.03;
const LOSS_HEAVY = 0.1;
// The near copy or repeat comes 60 ms later, the farthest 180 ms (docs/speakers.md); and some room.
const NEAR_COPY_MS = 100;
const ALL_COPIES_MS = 200;
const HOLD_MS = 10_000;
