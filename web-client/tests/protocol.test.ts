// The page reads what the server writes, and writes what the server reads: the golden frames are shared with the server's tests.
import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { VERSION, decode, displayName, kindOf, pointOf, sourceOf, type ClientMessage } from '../src/engine/protocol';

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
