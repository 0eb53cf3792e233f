// Shapes of JSON values: each is a checker and, by `Of`, the TypeScript type of what passes it. One description serves both, so they
// cannot drift apart. A checker never throws and never copies text from the value into its answer.

/** Either the value or a short English reason for a log; the reason holds paths of fields, never their contents. */
export type Result<T> = { ok: true; value: T } | { ok: false; reason: string };

/** Checks a value; `at` is the path of the value for the reason. */
export type Shape<T> = (value: unknown, at: string) => Result<T>;

/** The type that a shape lets through. */
export type Of<S> = S extends Shape<infer T> ? T : never;

export const pass = <T>(value: T): Result<T> => ({ ok: true, value });
export const fail = (reason: string): { ok: false; reason: string } => ({ ok: false, reason });

/** A string of 0 to `max` UTF-16 units that matches `pattern`, if one is given. */
export function text(max: number, pattern?: RegExp): Shape<string> {
  return (value, at) =>
    typeof value === 'string' && value.length <= max && (pattern === undefined || pattern.test(value))
      ? pass(value)
      : fail(`${at}: not the text expected`);
}

/** An integer from `min` to `max`, both included. */
export function integer(min: number, max: number): Shape<number> {
  return (value, at) =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
      ? pass(value)
      : fail(`${at}: not an integer in range`);
}

export const boolean: Shape<boolean> = (value, at) => (typeof value === 'boolean' ? pass(value) : fail(`${at}: not a boolean`));

/** One of a list of words. */
export function oneOf<const W extends readonly string[]>(words: W): Shape<W[number]> {
  return (value, at) => {
    const word = words.find((w) => w === value);
    return word === undefined ? fail(`${at}: not a known word`) : pass(word);
  };
}

export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return (value, at) => (value === null ? pass(null) : shape(value, at));
}

/** A list of at most `max` items; a longer one is refused as a whole. */
export function list<T>(shape: Shape<T>, max: number): Shape<T[]> {
  return (value, at) => {
    if (!Array.isArray(value) || value.length > max) return fail(`${at}: not a list within its limit`);
    const items: T[] = [];
    for (const [i, item] of value.entries()) {
      const checked = shape(item, `${at}[${i}]`);
      if (!checked.ok) return checked;
      items.push(checked.value);
    }
    return pass(items);
  };
}

/** An object used as a map: at most `max` keys, each matching `key`. */
export function map<T>(key: RegExp, shape: Shape<T>, max: number): Shape<Record<string, T>> {
  return (value, at) => {
    if (!isObject(value)) return fail(`${at}: not an object`);
    const entries = Object.entries(value);
    if (entries.length > max) return fail(`${at}: too many keys`);
    const out: Record<string, T> = {};
    for (const [name, item] of entries) {
      if (!key.test(name)) return fail(`${at}: unknown key`);
      const checked = shape(item, `${at}.${name}`);
      if (!checked.ok) return checked;
      out[name] = checked.value;
    }
    return pass(out);
  };
}

type Fields = Record<string, Shape<unknown>>;
type Fielded<F extends Fields> = { [K in keyof F]: Of<F[K]> };

/** An object with exactly these fields: a missing or an unknown one is refused. */
export function object<F extends Fields>(fields: F): Shape<Fielded<F>> {
  const names = Object.keys(fields);
  return (value, at) => {
    if (!isObject(value)) return fail(`${at}: not an object`);
    if (Object.keys(value).some((name) => !Object.hasOwn(fields, name))) return fail(`${at}: unknown field`);
    const out: Record<string, unknown> = {};
    for (const name of names) {
      if (!Object.hasOwn(value, name)) return fail(`${at}.${name}: missing`);
      const checked = (fields[name] as Shape<unknown>)(value[name], `${at}.${name}`);
      if (!checked.ok) return checked;
      out[name] = checked.value;
    }
    return pass(out as Fielded<F>);
  };
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
