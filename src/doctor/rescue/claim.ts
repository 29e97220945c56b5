/**
 * A process is rescued by one at a time, and whoever comes later knows of whoever came before, wherever that one keeps its journals: a file for each process in a
 * directory that the next boot empties, locked (flock(2)) as long as somebody works on it, with the directories of the journals in it.
 */
import {
  closeSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { wrapError } from '../../errors.ts'
import { tryFlock } from '../../sys/libc.ts'
import { makePath } from '../../sys/make-path.ts'
import { type ProcessFacts, readProcess } from '../../sys/tasks.ts'
import { Refusal } from './refusal.ts'

export type Identity = Pick<ProcessFacts, 'pid' | 'startTicks'>

/** Where claims are: the same for all that may trace all processes. */
export const claimDirectory = '/run/windlass'

export class Claim implements Disposable {
  /** Directories of journals in which something may stand of this process, our own last. */
  readonly journalDirectories: readonly string[]
  readonly #path: string
  readonly #fd: number
  /** Something may have to be known of it later. */
  #isKept: boolean
  readonly #wasKept: boolean

  /** @param before what the claim's file says: directories of journals of those who came before */
  private constructor(path: string, fd: number, before: readonly string[], journalDirectory: string) {
    this.#wasKept = before.length > 0
    this.#isKept = this.#wasKept
    this.#path = path
    this.#fd = fd
    this.journalDirectories = [...before.filter(other => other !== journalDirectory), journalDirectory]
  }

  /**
   * @param directory where claims are; where it cannot be written to, they are beside the journals
   * @throws Refusal RESCUE_UNDER_WAY
   */
  static take(directory: string, process: Identity, journalDirectory: string): Claim {
    sweepClaims(directory)
    const { path, fd } = openClaim([directory, journalDirectory], process)
    try {
      const isOurs = tryFlock(fd) && statSync(path).ino === fstatSync(fd).ino
      if (!isOurs) throw new Refusal('RESCUE_UNDER_WAY', `another windlass is at work on process ${process.pid}`)
      const before = readLines(path)
      if (!before.includes(journalDirectory)) writeFileSync(fd, `${journalDirectory}\n`)
      return new Claim(path, fd, before, journalDirectory)
    } catch (error) {
      closeSync(fd)
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      throw new Refusal('RESCUE_UNDER_WAY', `another windlass was at work on process ${process.pid}`, error)
    }
  }

  /** Something is about to be done to the process. */
  keep(): void {
    this.#isKept = true
  }

  /** Nothing was done to it after all: it was refused. */
  spare(): void {
    this.#isKept = this.#wasKept
  }

  /** The process has left: nobody has to know of it any more. */
  forget(): void {
    this.#isKept = false
  }

  [Symbol.dispose](): void {
    if (!this.#isKept) rmSync(this.#path, { force: true })
    closeSync(this.#fd)
  }
}

/** For a look alone, which claims nothing. */
export function readClaimed(directory: string, process: Identity, journalDirectory: string): readonly string[] {
  return [...new Set([...readLines(join(directory, nameOf(process))), journalDirectory])]
}

/** Numbers mean something in one PID namespace alone. */
function nameOf({ pid, startTicks }: Identity): string {
  return `rescue-${readNamespace()}-${pid}-${startTicks}`
}

export function readNamespace(): string {
  return readlinkSync('/proc/self/ns/pid').replace(/\D/g, '')
}

/** What a rescue that died has left stays as long as its process, and not longer. */
function sweepClaims(directory: string): void {
  try {
    for (const name of readdirSync(directory)) if (isOver(name)) removeUnlocked(join(directory, name))
  } catch {} // it is not there yet, or not ours
}

function isOver(name: string): boolean {
  const claimed = parseClaim(name)
  return claimed !== undefined && readProcess(claimed.pid)?.startTicks !== claimed.startTicks
}

/** @returns undefined if it is none, or one of another PID namespace */
export function parseClaim(name: string): Identity | undefined {
  const [, namespace, pid, startTicks] = /^rescue-(\d+)-(\d+)-(\d+)$/.exec(name) ?? []
  return namespace === readNamespace() ? { pid: Number(pid), startTicks: Number(startTicks) } : undefined
}

/** One that is locked belongs to somebody who still waits for the proof. */
function removeUnlocked(path: string): void {
  const fd = openSync(path, 'r+')
  try {
    if (tryFlock(fd)) rmSync(path, { force: true })
  } finally {
    closeSync(fd)
  }
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean)
  } catch {
    return [] // nobody has been here
  }
}

function openClaim([directory = '', ...others]: readonly string[], process: Identity): { path: string; fd: number } {
  try {
    makePath(directory, 0o700)
    const path = join(directory, nameOf(process))
    return { path, fd: openSync(path, 'a', 0o600) }
  } catch (error) {
    if (others.length === 0) throw wrapError(error, `Cannot claim process ${process.pid} in ${directory}`)
    return openClaim(others, process)
  }
}
