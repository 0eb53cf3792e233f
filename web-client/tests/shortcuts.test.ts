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
  it('that scrolls an open panel turns no page', () => {
    document.body.innerHTML = '<details open><div tabindex="0"></div></details>';
    const seen: ReturnType<typeof shortcut>[] = [];
    document.addEventListener('keydown', (event) => seen.push(shortcut(event)), { once: true });
    document.querySelector('div')?.dispatchEvent(new KeyboardEvent('keydown', { code: 'PageDown', bubbles: true }));
    expect(seen).toEqual([null]);
  });
  it('with another meaning is left alone', () => {
    expect(press('KeyD')).toBeNull();
    expect(press('KeyD', { ctrlKey: true, shiftKey: true })).toBeNull();
  });
});
