// Sample reports as browsers give them, shortened.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { newObserver, observe, reconnected, type Observer, type Surroundings } from '../src/engine/observer';
import type { ClientStats } from '../src/engine/protocol';
import { clientStatsOf, decodingOf, figuresOf, readReport, voicePacketsOf, type Entry, type Snapshot } from '../src/engine/stats';

/** The most that the server takes. */
const { type: _t, cpu_limited: _c, encoder_limited: _e, ...LIMITS } = JSON.parse(
  readFileSync(new URL('../../signaling/fixtures/protocol/client/stats_limits.json', import.meta.url), 'utf8'),
) as ClientStats & { type: 'stats' };
const slotOf = (mid: string): string | null => ({ '4': 'a0', '5': 'a1', '10': 'v0', '11': 'v1' })[mid] ?? null;
const video = (mid: string, patch: Partial<Entry>): Entry => ({ id: `v${mid}`, type: 'inbound-rtp', timestamp: 0, kind: 'video', mid, ...patch });
const audio = (mid: string, patch: Partial<Entry>): Entry => ({ id: `a${mid}`, type: 'inbound-rtp', timestamp: 0, kind: 'audio', mid, ...patch });
const at = (timestamp: number, ...entries: Entry[]): Snapshot => readReport([{ id: 'T', type: 'transport', timestamp }, ...entries], slotOf);

/** A second in Chromium: two pictures, one of them stumbling, a voice and an empty voice slot. */
const chromium = (second: number): Snapshot =>
  at(second * 1_000,
    { id: 'T0', type: 'transport', timestamp: second * 1_000, bytesReceived: second * 125_000, bytesSent: second * 62_500 },
    { id: 'P', type: 'candidate-pair', timestamp: 0, nominated: true, state: 'succeeded', currentRoundTripTime: 0.042, availableOutgoingBitrate: 2_400_000 },
    { id: 'Q', type: 'candidate-pair', timestamp: 0, nominated: false, state: 'succeeded', currentRoundTripTime: 0.9 },
    { id: 'O', type: 'outbound-rtp', timestamp: 0, kind: 'video', qualityLimitationReason: 'none' },
    { id: 'R', type: 'remote-inbound-rtp', timestamp: second * 1_000, fractionLost: 0.02 },
    video('10', {
      packetsReceived: second * 100, packetsLost: second, framesDecoded: second * 25, framesDropped: second, frameHeight: 720, freezeCount: second,
      totalFreezesDuration: second * 0.3, totalDecodeTime: second * 0.2,
    }),
    video('11', { packetsReceived: second * 50, packetsLost: 0, framesDecoded: second * 15, framesDropped: 0, frameHeight: 180, totalDecodeTime: second * 0.05 }),
    audio('4', {
      packetsReceived: second * 50, packetsLost: 0, concealedSamples: second * 1_440, silentConcealedSamples: second * 960, totalSamplesReceived: second * 48_000,
      jitterBufferDelay: second * 0.06 * 48_000, jitterBufferEmittedCount: second * 48_000,
    }),
    audio('5', { packetsReceived: 20, packetsLost: 0, concealedSamples: second * 48_000, totalSamplesReceived: second * 48_000 }));

