// @vitest-environment happy-dom
import { describe, expect, it } from 'vitest';
import { shortcut } from '../src/view/shortcuts';

const press = (code: string, more: KeyboardEventInit = {}): ReturnType<typeof shortcut> => shortcut(new KeyboardEvent('keydown', { code, ...more }));

describe('a key', () => {
  it('switches once, however long it is held, and stays ours', () => {
    expect(press('KeyD', { ctrlKey: true })).toBe('mic');
    expect(press('KeyD', { ctrlKey: true, repeat: true })).toBe('held');
    expect(press('KeyE', { metaKey: true })).toBe('camera');
    expect(press('KeyE', { metaKey: true, repeat: true })).toBe('held');
  });
  it('that turns pages may be held', () => {
    expect(press('PageDown', { repeat: true })).toBe('next');
  });
  it('with another meaning is left alone', () => {
    expect(press('KeyD')).toBeNull();
    expect(press('KeyD', { ctrlKey: true, shiftKey: true })).toBeNull();
  });
});
