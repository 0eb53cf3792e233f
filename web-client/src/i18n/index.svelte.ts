// Which words are shown. `t` reads the language of the moment, so a template that calls it follows a switch by itself.
import { recall, remember } from '../driver/storage';
import { en } from './en';
import { vi } from './vi';

export type Language = 'vi' | 'en';
export type Key = keyof typeof vi;
/** A text, or one for each plural form of the language; Vietnamese has one form only. */
export type Text = string | { one: string; other: string };

const TEXTS: Readonly<Record<Language, Readonly<Record<Key, Text>>>> = { vi, en };
let language = $state<Language>('vi');

export const currentLanguage = (): Language => language;

/** By the address (`?lang=en`), else by the last choice, else Vietnamese. */
export function startLanguage(search: string): void {
  const asked = new URLSearchParams(search).get('lang') ?? recall('language');
  apply(asked === 'en' ? 'en' : 'vi');
}

export function setLanguage(next: Language): void {
  remember('language', next);
  apply(next);
}

export function t(key: Key, fill: Readonly<Record<string, string | number>> = {}): string {
  const text = TEXTS[language][key];
  const n = fill['n'];
  const form = typeof text === 'string' ? text : text[typeof n === 'number' && plural(n) === 'one' ? 'one' : 'other'];
  return form.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = fill[name] ?? '';
    return typeof value === 'number' ? value.toLocaleString(language) : value;
  });
}

function apply(next: Language): void {
  language = next;
  document.documentElement.lang = next;
}

function plural(n: number): Intl.LDMLPluralRule {
  return new Intl.PluralRules(language).select(n);
}