describe('figures of a second in Chromium', () => {
  const figures = figuresOf(chromium(3), chromium(4));
  it('are of the chosen path', () => expect(figures).toMatchObject({ rttMs: 42, roomOutKbps: 2_400, lossOut: 0.02, grade: 3 }));
  it('are also there while the chosen path is checked', () => {
    const pair = (state: string, nominated = true): Entry => ({ id: 'P', type: 'candidate-pair', timestamp: 0, nominated, state, currentRoundTripTime: 0.042 });
    expect([at(1, pair('in-progress')).rttMs, at(1, pair('failed')).rttMs, at(1, pair('in-progress', false)).rttMs]).toEqual([42, null, null]);
  });
  it('leave out what was last reported of a stream that stopped since', () => {
    const muted = (second: number): Snapshot => at(second * 1_000,
      { id: 'P', type: 'candidate-pair', timestamp: 0, nominated: true, state: 'succeeded', currentRoundTripTime: 0.042 },
      { id: 'R', type: 'remote-inbound-rtp', timestamp: 4_000, fractionLost: 0.3 });
    expect(figuresOf(muted(4), muted(5))).toMatchObject({ lossOut: 0.3, grade: 1 });
    expect(figuresOf(muted(5), muted(15))).toMatchObject({ rttMs: 42, lossOut: 0, grade: 4 });
  });
  it('are rates', () => expect(figures).toMatchObject({ kbpsIn: 1_000, kbpsOut: 500, framesIn: 40, voiceDelayMs: 60 }));
  it('say what each slot brings', () => expect([...figures.slots]).toEqual([['v0', { height: 720, fps: 25 }], ['v1', { height: 180, fps: 15 }]]));
  it('count loss among all that was sent', () => expect(figures.lossIn).toBeCloseTo(1 / 201));
  it('know how hard the decoders work', () => {
    const { busiest, total, decoded, dropped } = decodingOf(chromium(3), chromium(4));
    expect([decoded, dropped]).toEqual([40, 1]);
    expect(busiest).toBeCloseTo(0.2);
    expect(total).toBeCloseTo(0.25);
  });
});

describe('what the server is told', () => {
  const both = new Set(['v0', 'v1']);
  it('is the second in numbers; silence and empty voice slots are no loss', () => {
    expect(clientStatsOf(chromium(3), chromium(4), both)).toEqual({
      frames_decoded: 40, freezes: 1, freeze_ms: 300, concealed_ppm: 10_000, audio_delay_ms: 60,
    });
  });
  it('counts no freeze of a slot that was empty', () => {
    expect(clientStatsOf(chromium(3), chromium(4), new Set(['v1']))).toMatchObject({ freezes: 0, freeze_ms: 0 });
  });
  it('is whole and within limits whatever the browser counts', () => {
    const wild = at(2_000,
      video('10', { framesDecoded: 1e15, freezeCount: 1e12, totalFreezesDuration: 1e12, packetsLost: -50 }),
      audio('4', { packetsReceived: 9, concealedSamples: 1e9, totalSamplesReceived: 3, jitterBufferDelay: 1e9, jitterBufferEmittedCount: 1 }));
    const stats = clientStatsOf(at(1_000), wild, both);
    expect(stats).toEqual(LIMITS);
    expect(figuresOf(at(1_000), wild).lossIn).toBe(0);
  });
  it('is nothing for counters that began anew', () => {
    expect(clientStatsOf(chromium(9), chromium(1), both)).toEqual({ frames_decoded: 0, freezes: 0, freeze_ms: 0, concealed_ppm: 0, audio_delay_ms: 0 });
  });
});

describe('packets of voices', () => {
  it('are those of all voice slots, without pictures', () => expect(voicePacketsOf(chromium(3), chromium(4))).toEqual({ packets: 50, lost: 0, discarded: 0 }));
  it('are missing where a stream says so, and never less than none', () => {
    const lossy = (second: number): Snapshot =>
      at(second * 1_000, audio('4', { packetsReceived: second * 40, packetsLost: second * 10 }), audio('5', { packetsReceived: second, packetsLost: -second }));
    expect(voicePacketsOf(lossy(3), lossy(4))).toEqual({ packets: 41, lost: 10, discarded: 0 });
  });
});

describe('Firefox', () => {
  const firefox = (second: number): Snapshot =>
    readReport([
      { id: 'p', type: 'candidate-pair', timestamp: 0, nominated: true, state: 'succeeded' },
      { id: 'v', type: 'inbound-rtp', timestamp: second * 1_000, kind: 'video', mid: '10', packetsReceived: second * 60, packetsLost: 0, bytesReceived: second * 60_000, framesDecoded: second * 20 },
      { id: 'o', type: 'outbound-rtp', timestamp: second * 1_000, kind: 'video', bytesSent: second * 25_000 },
    ], slotOf);
  it('says less: what it leaves out counts as nothing', () => {
    expect(figuresOf(firefox(1), firefox(2))).toMatchObject({ rttMs: null, roomOutKbps: null, grade: 0, kbpsIn: 480, kbpsOut: 200, framesIn: 20, voiceDelayMs: 0 });
    expect(decodingOf(firefox(1), firefox(2))).toMatchObject({ busiest: 0, total: 0, dropped: 0 });
    expect(firefox(1).encoderLimited).toBe(false);
  });
});

