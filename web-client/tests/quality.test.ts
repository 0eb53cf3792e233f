import { describe, expect, it } from 'vitest';
import { adapted, createTuner } from '../src/driver/sender';
import { CAUSES, type LayerOrder, type SlotQuality, type SourceOrder } from '../src/engine/protocol';
import { lineGrade, newSettling, reasonOf, settle, withheld } from '../src/engine/quality';
import type { Grade } from '../src/engine/stats';
import { cutOf, newSteady, scaled, steady, tuned, type Cut, type Encoding } from '../src/engine/sending';
import { cutText, reasonText, reasonWord } from '../src/i18n/reasons';

const layer = (active: boolean, bitrate = 150_000, fps = 15): LayerOrder => ({ active, bitrate, fps });
const slot = (patch: Partial<SlotQuality> = {}): SlotQuality => ({ slot: 'v1', height: 360, rate: 100, cause: null, line: null, line_name: null, ...patch });

describe('an order in the encodings', () => {
  const made: (Encoding & { rid: string })[] = [
    { rid: 'q', active: true, maxBitrate: 150_000, maxFramerate: 15 },
    { rid: 'h', active: true, maxBitrate: 500_000, maxFramerate: 30 },
    { rid: 'f' },
  ];
  it('writes every number on every encoding and keeps the rest', () => {
    expect(tuned(made, [layer(true, 100_000, 5), layer(false, 500_000, 30), layer(false, 1_800_000, 30)])).toEqual([
      { rid: 'q', active: true, maxBitrate: 100_000, maxFramerate: 5 },
      { rid: 'h', active: false, maxBitrate: 500_000, maxFramerate: 30 },
      { rid: 'f', active: false, maxBitrate: 1_800_000, maxFramerate: 30 },
    ]);
  });
  it('that names fewer still leaves no encoding without numbers', () => {
    const next = tuned(made, [layer(true)]);
    for (const encoding of next ?? []) {
      expect(typeof encoding.active).toBe('boolean');
      expect(encoding.maxBitrate).toBeGreaterThan(0);
      expect(encoding.maxFramerate).toBeGreaterThan(0);
    }
    expect(next?.[1]).toEqual(made[1]);
  });
  it('that changes nothing is no call', () => {
    const layers = [layer(true), layer(true, 500_000, 30), layer(true, 1_800_000, 30)];
    const once = tuned(made, layers);
    expect(once).not.toBeNull();
    expect(tuned(once ?? [], layers)).toBeNull();
  });
  it('is kept within what browsers take', () => {
    const [low, high] = tuned([{}, {}], [layer(true, 0, 0), layer(true, Number.MAX_SAFE_INTEGER, 255)]) ?? [];
    expect(low).toEqual({ active: true, maxBitrate: 10_000, maxFramerate: 1 });
    expect(high).toEqual({ active: true, maxBitrate: 10_000_000, maxFramerate: 60 });
  });
});

describe('an order for layers that go in one encoding', () => {
  const made: Encoding[] = [{ active: true, maxBitrate: 2_150_000, maxFramerate: 30, scalabilityMode: 'L3T3_KEY', scaleResolutionDownBy: 1 }];
  const order = (...on: boolean[]): LayerOrder[] => [150_000, 500_000, 1_500_000].map((bitrate, i) => layer(on[i] ?? false, bitrate, 30));
  it('sends the layers up to the highest wanted one, each of its usual height, with what they may take together', () => {
    const row = (...on: boolean[]) => {
      const [next] = scaled(made, order(...on), 3) ?? made;
      return [next?.active, next?.scalabilityMode, next?.scaleResolutionDownBy, next?.maxBitrate];
    };
    expect(row(true, true, true)).toEqual([true, 'L3T3_KEY', 1, 2_150_000]);
    expect(row(true, true, false)).toEqual([true, 'L2T3_KEY', 2, 650_000]);
    expect(row(true, false, false)).toEqual([true, 'L1T3', 4, 150_000]);
    expect(row(true, false, true)).toEqual([true, 'L3T3_KEY', 1, 2_150_000]);
    expect(row(false, false, false)).toEqual([false, 'L1T3', 4, 150_000]);
  });
  it('that changes nothing is no call, and one that changes the layers alone is one', () => {
    expect(scaled(made, order(true, true, true), 3)).toBeNull();
    const down = scaled([{ ...made[0], scalabilityMode: 'L2T3_KEY' }], order(true, true, true), 3);
    expect(down?.[0]).toEqual(made[0]);
  });
  it('of a server that knows of one layer alone leaves its size', () => {
    expect(scaled(made, [layer(true, 500_000, 30)], 3)?.[0]).toEqual({ ...made[0], maxBitrate: 500_000 });
  });
});

