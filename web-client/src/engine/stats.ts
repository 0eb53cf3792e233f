// What `getStats` says of a connection, read into sums; and what two of them, a second apart, say of that second. Browsers leave out what
// they do not know: then it counts as nothing.
import type { ClientStats } from './protocol';
import type { Decoding } from './load';
import type { VoicePackets } from './voice-buffer';

/** One entry of a report, as far as it is read here. */
export interface Entry {
  id: string;
  type: string;
  timestamp: number;
  kind?: string;
  mid?: string;
  nominated?: boolean;
  state?: string;
  currentRoundTripTime?: number;
  availableOutgoingBitrate?: number;
  bytesReceived?: number;
  bytesSent?: number;
  packetsReceived?: number;
  packetsLost?: number;
  packetsDiscarded?: number;
  fractionLost?: number;
  framesDecoded?: number;
  framesDropped?: number;
  frameHeight?: number;
  freezeCount?: number;
  totalFreezesDuration?: number;
  totalDecodeTime?: number;
  concealedSamples?: number;
  silentConcealedSamples?: number;
  totalSamplesReceived?: number;
  jitterBufferDelay?: number;
  jitterBufferEmittedCount?: number;
  qualityLimitationReason?: string;
}

/** One received stream since its beginning. */
export interface Stream {
  video: boolean;
  slot: string | null;
  packets: number;
  lost: number;
  /** Came too late to be played. */
  discarded: number;
  decoded: number;
  dropped: number;
  height: number;
  freezes: number;
  freezeSeconds: number;
  decodeSeconds: number;
  /** Samples made up; silence that stands for silence is none. */
  concealed: number;
  samples: number;
  bufferSeconds: number;
  buffered: number;
}

export interface Snapshot {
  /** Milliseconds, on the browser's clock. */
  at: number;
  streams: ReadonlyMap<string, Stream>;
  bytesIn: number;
  bytesOut: number;
  /** Round trip of the chosen path in milliseconds; null before the first check. */
  rttMs: number | null;
  /** Share of our packets that the far side missed, 0 to 1, as it last reported; 0 when it reports nothing any more. */
  lossOut: number;
  /** What the browser believes it can send, in kbps; null where it does not say. */
  roomOutKbps: number | null;
  /** The encoder sends less because the machine is too slow. */
  encoderLimited: boolean;
}

export interface Figures {
  rttMs: number | null;
  /** Share of received packets lost since the last figures, 0 to 1. */
  lossIn: number;
  lossOut: number;
  kbpsIn: number;
  kbpsOut: number;
  roomOutKbps: number | null;
  /** Pictures decoded per second, all slots together. */
  framesIn: number;
  /** Mean jitter buffer of voices. */
  voiceDelayMs: number;
  /** By round trip and loss alone; see `lineGrade` of quality.ts. */
  grade: Grade;
  /** The video slots that bring pictures: their height and how many per second. */
  slots: ReadonlyMap<string, { height: number; fps: number }>;
}

/** 0 nothing comes, 1 poor, 2 fair, 3 good, 4 very good. */
export type Grade = 0 | 1 | 2 | 3 | 4;

