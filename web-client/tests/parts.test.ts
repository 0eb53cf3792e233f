import { describe, expect, it } from 'vitest';
import { newAnnouncer, note, take } from '../src/engine/announce';
import { fold, initials } from '../src/engine/names';
import { hide, newViewRequest, poll, want } from '../src/engine/view-request';
import { en } from '../src/i18n/en';
import { vi } from '../src/i18n/vi';

describe('names', () => {
  it('are found without their marks', () => {
    expect(fold('Đầm Hà')).toBe('dam ha');
    expect(fold('UBND đặc khu Cô Tô').includes(fold('co to'))).toBe(true);
  });
  it('shrink to the last two words', () => {
    expect(initials('Nguyễn Thị Ánh')).toBe('TÁ');
    expect(initials('UBND phường Hồng Gai')).toBe('HG');
    expect(initials('“…”')).toBe('');
  });
});

describe('view requests', () => {
  const wish = (height: number) => [{ slot: 'v1', source: 5, height }];
  it('the first is told at once, a drag of the window once', () => {
    const r = newViewRequest();
    want(r, 0, wish(180), false);
    expect(poll(r, 0)).toEqual(wish(180));
    for (let i = 0; i < 10; i++) want(r, 10 + i * 10, wish(200 + i), false);
    expect(poll(r, 100)).toBeNull();
    expect(poll(r, 160)).toEqual(wish(209));
    expect(poll(r, 1_000)).toBeNull();
  });
  it('a turned page does not wait', () => {
    const r = newViewRequest();
    want(r, 0, wish(180), false);
    poll(r, 0);
    want(r, 10, wish(360), true);
    expect(poll(r, 10)).toEqual(wish(360));
  });
  it('a hidden page asks for nothing after a while, and for all again at once', () => {
    const r = newViewRequest();
    want(r, 0, wish(180), false);
    poll(r, 0);
    hide(r, 100, true);
    expect(poll(r, 2_000)).toBeNull();
    want(r, 2_500, wish(240), false);
    expect(poll(r, 3_200)).toEqual([]);
    hide(r, 9_000, false);
    expect(poll(r, 9_000)).toEqual(wish(240));
  });
});

it('comings and goings are said together, at most once in ten seconds', () => {
  const a = newAnnouncer();
  note(a, 0, 'joined', 'An');
  expect(take(a, 500)).toEqual([]);
  expect(take(a, 1_000)).toEqual([{ kind: 'joined', name: 'An', count: 1 }]);
  for (let i = 0; i < 200; i++) note(a, 1_100, 'joined', `P${i}`);
  note(a, 1_200, 'left', 'An');
  expect(take(a, 9_000)).toEqual([]);
  expect(take(a, 11_000)).toEqual([
    { kind: 'joined', name: null, count: 200 },
    { kind: 'left', name: 'An', count: 1 },
  ]);
});

it('both languages fill in the same blanks', () => {
  const blanks = (text: string): string[] => [...text.matchAll(/\{\w+\}/g)].map(([m]) => m).sort();
  for (const key of Object.keys(vi) as (keyof typeof vi)[]) {
    const text = en[key];
    for (const form of typeof text === 'string' ? [text] : [text.one, text.other]) expect(blanks(form), key).toEqual(blanks(vi[key]));
    expect(vi[key]).toBe(vi[key].normalize('NFC'));
  }
});
