import { SupercargoError } from '../model/errors.ts';

/**
 * Reads JSON as the engine does, which is written in Go. Go matches the members of a structure whatever their letter case, and takes a repeated one over
 * or mixes the two. So what JSON.parse shows is not what the engine acts on; what could be read in two ways is refused here.
 */
export type GoValue = string | number | boolean | null | GoValue[] | GoObject;

/** @throws forbidden if the text is not exactly one JSON object */
export function readGoJson(text: string): GoObject {
  const reader = new Reader(text);
  const value = reader.value();
  reader.end();
  if (!(value instanceof GoObject)) throw unreadable('it is not a JSON object');
  return value;
}

export function unreadable(reason: string): SupercargoError {
  return new SupercargoError('forbidden', `The request cannot be judged: ${reason}.`, {
    hint: 'A project of this cluster requires grants, so what cannot be read for certain is refused.',
  });
}

/** An object whose members are kept as they came, repeated ones too. */
export class GoObject {
  readonly entries: readonly (readonly [string, GoValue])[];

  constructor(entries: readonly (readonly [string, GoValue])[]) {
    this.entries = entries;
  }

  /** A member of a structure; undefined if it is absent or null. @throws forbidden if it is there more than once, in whatever letter case */
  member(name: string): GoValue | undefined {
    const found = this.entries.filter(([key]) => fold(key) === fold(name));
    if (found.length > 1) throw unreadable(`"${name}" stands in it ${found.length} times`);
    return found[0]?.[1] ?? undefined;
  }

  object(name: string): GoObject | undefined {
    const value = this.member(name);
    return value === undefined ? undefined : asObject(value, name);
  }

  text(name: string): string {
    return asText(this.member(name) ?? '', name);
  }

  flag(name: string): boolean {
    const value = this.member(name) ?? false;
    if (typeof value !== 'boolean') throw unreadable(`"${name}" is neither true nor false`);
    return value;
  }

  list(name: string): GoValue[] {
    const value = this.member(name) ?? [];
    if (!Array.isArray(value)) throw unreadable(`"${name}" is not a list`);
    return value;
  }

  texts(name: string): string[] {
    return this.list(name).map((each) => asText(each ?? '', name));
  }

  objects(name: string): GoObject[] {
    return this.list(name).map((each) => asObject(each, name));
  }

  /** A member that is a table with keys of its own, which do differ by letter case; of a repeated one the last counts, as in Go. */
  table(name: string): ReadonlyMap<string, GoValue> {
    return new Map(this.object(name)?.entries ?? []);
  }
}

function asObject(value: GoValue, name: string): GoObject {
  if (value instanceof GoObject) return value;
  throw unreadable(`"${name}" is not an object`);
}

export function asText(value: GoValue, name: string): string {
  if (typeof value === 'string') return value;
  throw unreadable(`"${name}" is not a text`);
}

/** As Go compares names: two letters beyond ASCII count as "k" and "s". */
function fold(name: string): string {
  return name.replaceAll('\u212a', 'k').replaceAll('\u017f', 's').toLowerCase();
}

/** Deeper than anything an engine takes, and far from the end of the stack. */
const greatestDepth = 200;

/** By hand, because JSON.parse hides that a member is repeated. Scalars are left to it. */
class Reader {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(): GoValue {
    this.#skipSpace();
    const next = this.#text[this.#at];
    if (next === '{') return this.#nested(() => new GoObject(this.#items('}', () => this.#entry())));
    if (next === '[') return this.#nested(() => this.#items(']', () => this.value()));
    return this.#scalar();
  }

  end(): void {
    this.#skipSpace();
    if (this.#at < this.#text.length) throw unreadable('something follows its JSON document');
  }

  #nested<Value>(read: () => Value): Value {
    if (++this.#depth > greatestDepth) throw unreadable('it is nested too deeply');
    const value = read();
    this.#depth -= 1;
    return value;
  }

  #entry(): [string, GoValue] {
    this.#skipSpace();
    const key = this.#scalar();
    if (typeof key !== 'string') throw unreadable('it is not well-formed JSON');
    this.#skipSpace();
    this.#expect(':');
    return [key, this.value()];
  }

  #items<Item>(close: ']' | '}', read: () => Item): Item[] {
    const items: Item[] = [];
    this.#at += 1;
    this.#skipSpace();
    if (this.#text[this.#at] === close) this.#at += 1;
    else
      do {
        items.push(read());
        this.#skipSpace();
      } while (this.#goesOn(close));
    return items;
  }

  #goesOn(close: ']' | '}'): boolean {
    if (this.#text[this.#at] === ',') {
      this.#at += 1;
      return true;
    }
    this.#expect(close);
    return false;
  }

  #scalar(): string | number | boolean | null {
    const pattern = /"[^"\\]*(?:\\.[^"\\]*)*"|[-+.0-9a-zA-Z]+/sy;
    pattern.lastIndex = this.#at;
    const source = pattern.exec(this.#text)?.[0];
    if (source === undefined) throw unreadable('it is not well-formed JSON');
    this.#at += source.length;
    try {
      return JSON.parse(source) as string | number | boolean | null;
    } catch {
      throw unreadable('it is not well-formed JSON');
    }
  }

  #expect(character: string): void {
    if (this.#text[this.#at] !== character) throw unreadable('it is not well-formed JSON');
    this.#at += 1;
  }

  #skipSpace(): void {
    while (' \t\n\r'.includes(this.#text[this.#at] ?? 'x')) this.#at += 1;
  }
}