export function readReport(entries: readonly Entry[], slotOf: (mid: string) => string | null): Snapshot {
  const streams = new Map<string, Stream>();
  // Firefox counts no bytes on the transport: the streams' own stand in.
  const sums = { at: 0, in: 0, out: 0, streamsIn: 0, streamsOut: 0 };
  let [rttMs, roomOutKbps]: [number | null, number | null] = [null, null];
  const reported: Entry[] = [];
  let encoderLimited = false;
  for (const entry of entries) {
    switch (entry.type) {
      case 'candidate-pair':
        // Chromium calls a chosen pair in progress while a check of it is under way, every few seconds.
        if (entry.nominated !== true || (entry.state !== 'succeeded' && entry.state !== 'in-progress')) break;
        if (entry.currentRoundTripTime !== undefined) rttMs = Math.round(entry.currentRoundTripTime * 1_000);
        if (entry.availableOutgoingBitrate !== undefined) roomOutKbps = Math.round(entry.availableOutgoingBitrate / 1_000);
        break;
      case 'transport':
        sums.at = Math.max(sums.at, entry.timestamp);
        sums.in += entry.bytesReceived ?? 0;
        sums.out += entry.bytesSent ?? 0;
        break;
      case 'inbound-rtp':
        sums.at = Math.max(sums.at, entry.timestamp);
        sums.streamsIn += entry.bytesReceived ?? 0;
        if (streams.size < STREAMS_MAX) streams.set(entry.id, streamOf(entry, slotOf));
        break;
      case 'outbound-rtp':
        sums.streamsOut += entry.bytesSent ?? 0;
        encoderLimited ||= entry.qualityLimitationReason === 'cpu';
        break;
      case 'remote-inbound-rtp':
        reported.push(entry);
        break;
    }
  }
  // Of a stream that stopped, as a microphone that is muted, no report comes any more, and browsers keep its last one.
  const fresh = reported.filter(({ timestamp }) => sums.at - timestamp <= REPORT_MS);
  const lossOut = Math.max(0, ...fresh.map(({ fractionLost }) => fractionLost ?? 0));
  return {
    at: sums.at, streams, bytesIn: sums.in || sums.streamsIn, bytesOut: sums.out || sums.streamsOut, rttMs, lossOut, roomOutKbps, encoderLimited,
  };
}

/** `now` must be later than `before`. */
export function figuresOf(before: Snapshot, now: Snapshot): Figures {
  const seconds = (now.at - before.at) / 1_000;
  const all = changes(before, now);
  const lossIn = lossOf(all);
  const slots = new Map<string, { height: number; fps: number }>();
  for (const { slot, video, decoded, height } of all) {
    if (video && slot !== null && decoded > 0) slots.set(slot, { height, fps: Math.round(decoded / seconds) });
  }
  return {
    rttMs: now.rttMs, lossIn, lossOut: now.lossOut, roomOutKbps: now.roomOutKbps, slots,
    kbpsIn: kbps(now.bytesIn - before.bytesIn, seconds),
    kbpsOut: kbps(now.bytesOut - before.bytesOut, seconds),
    framesIn: Math.round(sum(all, (s) => s.decoded) / seconds),
    voiceDelayMs: voiceDelay(all),
    grade: gradeOf(now.rttMs, Math.max(lossIn, now.lossOut)),
  };
}

/**
 * The second as the server wants to know it. `steady` holds the slots that showed something all the time: a slot that is filled again
 * after a pause counts the pause as one long freeze, which is none.
 */
export function clientStatsOf(before: Snapshot, now: Snapshot, steady: ReadonlySet<string>): Omit<ClientStats, 'cpu_limited' | 'encoder_limited'> {
  const all = changes(before, now);
  const shown = all.filter(({ slot }) => slot !== null && steady.has(slot));
  // A voice slot without packets is empty: what it plays is made up, but nobody misses anything.
  const voices = all.filter(({ video, packets }) => !video && packets > 0);
  const samples = sum(voices, (s) => s.samples);
  return {
    frames_decoded: whole(sum(all, (s) => s.decoded), FRAMES_MAX),
    freezes: whole(sum(shown, (s) => s.freezes), FREEZES_MAX),
    freeze_ms: whole(sum(shown, (s) => s.freezeSeconds) * 1_000, FREEZE_MS_MAX),
    concealed_ppm: samples === 0 ? 0 : whole((sum(voices, (s) => s.concealed) / samples) * 1e6, 1e6),
    audio_delay_ms: whole(voiceDelay(all), DELAY_MS_MAX),
  };
}

export function decodingOf(before: Snapshot, now: Snapshot): Decoding {
  const seconds = (now.at - before.at) / 1_000;
  const all = changes(before, now);
  return {
    decoded: sum(all, (s) => s.decoded),
    dropped: sum(all, (s) => s.dropped),
    busiest: Math.max(0, ...all.map((s) => s.decodeSeconds)) / seconds,
    total: sum(all, (s) => s.decodeSeconds) / seconds,
    lossIn: lossOf(all),
  };
}

