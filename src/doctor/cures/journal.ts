/**
 * What is done to a host is written down before and after each step, a JSON object a line, synced: so that an undo, or going on, works after our death and
 * after a reboot. A cure has one file.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { wrapError } from '../../errors.ts'
import { makePath } from '../../sys/make-path.ts'

/** One line of it; `step` says which. */
export interface Step {
  readonly step: string
  readonly [fact: string]: unknown
}

export interface JournalRecord {
  readonly id: string
  readonly steps: readonly Step[]
}

const suffix = '.jsonl'

export class Journal implements Disposable {
  readonly id: string
  readonly #directory: string
  readonly #fd: number
  /** Of a new one: higher than those of all that are here. */
  readonly #number: number
  /** The last line may have been cut by a death, or a full disk. */
  #isTorn: boolean

  /**
   * @param directory is made if it is not there, for its owner alone
   * @param id of the one to go on in; a new one of that kind if absent
   * @throws WindlassError NO_SPACE, PERMISSION
   */
  constructor(directory: string, kind: string, id?: string) {
    this.#directory = directory
    this.#isTorn = id !== undefined
    try {
      makePath(directory, 0o700)
      this.id = id ?? freeName(directory, kind)
      this.#number = id === undefined ? 1 + Math.max(0, ...readJournals(directory).map(numberOf)) : 0
      this.#fd = openSync(this.#pathOf(suffix), id === undefined ? 'ax' : 'a', 0o600)
      syncDirectory(directory)
    } catch (error) {
      throw wrapError(error, `Cannot begin a journal in ${directory}`)
    }
  }

  /** To write down what is done to an earlier cure. */
  static reopen(directory: string, id: string): Journal {
    return new Journal(directory, '', id)
  }

  /** Returns when it is on the disk. `begin` says, too, which number it has here and when by a clock that nobody sets. @throws WindlassError NO_SPACE, PERMISSION */
  write(step: string, facts: Readonly<Record<string, unknown>> = {}): void {
    const time = new Date().toISOString()
    const order = step === 'begin' ? { number: this.#number, uptimeUs: readUptimeUs() } : {}
    try {
      // All of it: a disk that becomes full takes a part of it first, and only then says so.
      writeFileSync(this.#fd, `${this.#isTorn ? '\n' : ''}${JSON.stringify({ step, time, ...order, ...facts })}\n`)
      fsyncSync(this.#fd)
      this.#isTorn = false
    } catch (error) {
      this.#isTorn = true
      throw wrapError(error, `Cannot write the journal ${this.#pathOf(suffix)}`)
    }
  }

  /** The same for what has been done in any case: a full disk does not stop it. */
  note(step: string, facts: Readonly<Record<string, unknown>> = {}): void {
    try {
      this.write(step, facts)
    } catch {} // nothing depends on it any more
  }

  /** A path for something that belongs to this cure. */
  pathOf(name: string): string {
    return this.#pathOf(`.${name}`)
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd)
  }

  #pathOf(ending: string): string {
    return join(this.#directory, `${this.id}${ending}`)
  }
}

/** Microseconds since this host was started (CLOCK_MONOTONIC): the same clock for all processes of a boot. */
export function readUptimeUs(): number {
  return Number(process.hrtime.bigint() / 1000n)
}

/** The second, and a number where that is taken. */
function freeName(directory: string, kind: string): string {
  const time = new Date()
    .toISOString()
    .replace(/\.\d+Z$/, '')
    .replace(/\D/g, '')
  const names = Array.from({ length: 100 }, (_, at) => `${kind}-${time}${at === 0 ? '' : `-${at + 1}`}`)
  return names.find(name => !existsSync(join(directory, `${name}${suffix}`))) ?? `${kind}-${time}-${process.pid}`
}

/**
 * All cures that were ever begun here, the oldest first. A last line that was cut by a death is left out, and so is what is called like a journal and is none.
 * @throws WindlassError PERMISSION, FAILED if one cannot be read: nobody knows what it would tell
 */
export function readJournals(directory: string): JournalRecord[] {
  const records = namesIn(directory)
    .filter(name => isRegular(join(directory, name)))
    .map(name => ({ id: name.slice(0, -suffix.length), steps: readSteps(join(directory, name)) }))
  return records
    .filter(({ steps }) => steps.length > 0)
    .sort((a, b) => numberOf(a) - numberOf(b) || compareBegins(a, b))
}

/** Paths of what is called like a journal and is none: a directory, a link, a pipe. */
export function listStrangers(directory: string): string[] {
  const paths = namesIn(directory).map(name => join(directory, name))
  return paths.filter(path => !isRegular(path))
}

function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).filter(name => name.endsWith(suffix)) : []
}

function isRegular(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() === true
}

/**
 * Of journals of one boot, wherever they are: which was begun first. A clock may have been set meanwhile; it counts only among those of an earlier windlass, which had nothing else, and which are older than all that
 * have more.
 */
export function compareBegins(a: JournalRecord, b: JournalRecord): number {
  return uptimeOf(a) - uptimeOf(b) || timeOf(a).localeCompare(timeOf(b))
}

function readSteps(path: string): Step[] {
  return readLines(path).flatMap(line => {
    try {
      const step: unknown = JSON.parse(line)
      return isStep(step) ? [step] : []
    } catch {
      return []
    }
  })
}

function isStep(value: unknown): value is Step {
  return typeof value === 'object' && value !== null && typeof (value as Partial<Step>).step === 'string'
}

/** None of one that was removed meanwhile, as those of old rescues are. */
function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw wrapError(error, `Cannot read the journal ${path}`)
  }
}

/** 0 of an earlier windlass. Two that are begun at the same moment may have the same. */
function numberOf({ steps: [first] }: JournalRecord): number {
  return Number(first?.['number'] ?? 0)
}

function uptimeOf({ steps: [first] }: JournalRecord): number {
  return Number(first?.['uptimeUs'] ?? 0)
}

function timeOf({ steps: [first] }: JournalRecord): string {
  return String(first?.['time'] ?? '')
}

function syncDirectory(directory: string): void {
  const fd = openSync(directory, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
