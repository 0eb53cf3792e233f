// The page reads what the server writes, and writes what the server reads: the golden frames are shared with the server's tests.
import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  AUDIO_SLOTS, CAUSES, ERROR_CODES, KINDS, ROLES, VERSION, VIDEO_CODECS, VIDEO_SLOTS, decode, displayName, kindOf, pointOf, sourceOf,
  type Cause, type ClientMessage, type ErrorCode, type Role,
} from '../src/engine/protocol';
import { leads, maySpeak } from '../src/engine/roster';
import { handle, newSession, stateOf } from '../src/engine/session';
import { en } from '../src/i18n/en';
import { reasonText, refusalText } from '../src/i18n/reasons';
import { vi } from '../src/i18n/vi';
import { point } from './scene';

const fixtures = new URL('../../signaling/fixtures/protocol/', import.meta.url);
const files = (folder: string): string[] => readdirSync(new URL(folder, fixtures)).filter((f) => f.endsWith('.json'));
const text = (path: string): string => readFileSync(new URL(path, fixtures), 'utf8');

describe('golden frames of the server', () => {
  const all = files('server/');
  it('are there', () => expect(all.length).toBeGreaterThan(20));
  it.each(all)('%s is read whole', (file) => {
    const raw = text(`server/${file}`);
    const result = decode(raw);
    expect(result).toEqual({ ok: true, value: JSON.parse(raw) });
  });
  it.each(all)('%s with a field more or a field less is refused', (file) => {
    const value = JSON.parse(text(`server/${file}`)) as Record<string, unknown>;
    expect(decode(JSON.stringify({ ...value, more: 1 })).ok).toBe(false);
    for (const field of Object.keys(value)) {
      const { [field]: _gone, ...rest } = value;
      expect(decode(JSON.stringify(rest)).ok, field).toBe(false);
    }
  });
  it.each(all)('%s with any one value replaced never throws', (file) => {
    const value = JSON.parse(text(`server/${file}`)) as Record<string, unknown>;
    for (const field of Object.keys(value)) {
      for (const other of [null, -1, 1.5, 2 ** 53, 'x'.repeat(300_000), [], {}, [[]], true]) {
        const result = decode(JSON.stringify({ ...value, [field]: other }));
        if (!result.ok) expect(result.reason.length).toBeLessThan(200);
      }
    }
  });
});

interface Words {
  version: number;
  roles: Record<Role, { publish: boolean; give_floor: boolean }>;
  sources: string[];
  codecs: string[];
  changes: string[];
  resumed: string[];
  media: string[];
  error_codes: ErrorCode[];
  close_codes: number[];
  causes: Cause[];
  audio_slots: number;
  video_slots: Record<string, number>;
}

