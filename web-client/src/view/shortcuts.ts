// The keys of the meeting, in one place. They are matched by the key's place, because Vietnamese input methods rewrite what it types.

/** `held`: a key of ours that is held down. It does nothing more, and must not reach the browser, which has its own use for it. */
export type Shortcut = 'mic' | 'camera' | 'next' | 'previous' | 'held';

/** The keys as they are named to people. */
export const KEYS = { mic: 'Ctrl+D', camera: 'Ctrl+E' } as const;

/** What this key press asks for; null while a text is being composed or typed, or where the keys are the browser's. */
export function shortcut(event: KeyboardEvent): Shortcut | null {
  if (event.isComposing || event.keyCode === 229 || event.altKey || event.shiftKey) return null;
  const control = event.ctrlKey || event.metaKey;
  if (control && event.code === 'KeyD') return event.repeat ? 'held' : 'mic';
  if (control && event.code === 'KeyE') return event.repeat ? 'held' : 'camera';
  const target = event.target;
  // An open panel scrolls by these keys.
  const typing = target instanceof HTMLElement && target.closest('input, select, textarea, dialog, details[open]') !== null;
  if (control || typing) return null;
  if (event.code === 'PageDown') return 'next';
  if (event.code === 'PageUp') return 'previous';
  return null;
}
