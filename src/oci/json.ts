import { WindlassError } from '../errors.ts'
import { type Digest, isDigest } from './digest.ts'
import { quote } from './quote.ts'

/** An object as `JSON.parse` made it. Fields are read with the functions below, never through the prototype. */
export type JsonObject = Readonly<Record<string, unknown>>

/** What is being read, for messages: `manifest`, `image config`, `layers[3].platform`. */
type Subject = string

/**
 * Reads a JSON object from a stranger's bytes: UTF-8, at most `sizeMax` bytes. The last of several equal keys wins, as in Go;
 * where that could mean different things to different readers, ask `checkUniqueKeys` first.
 * @throws WindlassError LIMIT_EXCEEDED, CORRUPT
 */
export function parseJsonObject(bytes: Uint8Array, subject: Subject, sizeMax: number): JsonObject {
  return asObject(parseJson(decodeText(bytes, subject, sizeMax), subject), subject)
}

/** The text of a document. @throws WindlassError LIMIT_EXCEEDED, CORRUPT */
export function decodeText(bytes: Uint8Array, subject: Subject, sizeMax: number): string {
  if (bytes.length > sizeMax) {
    throw new WindlassError(
      'LIMIT_EXCEEDED',
      `Cannot read ${subject}: it has ${bytes.length} bytes; at most ${sizeMax}`,
    )
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (error) {
    throw new WindlassError('CORRUPT', `Cannot read ${subject}: it is not UTF-8 text`, { cause: error })
  }
}

/** The parser's own message quotes the text, which may be long or hold control characters: it is only the cause. */
export function parseJson(text: string, subject: Subject): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new WindlassError('CORRUPT', `Cannot read ${subject}: it is not valid JSON`, { cause: error })
  }
}

/**
 * Refuses an object that has a key twice: parsers that keep the first and parsers that keep the last would see two documents
 * under one digest.
 * @param text valid JSON
 * @throws WindlassError CORRUPT
 */
export function checkUniqueKeys(text: string, subject: Subject): void {
  const open: (Set<string> | undefined)[] = []
  let string = ''
  for (let at = 0; at < text.length; at++) {
    const character = text[at]
    if (character === '"') {
      const end = endOfString(text, at)
      string = text.slice(at, end + 1)
      at = end
    } else if (character === ':') {
      addKey(open.at(-1), string, subject)
    } else if (character === '{') {
      open.push(new Set())
    } else if (character === '[') {
      open.push(undefined)
    } else if (character === '}' || character === ']') {
      open.pop()
    }
  }
}

function endOfString(text: string, start: number): number {
  let at = start + 1
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return at
}

function addKey(keys: Set<string> | undefined, quoted: string, subject: Subject): void {
  const key = JSON.parse(quoted) as string
  if (keys?.has(key)) throw corrupt(subject, `the key ${quote(key)} stands twice in one object`)
  keys?.add(key)
}

/**
 * Refuses a key that is a known one but for its case: Go reads `Layers` as `layers`, the last of both, so that an engine would see what we do not.
 * @throws WindlassError CORRUPT
 */
export function checkKeyCase(object: JsonObject, known: readonly string[], subject: Subject): void {
  const byFolded = new Map(known.map(key => [foldCase(key), key]))
  for (const key of Object.keys(object)) {
    const wanted = byFolded.get(foldCase(key))
    if (wanted !== undefined && wanted !== key)
      throw corrupt(subject, `it has the key ${quote(key)}; the specification says ${quote(wanted)}`)
  }
}

/**
 * The object with its known keys as the specification spells them, whatever their case, as Go reads it.
 * @throws WindlassError CORRUPT if two keys stand for one: which of them counts is up to the reader
 */
export function normalizeKeys(object: JsonObject, known: readonly string[], subject: Subject): JsonObject {
  const byFolded = new Map(known.map(key => [foldCase(key), key]))
  const spelt = new Map<string, string>()
  const entries = Object.entries(object).map(([key, value]): [string, unknown] => {
    const name = byFolded.get(foldCase(key)) ?? key
    const other = spelt.get(name)
    if (other !== undefined) throw corrupt(subject, `its keys ${quote(other)} and ${quote(key)} are one to docker`)
    spelt.set(name, key)
    return [name, value]
  })
  // fromEntries defines own properties: a key named __proto__ stays a key.
  return Object.fromEntries(entries)
}