describe('the words of the server', () => {
  const words = JSON.parse(text('words.json')) as Words;
  const same = (ours: readonly string[], theirs: readonly string[]): void => expect([...ours].sort()).toEqual([...theirs].sort());
  it('are those of the page', () => {
    expect(words.version).toBe(VERSION);
    same(ROLES, Object.keys(words.roles));
    same(ERROR_CODES, words.error_codes);
    same(CAUSES, words.causes);
    // Their places are the low bits of a source's number.
    expect(KINDS).toEqual(words.sources);
    same(VIDEO_CODECS, words.codecs);
  });
  it.each([
    ['changes', 'point_joined.json', 'change'],
    ['resumed', 'resumed_kept.json', 'media'],
    ['media', 'media_lost.json', 'state'],
  ] as const)('%s are read', (list, file, field) => {
    const frame = JSON.parse(text(`server/${file}`)) as object;
    for (const word of words[list]) expect(decode(JSON.stringify({ ...frame, [field]: word })).ok, word).toBe(true);
  });
  it('a role may do on the page what it may do there', () => {
    for (const role of ROLES) {
      expect({ publish: maySpeak({ role }), give_floor: leads(point(1, [], role)) }, role).toEqual(words.roles[role]);
    }
  });
  it('there are as many slots on the page, and no more', () => {
    expect(AUDIO_SLOTS).toBe(words.audio_slots);
    expect(VIDEO_SLOTS).toEqual(words.video_slots);
    const shows = (slot: string): boolean => decode(JSON.stringify({ type: 'slots', slots: [{ slot, source: null, time: null }] })).ok;
    for (const [letter, count] of [['a', words.audio_slots], ['v', Math.max(...Object.values(words.video_slots))]] as const) {
      for (let i = 0; i < count; i++) expect(shows(`${letter}${i}`), `${letter}${i}`).toBe(true);
      expect(shows(`${letter}${count}`)).toBe(false);
    }
  });
  it.each(words.error_codes)('%s has its words in both languages', (code) => {
    for (const dictionary of [vi, en]) expect(dictionary).toHaveProperty(`error_${code}`);
    for (const what of ['give_floor', 'take_floor', 'publish'] as const) expect(refusalText({ what, why: code })).toMatch(/\. .+\.$/);
  });
  it.each(words.causes)('%s has its words', (cause) => {
    for (const what of ['smaller', 'slower', 'none'] as const) expect(reasonText({ what, cause, line: null }), what).not.toMatch(/undefined|\{/);
  });
  it('a close is known for what it is', () => {
    const fate = (code: number): string => {
      const session = newSession(() => 0);
      for (const input of [{ on: 'start', token: 'T', seat: null, profile: 'laptop' }, { on: 'opened' }, { on: 'closed', code }] as const) handle(session, 0, input);
      const state = stateOf(session, 0);
      return state.at === 'left' ? state.why : state.at === 'failed' ? state.code : state.at;
    };
    expect(Object.fromEntries(words.close_codes.map((code) => [code, fate(code)]))).toEqual({
      1000: 'ended', 1001: 'connecting', 1008: 'closed', 1009: 'closed', 1013: 'connecting',
      4400: 'closed', 4401: 'bad_token', 4404: 'unknown_room', 4408: 'connecting', 4409: 'taken',
    });
  });
});

describe('frames that are none of the server', () => {
  const bad = files('bad/').filter((f) => f !== 'bad_message--server_type.json');
  it.each([...bad.map((f) => `bad/${f}`), ...files('client/').map((f) => `client/${f}`)])('%s is refused', (file) => {
    expect(decode(text(file)).ok).toBe(false);
  });
});

// Each frame that the page can send, as the type checker sees it: a field that drifts from the golden frames fails here or in `tsc`.
const offer = 'v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n';
const token = 'eyJhbGciOiJFZERTQSJ9.eyJyb29tIjoiZGVtbyJ9.c2lnbmF0dXJl';
const resume = 'eyJhbGciOiJFZERTQSJ9.eyJzZWF0IjoiYWJjIn0.c2lnbmF0dXJl';
const SENT: Readonly<Record<string, ClientMessage>> = {
  'hello_resume.json': { type: 'hello', version: VERSION, token, resume },
  'hello_resume_null.json': { type: 'hello', version: VERSION, token, resume: null },
  'join.json': {
    type: 'join', id: 1, name: 'Nguyễn Thị Ánh', profile: 'laptop',
    sources: { mic: '0', camera: '1', screen: '2', screen_sound: '3' }, published: ['mic', 'camera'], offer,
  },
  'give_floor.json': { type: 'give_floor', id: 8, point: 12 },
  'leave.json': { type: 'leave' },
  'ping.json': { type: 'ping', id: 7 },
  'publish_on.json': { type: 'publish', source: 'screen', on: true },
  'restart.json': { type: 'restart', id: 2, offer },
  'stats.json': {
    type: 'stats', cpu_limited: false, encoder_limited: false, frames_decoded: 178, freezes: 0, freeze_ms: 0, concealed_ppm: 1_200, audio_delay_ms: 60,
  },
  'take_floor.json': { type: 'take_floor', id: 9 },
  'view_pinned.json': { type: 'view', slots: [{ slot: 'v0', source: 49, height: 720, pinned: true }, { slot: 'v26', source: 54, height: 2160 }] },
  'view.json': { type: 'view', slots: [{ slot: 'v0', source: 49, height: 720 }, { slot: 'v26', source: 54, height: 2160 }] },
};

describe('golden frames of the client', () => {
  it.each(Object.entries(SENT))('%s is what the page writes', (file, message) => {
    expect(JSON.parse(JSON.stringify(message))).toEqual(JSON.parse(text(`client/${file}`)));
  });
});

describe('names', () => {
  it.each(files('bad/').filter((f) => f.startsWith('bad_name--')))('%s is never sent as it is', (file) => {
    const { name } = JSON.parse(text(`bad/${file}`)) as { name: string };
    expect(displayName(name)).not.toBe(name);
  });
  it('are composed and tidied', () => {
    expect(displayName('  Đầm   Hà ')).toBe('Đầm Hà');
    expect(displayName('Nguyễn'.normalize('NFD'))).toBe('Nguyễn'.normalize('NFC'));
    expect(displayName('ễ'.repeat(64))).toBe('ễ'.repeat(64));
    expect(displayName('ễ'.repeat(65))).toBeNull();
  });
});

it('a source number holds its point and kind', () => {
  for (const kind of ['mic', 'camera', 'screen', 'screen_sound'] as const) {
    const source = sourceOf(2 ** 30 - 1, kind);
    expect([pointOf(source), kindOf(source)]).toEqual([2 ** 30 - 1, kind]);
    expect(source).toBeLessThan(2 ** 32);
  }
});
