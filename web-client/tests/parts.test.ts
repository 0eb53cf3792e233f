import { expect, it } from 'vitest';
import { newAnnouncer, note, take } from '../src/engine/announce';
import { initials } from '../src/engine/names';
import { en } from '../src/i18n/en';
import { vi } from '../src/i18n/vi';

it('names shrink to the last two words', () => {
  expect(initials('Nguyễn Thị Ánh')).toBe('TÁ');
  expect(initials('UBND phường Hồng Gai')).toBe('HG');
  expect(initials('“…”')).toBe('');
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
