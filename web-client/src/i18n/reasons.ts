// A shortfall in words. A line is called by its name where it has one.
import type { Reason } from '../engine/quality';
import type { Cut } from '../engine/sending';
import type { Refusal } from '../engine/session';
import { t, type Key } from './index.svelte';

/** Why this picture is less than wanted, as a sentence. */
export function reasonText({ what, cause, line }: Reason): string {
  if (what === 'voices_only' || what === 'one_voice') return t(`less_${what}`);
  if (what === 'none' && cause === 'not_sent') return t('less_not_sent');
  // While only voices pass, a picture that is still there or there again is less for the same reason.
  const why = cause === 'voices_only' || cause === 'one_voice' ? 'path' : cause;
  return t(`less_${what}`, { why: t(`why_${why}`, { line: lineText(line) }) });
}

/** The same for a tile with little room; null if there is no short form. */
export function reasonWord({ what }: Reason): string | null {
  return what === 'smaller' || what === 'slower' ? null : t(`less_short_${what}`);
}

/** What of one's own camera is not sent, and why. */
export function cutText({ sends, cause, line }: Cut): string {
  return capital(t(`own_${sends}`, { why: t(OWN[cause] ?? 'own_why_other', { line: lineText(line) }) }));
}

/** What was asked for and did not happen, and why. */
export function refusalText({ what, why }: Refusal): string {
  const gone = what === 'give_floor' && why === 'state';
  return `${t(`refused_${what}`)} ${t(gone ? 'refused_gone' : why === 'away' ? 'refused_away' : `error_${why}`)}`;
}

function lineText(name: string | null): string {
  return name === null || name === '' ? t('line_some') : t('line_named', { name });
}

function capital(text: string): string {
  const [first = ''] = text;
  return first.toLocaleUpperCase() + text.slice(first.length);
}

const OWN: Partial<Readonly<Record<Cut['cause'], Key>>> = {
  sender_path: 'own_why_path',
  sender_line: 'own_why_line',
  sender_cpu: 'own_why_cpu',
  policy: 'own_why_policy',
};
