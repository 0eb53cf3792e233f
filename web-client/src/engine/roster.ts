// Who is in the room: a snapshot, then numbered changes. A change out of turn is a gap, and a gap means that the page must resume.
import type { Point, Role, Server } from './protocol';

/** Chair and secretary lead the meeting: they give the floor and take it. */
export const leads = ({ role }: Point): boolean => role === 'chair' || role === 'secretary';
/** Observers see and hear only. */
export const maySpeak = ({ role }: { role: Role }): boolean => role !== 'observer';

export interface Roster {
  /** By number; iteration follows the numbers, which is the order of arrival. */
  readonly points: ReadonlyMap<number, Point>;
  readonly sequence: number;
}

export const EMPTY_ROSTER: Roster = { points: new Map(), sequence: 0 };

export function snapshot(points: readonly Point[], sequence: number): Roster {
  const sorted = [...points].sort((a, b) => a.number - b.number);
  return { points: new Map(sorted.map((p) => [p.number, p])), sequence };
}

/** The roster after one change; `gap` if it is not the next one. One that was seen already changes nothing. */
export function apply(roster: Roster, change: Server<'point'>): Roster | 'gap' {
  if (change.sequence <= roster.sequence) return roster;
  if (change.sequence !== roster.sequence + 1) return 'gap';
  const points = new Map(roster.points);
  if (change.change === 'left') points.delete(change.point.number);
  else points.set(change.point.number, change.point);
  return { points: change.change === 'joined' ? snapshot([...points.values()], 0).points : points, sequence: change.sequence };
}