describe('a report without end', () => {
  it('is read in part', () => {
    const entries = Array.from({ length: 10_000 }, (_, i) => video('10', { id: `x${i}`, framesDecoded: 1 }));
    expect(readReport(entries, slotOf).streams.size).toBe(64);
  });
});

describe('the observer', () => {
  const around = (patch: Partial<Surroundings> = {}): Surroundings => ({ occupied: new Set(['v0', 'v1']), cores: 2, canEase: false, takesRed: true, ...patch });
  /** Looks at seconds `from` to `to`; answers the last. */
  const looks = (o: Observer, make: (second: number) => Snapshot, from: number, to: number, a = around()): ReturnType<typeof observe> => {
    let seen: ReturnType<typeof observe> = null;
    for (let second = from; second <= to; second++) seen = observe(o, second * 1_000, make(second), a);
    return seen;
  };
  it('needs two looks, and time between them', () => {
    const o = newObserver();
    expect(observe(o, 0, chromium(1), around())).toBeNull();
    expect(observe(o, 10, chromium(1), around())).toBeNull();
    expect(observe(o, 1_000, chromium(2), around())?.figures.framesIn).toBe(40);
  });
  it('counts no freeze of a slot that was just filled again', () => {
    const o = newObserver();
    looks(o, chromium, 1, 4);
    const empty = around({ occupied: new Set(['v1']) });
    expect(looks(o, chromium, 5, 8, empty)?.stats.freezes).toBe(0);
    expect(looks(o, chromium, 9, 10)?.stats.freezes).toBe(0);
    expect(looks(o, chromium, 11, 11)?.stats.freezes).toBe(1);
  });
  it('begins anew with another connection, but the machine is the same', () => {
    const busy = (second: number): Snapshot => at(second * 1_000, video('10', { framesDecoded: second * 30, totalDecodeTime: second * 0.95 }));
    const o = newObserver();
    expect(looks(o, busy, 1, 5)?.stats.cpu_limited).toBe(true);
    reconnected(o);
    expect(observe(o, 6_000, busy(1), around())).toBeNull();
    expect(observe(o, 7_000, busy(2), around())?.stats.cpu_limited).toBe(true);
  });
  it('lets voices wait longer where they lose much', () => {
    const lossy = (second: number): Snapshot => at(second * 1_000, audio('4', { packetsReceived: second * 40, packetsLost: second * 10 }));
    const o = newObserver();
    expect(looks(o, chromium, 1, 4)?.voiceBufferMs).toBe(0);
    reconnected(o);
    expect(looks(o, lossy, 5, 6)?.voiceBufferMs).toBe(200);
  });
  it('lowers the page’s own wishes before it tells the server', () => {
    const busy = (second: number): Snapshot => at(second * 1_000, video('10', { framesDecoded: second * 30, totalDecodeTime: second * 0.95 }));
    const o = newObserver();
    const lower = around({ canEase: true });
    expect(looks(o, busy, 1, 5, lower)).toMatchObject({ eased: true, stats: { cpu_limited: false } });
    expect(looks(o, busy, 6, 8, around())).toMatchObject({ eased: true, stats: { cpu_limited: true } });
  });
  it('tells when the encoder is limited by the machine for long', () => {
    const limited = (reason: string) => (second: number): Snapshot =>
      at(second * 1_000, { id: 'O', type: 'outbound-rtp', timestamp: 0, kind: 'video', qualityLimitationReason: reason });
    const o = newObserver();
    expect(looks(o, limited('bandwidth'), 1, 8)?.stats.encoder_limited).toBe(false);
    expect(looks(o, limited('cpu'), 9, 11)?.stats.encoder_limited).toBe(false);
    expect(looks(o, limited('cpu'), 12, 12)?.stats.encoder_limited).toBe(true);
    expect(looks(o, limited('none'), 13, 22)?.stats.encoder_limited).toBe(true);
    expect(looks(o, limited('none'), 23, 23)?.stats.encoder_limited).toBe(false);
  });
});
