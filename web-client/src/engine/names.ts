// Names of people and places, shortened. The server sends them in NFC.

/** One or two letters to stand for a point without a picture: of the given name and the one before, the last two words. */
export function initials(name: string): string {
  const words = name.normalize('NFC').split(/[\s\-–—_.,/]+/u).filter((w) => /^[\p{L}\p{N}]/u.test(w));
  const letters = words.slice(-2).map((w) => [...w][0] ?? '');
  return letters.join('').toLocaleUpperCase('vi');
}

/** A hue of 0 to 359 that a point keeps, from its number: neighbours differ clearly. */
export function hue(number: number): number {
  return Math.round((number * 137.508) % 360);
}