describe('orders to a sender', () => {
  /** A sender that takes a turn of the loop for each call, and refuses as often as it is told. */
  function fake(refusals = 0) {
    let encodings: RTCRtpEncodingParameters[] = [{ rid: 'q' }, { rid: 'h' }];
    const calls: RTCRtpSendParameters[] = [];
    const state = { refusals, open: 0, most: 0 };
    const sender = {
      getParameters: () => ({ encodings: encodings.map((e) => ({ ...e })), transactionId: String(calls.length) }),
      async setParameters(parameters: RTCRtpSendParameters) {
        calls.push(parameters);
        state.most = Math.max(state.most, (state.open += 1));
        await Promise.resolve();
        state.open -= 1;
        if (state.refusals-- > 0) throw new DOMException('no', 'InvalidStateError');
        encodings = parameters.encodings;
      },
    } as unknown as RTCRtpSender;
    return { sender, calls, state, encodings: () => encodings };
  }
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 50; i++) await Promise.resolve();
  };
  it('go one after the other, and only the newest of those that wait', async () => {
    const { sender, calls, state, encodings } = fake();
    const tune = createTuner(sender, 'maintain-framerate', 1);
    for (let fps = 1; fps <= 9; fps++) tune([layer(true, 100_000, fps), layer(false)]);
    await settle();
    expect(state.most).toBe(1);
    expect(calls.map((c) => c.encodings[0]?.maxFramerate)).toEqual([1, 9]);
    expect(calls[0]?.degradationPreference).toBe('maintain-framerate');
    expect(encodings()).toEqual([
      { rid: 'q', active: true, maxBitrate: 100_000, maxFramerate: 9 },
      { rid: 'h', active: false, maxBitrate: 150_000, maxFramerate: 15 },
    ]);
    tune([layer(true, 100_000, 9), layer(false)]);
    await settle();
    expect(calls.length).toBe(2);
  });
  it('are tried once more when refused, and left until the next', async () => {
    const once = fake(1);
    createTuner(once.sender, 'balanced', 1)([layer(true)]);
    await settle();
    expect([once.calls.length, once.encodings()[0]?.maxFramerate]).toEqual([2, 15]);
    const never = fake(Infinity);
    const tune = createTuner(never.sender, 'balanced', 1);
    tune([layer(true)]);
    await settle();
    expect(never.calls.length).toBe(2);
    tune([layer(false)]);
    await settle();
    expect(never.calls.length).toBe(4);
  });
});

describe('one’s own camera', () => {
  const order = (source: Partial<SourceOrder>) => ({
    type: 'send' as const, voice_ms: 20,
    sources: [{ source: 'camera' as const, layers: [layer(true), layer(true)], cause: null, line: null, line_name: null, ...source }],
  });
  it('that sends less because nobody wants more is no matter', () => {
    expect(cutOf(null)).toBeNull();
    expect(cutOf(order({ layers: [layer(true), layer(false)] }))).toBeNull();
  });
  it('that is cut says how far', () => {
    const cut = (...layers: LayerOrder[]) => cutOf(order({ layers, cause: 'sender_line', line_name: 'Cô Tô' }));
    expect(cut(layer(false), layer(false))).toEqual({ sends: 'nothing', cause: 'sender_line', line: 'Cô Tô' });
    expect(cut(layer(true), layer(false))?.sends).toBe('small');
    expect(cut(layer(true), layer(true))?.sends).toBe('less');
    expect(cut(layer(true))?.sends).toBe('less');
  });
  it('in words', () => {
    expect(cutText({ sends: 'small', cause: 'sender_path', line: null })).toBe('Đường truyền của bạn yếu: chỉ gửi hình nhỏ');
    expect(cutText({ sends: 'nothing', cause: 'sender_line', line: 'Cô Tô' })).toBe('Đường truyền Cô Tô đã dùng hết mức cho phép: tạm không gửi hình của bạn');
  });
  it('is told when it lasts, and told off when it is over for long', () => {
    const s = newSteady<string>();
    expect(steady(s, 0, 'a')).toBeNull();
    expect(steady(s, 900, 'a')).toBeNull();
    expect(steady(s, 1_000, 'a')).toBe('a');
    expect(steady(s, 2_000, null)).toBe('a');
    expect(steady(s, 4_000, 'a')).toBe('a');
    expect(steady(s, 5_000, null)).toBe('a');
    expect(steady(s, 8_000, null)).toBeNull();
  });
});

