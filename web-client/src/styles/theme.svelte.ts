// Light or dark: by the person's choice, else by the system's. One attribute on the root switches all tokens.
import { recall, remember } from '../driver/storage';

export type Theme = 'auto' | 'light' | 'dark';
const THEMES: readonly Theme[] = ['auto', 'light', 'dark'];
let theme = $state<Theme>('auto');

export const currentTheme = (): Theme => theme;

export function startTheme(search: string): void {
  const kept = new URLSearchParams(search).get('theme') ?? recall('theme');
  theme = THEMES.find((known) => known === kept) ?? 'auto';
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', apply);
  apply();
}

export function setTheme(next: Theme): void {
  theme = next;
  remember('theme', next);
  apply();
}

function apply(): void {
  const dark = theme === 'dark' || (theme === 'auto' && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.dataset['theme'] = dark ? 'dark' : 'light';
}
