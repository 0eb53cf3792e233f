// The keys of the meeting, in one place. They are matched by the key's place, because Vietnamese input methods rewrite what it types.

export type Shortcut = 'mic' | 'camera' | 'next' | 'previous';

/** What this key press asks for; null while a text is being composed or typed. */
export function shortcut(event: KeyboardEvent): Shortcut | null {
  if (event.isComposing || event.keyCode === 229 || event.altKey || event.shiftKey) return null;
  const control = event.ctrlKey || event.metaKey;
  if (control && event.code === 'KeyD') return 'mic';
  if (control && event.code === 'KeyE') return 'camera';
  const target = event.target;
  const typing = target instanceof HTMLElement && target.closest('input, select, textarea, dialog') !== null;
  if (control || typing) return null;
  if (event.code === 'PageDown') return 'next';
  if (event.code === 'PageUp') return 'previous';
  return null;
}