/** As Go's encoding/json has it: the long s is an s, the Kelvin sign a k. */
function foldCase(key: string): string {
  return key.toUpperCase().toLowerCase()
}

/** The own field of that name; undefined where it is absent or null, which Go's writers use alike. */
export function readField(object: JsonObject, name: string): unknown {
  return Object.hasOwn(object, name) ? (object[name] ?? undefined) : undefined
}

/** @throws WindlassError CORRUPT if the value is no object */
export function asObject(value: unknown, subject: Subject): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject
  throw corrupt(subject, `it is ${kindOf(value)}; an object is needed`)
}

/** The field as an object, if it is there. @throws WindlassError CORRUPT */
export function readObject(object: JsonObject, name: string, subject: Subject): JsonObject | undefined {
  const value = readField(object, name)
  return value === undefined ? undefined : asObject(value, `${subject}.${name}`)
}

/** The field as a string, if it is there. @throws WindlassError CORRUPT */
export function readString(object: JsonObject, name: string, subject: Subject): string | undefined {
  const value = readField(object, name)
  if (value === undefined || typeof value === 'string') return value
  throw corrupt(`${subject}.${name}`, `it is ${kindOf(value)}; a string is needed`)
}

/** The field as a list of at most `countMax` values, if it is there. @throws WindlassError CORRUPT, LIMIT_EXCEEDED */
export function readList(
  object: JsonObject,
  name: string,
  subject: Subject,
  countMax = Number.POSITIVE_INFINITY,
): readonly unknown[] | undefined {
  const value = readField(object, name)
  if (value === undefined) return undefined
  if (!Array.isArray(value)) throw corrupt(`${subject}.${name}`, `it is ${kindOf(value)}; a list is needed`)
  if (value.length <= countMax) return value
  const state = `it has ${value.length} entries; at most ${countMax}`
  throw new WindlassError('LIMIT_EXCEEDED', `Cannot read ${subject}.${name}: ${state}`)
}

/** The field as a list of strings, if it is there. @throws WindlassError CORRUPT */
export function readStrings(object: JsonObject, name: string, subject: Subject): readonly string[] | undefined {
  return readList(object, name, subject)?.map((value, at) => {
    if (typeof value === 'string') return value
    throw corrupt(`${subject}.${name}[${at}]`, `it is ${kindOf(value)}; a string is needed`)
  })
}

/** The field as a map of strings, if it is there; null values are dropped. @throws WindlassError CORRUPT */
export function readStringMap(
  object: JsonObject,
  name: string,
  subject: Subject,
): Readonly<Record<string, string>> | undefined {
  const map = readObject(object, name, subject)
  if (map === undefined) return undefined
  for (const [key, value] of Object.entries(map)) {
    if (typeof value === 'string' || value === null) continue
    throw corrupt(`${subject}.${name}[${quote(key)}]`, `it is ${kindOf(value)}; a string is needed`)
  }
  // fromEntries defines own properties: a key named __proto__ stays a key.
  return Object.fromEntries(Object.entries(map).filter((entry): entry is [string, string] => entry[1] !== null))
}

/** The field as a digest, which must be there. @throws WindlassError CORRUPT */
export function readDigest(object: JsonObject, name: string, subject: Subject): Digest {
  return asDigest(readField(object, name), `${subject}.${name}`)
}

/** @throws WindlassError CORRUPT if the value is no digest */
export function asDigest(value: unknown, subject: Subject): Digest {
  if (typeof value === 'string' && isDigest(value)) return value
  throw corrupt(subject, `it is ${kindOf(value)}; sha256: or sha512: with lower-case hex is needed`)
}

/** The given entries without the undefined ones, for optional fields that must be absent rather than undefined. */
export function present<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }
}

/** A WindlassError CORRUPT that names what was being read. */
export function corrupt(subject: Subject, state: string): WindlassError {
  return new WindlassError('CORRUPT', `Cannot read ${subject}: ${state}`)
}

/**
 * What a value is, for messages. Never its text: an object may carry its own `toString`, and a deeply nested one overflows the
 * stack of `JSON.stringify`.
 */
export function kindOf(value: unknown): string {
  if (value === undefined) return 'missing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'an object'
  return typeof value === 'string' ? quote(value) : String(value)
}