describe('a slot that gets less', () => {
  it('is none while nothing is said, or all is well', () => {
    expect(reasonOf(undefined, 360)).toBeNull();
    expect(reasonOf(slot(), 720)).toBeNull();
  });
  it('is smaller, slower or away', () => {
    const what = (patch: Partial<SlotQuality>): string | undefined => reasonOf(slot({ cause: 'path', ...patch }), 360)?.what;
    expect(what({ height: 180 })).toBe('smaller');
    expect(what({ height: 180, rate: 50 })).toBe('smaller');
    expect(what({ height: 360, rate: 50 })).toBe('slower');
    expect(what({ height: null, rate: 0 })).toBe('none');
    expect(what({ height: null, cause: 'voices_only' })).toBe('voices_only');
  });
  it('is covered when its picture is held back, not when it merely does not come', () => {
    const held = (patch: Partial<SlotQuality>): boolean => withheld(reasonOf(slot(patch), 0));
    expect(held({ height: null, cause: 'line_budget' })).toBe(true);
    expect(held({ height: null, cause: 'one_voice' })).toBe(true);
    expect(held({ height: 180, cause: 'one_voice' })).toBe(false);
    expect(held({ height: null, cause: 'not_sent' })).toBe(false);
    expect(held({ height: 180, cause: 'path' })).toBe(false);
    expect(held({})).toBe(false);
  });
  it('has words that name the line', () => {
    const text = (patch: Partial<SlotQuality>): string => {
      const reason = reasonOf(slot(patch), 360);
      return reason === null ? '' : reasonText(reason);
    };
    expect(text({ height: 180, cause: 'line_budget', line: 'co-to', line_name: 'Cô Tô' })).toBe('Hình giảm do đường truyền Cô Tô đã dùng hết mức cho phép');
    expect(text({ height: 180, cause: 'line_budget', line: 'co-to' })).toBe('Hình giảm do đường truyền chung đã dùng hết mức cho phép');
    expect(text({ height: 180, cause: 'one_voice' })).toBe('Hình giảm do đường truyền của bạn yếu');
    expect(text({ height: null, cause: 'not_sent' })).toBe('Chưa nhận được hình của điểm cầu này');
  });
  it('has words for every cause, with no blank left open', () => {
    for (const cause of CAUSES) {
      for (const height of [null, 180, 360]) {
        const reason = reasonOf(slot({ cause, height, rate: 50, line_name: 'Cô Tô' }), 360);
        if (reason === null) throw new Error(cause);
        expect(reasonText(reason), cause).toMatch(/^\p{Lu}[^{}]{10,}$/u);
        if (reason.what !== 'smaller' && reason.what !== 'slower') expect(reasonWord(reason)).toMatch(/^\p{Lu}/u);
        expect(cutText({ sends: 'less', cause, line: null })).toMatch(/^\p{Lu}[^{}]{10,}$/u);
      }
    }
  });
});

