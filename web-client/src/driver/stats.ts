// Once a second: what the connection says of itself, as a few figures.

export interface Figures {
  /** Round trip of the chosen path in milliseconds; null before the first check. */
  rttMs: number | null;
  /** Share of received packets lost since the last figures, 0 to 1. */
  lossIn: number;
  /** Share of our packets that the far side missed, 0 to 1, as it last reported. */
  lossOut: number;
  kbpsIn: number;
  kbpsOut: number;
  /** Pictures decoded per second, all slots together. */
  framesIn: number;
  grade: Grade;
}

/** 0 nothing comes, 1 poor, 2 fair, 3 good, 4 very good. */
export type Grade = 0 | 1 | 2 | 3 | 4;

interface Sums {
  at: number;
  received: number;
  lost: number;
  bytesIn: number;
  bytesOut: number;
  frames: number;
}

/** Tells figures each second until the returned function is called. */
export function watchStats(pc: () => RTCPeerConnection | null, told: (figures: Figures) => void): () => void {
  let before: Sums | null = null;
  let of: RTCPeerConnection | null = null;
  const timer = setInterval(() => {
    const current = pc();
    if (current !== of) before = null;
    of = current;
    current?.getStats().then(
      (report) => {
        if (pc() !== current) return;
        const { sums, rttMs, lossOut } = read(report);
        if (before !== null && sums.at > before.at) told(figures(before, sums, rttMs, lossOut));
        before = sums;
      },
      () => undefined,
    );
  }, 1_000);
  return () => clearInterval(timer);
}

function figures(before: Sums, now: Sums, rttMs: number | null, lossOut: number): Figures {
  const seconds = (now.at - before.at) / 1_000;
  const received = Math.max(0, now.received - before.received);
  const lost = Math.max(0, now.lost - before.lost);
  const lossIn = received + lost === 0 ? 0 : lost / (received + lost);
  const grade = gradeOf(rttMs, Math.max(lossIn, lossOut));
  return {
    rttMs, lossIn, lossOut, grade,
    kbpsIn: Math.round(((now.bytesIn - before.bytesIn) * 8) / 1_000 / seconds),
    kbpsOut: Math.round(((now.bytesOut - before.bytesOut) * 8) / 1_000 / seconds),
    framesIn: Math.round((now.frames - before.frames) / seconds),
  };
}

function gradeOf(rttMs: number | null, loss: number): Grade {
  if (rttMs === null) return 0;
  if (loss > 0.08 || rttMs > 600) return 1;
  if (loss > 0.03 || rttMs > 300) return 2;
  if (loss > 0.01 || rttMs > 150) return 3;
  return 4;
}

// The parts of the statistics that are read here; TypeScript's library leaves the report untyped.
interface Entry {
  type: string;
  kind?: string;
  nominated?: boolean;
  state?: string;
  timestamp: number;
  currentRoundTripTime?: number;
  bytesReceived?: number;
  bytesSent?: number;
  packetsReceived?: number;
  packetsLost?: number;
  framesDecoded?: number;
  fractionLost?: number;
}

function read(report: RTCStatsReport): { sums: Sums; rttMs: number | null; lossOut: number } {
  const sums: Sums = { at: 0, received: 0, lost: 0, bytesIn: 0, bytesOut: 0, frames: 0 };
  // Firefox counts no bytes on the transport: the streams' own stand in.
  const streams = { in: 0, out: 0 };
  let rttMs: number | null = null;
  let lossOut = 0;
  report.forEach((entry: Entry) => {
    switch (entry.type) {
      case 'candidate-pair':
        if (entry.nominated === true && entry.state === 'succeeded' && entry.currentRoundTripTime !== undefined) {
          rttMs = Math.round(entry.currentRoundTripTime * 1_000);
        }
        return;
      case 'transport':
        sums.at = entry.timestamp;
        sums.bytesIn += entry.bytesReceived ?? 0;
        sums.bytesOut += entry.bytesSent ?? 0;
        return;
      case 'inbound-rtp':
        sums.at = Math.max(sums.at, entry.timestamp);
        sums.received += entry.packetsReceived ?? 0;
        sums.lost += entry.packetsLost ?? 0;
        sums.frames += entry.framesDecoded ?? 0;
        streams.in += entry.bytesReceived ?? 0;
        return;
      case 'outbound-rtp':
        streams.out += entry.bytesSent ?? 0;
        return;
      case 'remote-inbound-rtp':
        lossOut = Math.max(lossOut, entry.fractionLost ?? 0);
        return;
    }
  });
  sums.bytesIn ||= streams.in;
  sums.bytesOut ||= streams.out;
  return { sums, rttMs, lossOut };
}