/** Packets of voices that came, that are missing, and that came too late. */
export function voicePacketsOf(before: Snapshot, now: Snapshot): VoicePackets {
  const voices = changes(before, now).filter(({ video }) => !video);
  return { packets: sum(voices, (s) => s.packets), lost: sum(voices, (s) => s.lost), discarded: sum(voices, (s) => s.discarded) };
}

/** What each stream did between the two. A counter that went back began anew, and its stream brought nothing that can be told. */
function changes(before: Snapshot, now: Snapshot): Stream[] {
  return [...now.streams].map(([id, stream]) => {
    const old = before.streams.get(id);
    const grown = (read: (s: Stream) => number): number => Math.max(0, read(stream) - (old === undefined ? 0 : read(old)));
    return {
      video: stream.video, slot: stream.slot, height: stream.height,
      packets: grown((s) => s.packets), lost: grown((s) => s.lost), discarded: grown((s) => s.discarded), decoded: grown((s) => s.decoded), dropped: grown((s) => s.dropped),
      freezes: grown((s) => s.freezes), freezeSeconds: grown((s) => s.freezeSeconds), decodeSeconds: grown((s) => s.decodeSeconds),
      concealed: grown((s) => s.concealed), samples: grown((s) => s.samples),
      bufferSeconds: grown((s) => s.bufferSeconds), buffered: grown((s) => s.buffered),
    };
  });
}

function streamOf(entry: Entry, slotOf: (mid: string) => string | null): Stream {
  return {
    video: entry.kind === 'video', slot: entry.mid === undefined ? null : slotOf(entry.mid),
    packets: entry.packetsReceived ?? 0, lost: entry.packetsLost ?? 0, discarded: entry.packetsDiscarded ?? 0,
    decoded: entry.framesDecoded ?? 0, dropped: entry.framesDropped ?? 0, height: entry.frameHeight ?? 0,
    freezes: entry.freezeCount ?? 0, freezeSeconds: entry.totalFreezesDuration ?? 0, decodeSeconds: entry.totalDecodeTime ?? 0,
    concealed: Math.max(0, (entry.concealedSamples ?? 0) - (entry.silentConcealedSamples ?? 0)), samples: entry.totalSamplesReceived ?? 0,
    bufferSeconds: entry.jitterBufferDelay ?? 0, buffered: entry.jitterBufferEmittedCount ?? 0,
  };
}

function lossOf(all: readonly Stream[]): number {
  const lost = sum(all, (s) => s.lost);
  return lost === 0 ? 0 : lost / (sum(all, (s) => s.packets) + lost);
}

function voiceDelay(all: readonly Stream[]): number {
  const voices = all.filter(({ video }) => !video);
  const samples = sum(voices, (s) => s.buffered);
  return samples === 0 ? 0 : Math.round((sum(voices, (s) => s.bufferSeconds) / samples) * 1_000);
}

function gradeOf(rttMs: number | null, loss: number): Grade {
  if (rttMs === null) return 0;
  if (loss > 0.08 || rttMs > 600) return 1;
  if (loss > 0.03 || rttMs > 300) return 2;
  if (loss > 0.01 || rttMs > 150) return 3;
  return 4;
}

const sum = (all: readonly Stream[], read: (s: Stream) => number): number => all.reduce((total, s) => total + read(s), 0);
const kbps = (bytes: number, seconds: number): number => Math.max(0, Math.round((bytes * 8) / 1_000 / seconds));
const whole = (value: number, most: number): number => Math.min(most, Math.max(0, Math.round(value)));

// The node reports each 0.8 to 1.2 s. Two in a row may be lost: on a bad line the figure would come and go.
const REPORT_MS = 3_000;
// A connection has some thirty streams; what lies beyond this is not read.
const STREAMS_MAX = 64;
// The protocol's limits: a page that was stopped for long reports no more.
const FRAMES_MAX = 100_000;
const FREEZES_MAX = 10_000;
const FREEZE_MS_MAX = 3_600_000;
const DELAY_MS_MAX = 60_000;