describe('the line in one word', () => {
  const got = (wanted: number, patch: Partial<SlotQuality>) => ({ wanted, quality: slot(patch) });
  const path = (wanted: number, height: number | null, rate = 100) => got(wanted, { cause: 'path', height, rate });
  const cut = (sends: Cut['sends'], cause: Cut['cause']): Cut => ({ sends, cause, line: null });
  type Row = [what: string, measured: Grade, pictures: ReturnType<typeof got>[], cut: Cut | null, grade: Grade];
  it.each<Row>([
    ['nothing is measured yet', 0, [], null, 0],
    ['alone on a clean line', 4, [], null, 4],
    ['all as wanted', 4, [got(360, {}), got(720, { height: 720 })], null, 4],
    ['loss on a line that carries all', 2, [got(360, {})], null, 2],
    // What a squeeze to 300 kb/s gives in a meeting of three, measured: no loss, a round trip of 50 ms.
    ['the first second of a squeeze', 4, [path(309, 180, 25), path(309, null, 0)], null, 1],
    ['a squeeze that lasts', 4, [path(309, 180, 25), path(309, 180, 50)], null, 1],
    ['its best second', 4, [path(309, 180), path(309, 180, 50)], null, 1],
    ['voices only', 4, [got(360, { height: null, rate: 0, cause: 'voices_only' })], null, 1],
    ['one voice', 4, [got(360, { height: null, rate: 0, cause: 'one_voice' })], null, 1],
    ['a picture that comes back after one voice', 4, [got(360, { height: 180, cause: 'one_voice' })], null, 1],
    ['360 lines for a large picture', 4, [path(640, 360)], null, 2],
    ['a small picture whole, but slower', 4, [path(150, 180, 50)], null, 2],
    ['720 lines for a screen of 1080', 4, [path(1080, 720)], null, 3],
    ['one of many is away', 4, [path(360, 360), path(180, null, 0), got(180, { height: 180 })], null, 1],
    ['a sound line that is full', 4, [got(360, { height: null, rate: 0, cause: 'line_budget' })], null, 2],
    ['others’ lines and machines', 4, [got(720, { cause: 'sender_path' }), got(720, { cause: 'sender_cpu' }), got(720, { cause: 'not_sent', height: null })], null, 4],
    ['one’s own machine', 4, [got(720, { cause: 'receiver_cpu' })], null, 4],
    ['one’s own picture does not get out', 4, [], cut('nothing', 'sender_path'), 1],
    ['one’s own picture is small', 4, [], cut('small', 'sender_path'), 1],
    ['one’s own picture is less', 4, [], cut('less', 'sender_path'), 2],
    ['one’s own picture, where the line is full', 4, [], cut('small', 'sender_line'), 2],
    ['one’s own picture, by the machine', 4, [], cut('small', 'sender_cpu'), 4],
    ['the measure is worse', 1, [path(640, 360)], null, 1],
    ['no path at all', 0, [path(640, 360)], null, 0],
  ])('%s', (_, measured, pictures, own, grade) => expect(lineGrade(measured, pictures, own)).toBe(grade));
  it('falls at once and rises when it has been better for a while', () => {
    const s = newSettling();
    const told = ([at, grade]: [number, Grade]): Grade => settle(s, at, grade);
    const seconds: [number, Grade][] = [[0, 0], [500, 4], [1_000, 1], [1_500, 2], [3_000, 1], [3_500, 4], [7_000, 3], [7_500, 3]];
    expect(seconds.map(told)).toEqual([0, 4, 1, 1, 1, 1, 1, 3]);
  });
});

describe('an answer given to the browser', () => {
  const none = new Set<string>();
  const answer =
    'v=0\r\ns=-\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ptime:20\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=simulcast:recv q;h;f\r\n';
  it('asks for the length of voice packets once, in the microphone’s section only', () => {
    const long = adapted(answer, 60, none);
    expect(long).toBe(answer.replace('ptime:20', 'ptime:60'));
    expect(adapted(long, 20, none)).toBe(answer);
    expect(adapted(answer.replace('a=ptime:20\r\n', ''), 60, none)).toBe(long);
  });
  it('also where there is no other section', () => {
    expect(adapted('v=0\r\nm=audio 9 X 0\r\na=mid:0\r\n', 60, none)).toBe('v=0\r\nm=audio 9 X 0\r\na=mid:0\r\na=ptime:60\r\n');
  });
  it('starts no encoding that is off', () => {
    expect(adapted(answer, 20, new Set(['h', 'f']))).toBe(answer.replace('q;h;f', 'q;~h;~f'));
  });
});
