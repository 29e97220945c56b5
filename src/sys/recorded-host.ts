/** A host as `src/doctor/collector.sh` wrote it down: read here, at another time, and in another place. */
import { setImmediate } from 'node:timers/promises'
import { WindlassError } from '../errors.ts'
import type { FileFacts, FilesystemFacts, HostView, PipeFill } from './host-view.ts'
import type { SocketAnswer } from './local-http.ts'

/** Some hundred processes, looked at forty times, are a few MiB; a node with thousands some ten. */
export const factsMax = 256 * 1024 * 1024
const head = 'windlass-facts 2'
const lastLine = 'z'
/** What an earlier script began with: whoever may name a file could add lines to what it wrote. */
const oldHead = 'windlass-facts 1'
/** What a login prints before the facts begin. */
const bannerMax = 1000

/** What was seen at one moment. */
interface Frame {
  readonly timeMs: number
  readonly texts: Map<string, string>
  readonly links: Map<string, string>
  readonly fills: Map<string, PipeFill>
  readonly files: Map<string, FileFacts>
  /** Names by directory: of all that the frame tells something about. */
  names: Map<string, Set<string>> | undefined
}

export class RecordedHost implements HostView {
  readonly arch: string
  readonly only: number | undefined
  readonly denied: ReadonlySet<string>
  readonly silent: ReadonlySet<string>
  readonly disk: HostView['disk']
  /** Programs that were not there, without which less could be seen. */
  readonly missing: readonly string[]
  readonly uid: number
  /** False if the collector did not come to its end. */
  readonly isWhole: boolean
  readonly #record: FactsRecord
  #at = 0
  #step: Promise<boolean> | undefined

  /** @throws WindlassError CORRUPT if this is nothing that the collector wrote */
  constructor(text: string) {
    const record = new FactsRecord()
    record.read(text)
    this.#record = record
    this.arch = archNames[record.values.get('arch') ?? ''] ?? record.values.get('arch') ?? ''
    const [only] = /^\d{1,9}$/.exec(record.values.get('only') ?? '') ?? []
    this.only = only === undefined ? undefined : Number(only)
    this.denied = record.denied
    this.silent = record.silent
    this.missing = record.missing
    this.uid = Number(record.values.get('uid') ?? 0)
    this.isWhole = record.isWhole
    this.disk = {
      text: path => Promise.resolve(this.text(path)),
      names: path => Promise.resolve(this.names(path)),
      file: path => Promise.resolve(this.#frame.files.get(path) ?? record.fixed.files.get(path)),
      filesystem: path => Promise.resolve(record.filesystems.get(path)),
      hasTypes: path => Promise.resolve(record.types.get(path)),
      silent: record.silent,
    }
  }

  get #frame(): Frame {
    return this.#record.frames[this.#at] ?? this.#record.fixed
  }

  now(): number {
    const [seconds, uptime] = (this.#record.values.get('now') ?? '').split(' ').map(Number)
    return (seconds || 0) * 1000 + this.elapsed() - (uptime || 0) * 1000
  }

  elapsed(): number {
    return this.#frame.timeMs
  }

  text(path: string): string | undefined {
    return this.#frame.texts.get(path) ?? (this.#isGone(path) ? undefined : this.#record.fixed.texts.get(path))
  }

  link(path: string): string | undefined {
    return this.#frame.links.get(path) ?? (this.#isGone(path) ? undefined : this.#record.fixed.links.get(path))
  }

  names(path: string): readonly string[] {
    const names = namesIn(this.#frame, path) ?? (this.#isGone(path) ? undefined : namesIn(this.#record.fixed, path))
    const silent = path === '/proc' ? this.#record.silentProcesses : []
    return [...(names ?? []), ...silent]
  }

  pipeFill(path: string): PipeFill | undefined {
    return this.#frame.fills.get(path)
  }

  tell(file: string, args: readonly string[]): Promise<string | undefined> {
    return Promise.resolve(this.#record.answers.get([file, ...args].join(' ')))
  }

  ask(socket: string, path: string): Promise<SocketAnswer | undefined> {
    const body = this.#record.answers.get(`${socket} ${path}`)
    return Promise.resolve(body === undefined || body === '' ? undefined : { status: 200, body })
  }

  wasAsked(socket: string, path: string): boolean {
    return this.#record.answers.has(`${socket} ${path}`)
  }

  async pause(ms: number, signal: AbortSignal): Promise<boolean> {
    const until = this.elapsed() + ms
    do {
      signal.throwIfAborted()
      this.#step ??= this.#goOn()
      if (!(await this.#step)) return false
    } while (this.elapsed() < until)
    return true
  }

  /** One step for all who wait: none of them misses what another has passed. */
  async #goOn(): Promise<boolean> {
    await setImmediate()
    this.#step = undefined
    const isMore = this.#at + 1 < this.#record.frames.length
    if (isMore) this.#at++
    return isMore
  }

  /** What was told once about a process holds as long as it is there. */
  #isGone(path: string): boolean {
    const [, pid] = /^\/proc\/(\d+)\//.exec(path) ?? []
    const stat = `/proc/${pid}/stat`
    const isTold = this.#frame.texts.has(stat) || this.silent.has(stat)
    return pid !== undefined && this.#record.frames.length > 0 && !isTold
  }
}

/** From uname(1) to what Node calls it. */
const archNames: Readonly<Record<string, string>> = { x86_64: 'x64', aarch64: 'arm64' }
/** Files that change from look to look. */
const changing = /^\/proc\/(\d+\/(stat|io|task\/.*|fdinfo\/.*)|locks|diskstats)$/

class FactsRecord {
  readonly fixed = makeFrame(0)
  readonly frames: Frame[] = []
  readonly values = new Map<string, string>()
  readonly missing: string[] = []
  readonly denied = new Set<string>()
  readonly silent = new Set<string>()
  readonly filesystems = new Map<string, FilesystemFacts>()
  readonly types = new Map<string, boolean>()
  readonly answers = new Map<string, string>()
  isWhole = false
  /** Of which no look tells anything. */
  get silentProcesses(): string[] {
    return [...this.silent].flatMap(path => /^\/proc\/(\d+)\/stat$/.exec(path)?.[1] ?? [])
  }
  #frame = this.fixed
  /** The directory of which `ls` lists the names. */
  #directory = ''
  /** Where the lines that follow belong to. */
  #add: ((line: string) => void) | undefined
  /** Takes back what those lines have told. */
  #forget: (() => void) | undefined

  read(text: string): void {
    for (const line of linesOf(text)) {
      // In a bundle other files follow.
      if (this.isWhole) break
      this.#readLine(line[0] ?? '', line.slice(1))
    }
    if (!this.isWhole) this.#leaveOutRest()
    if (this.frames.length > 0) return
    throw new WindlassError(
      'CORRUPT',
      'Cannot read the facts of a host: they end before the first look at its processes is over; run the collector again',
    )
  }

  /** What was being told when it ended: of who is missing in half a look one would say that he is gone, and of who was about to be asked that he is silent. */
  #leaveOutRest(): void {
    this.#forget?.()
    this.frames.pop()
  }

  #readLine(kind: string, rest: string): void {
    if (kind === 'b') return this.#add?.(rest)
    this.#add = undefined
    this.#forget = undefined
    this.#readers[kind]?.(rest)
  }

  readonly #readers: Readonly<Record<string, (rest: string) => void>> = {
    '=': rest => {
      const [, name = '', value = ''] = /^(\w+) (.*)$/.exec(rest) ?? []
      if (name === 'missing') this.missing.push(value)
      else this.values.set(name, value)
    },
    '!': rest => this.denied.add(rest),
    '?': rest => this.silent.add(rest),
    f: rest => {
      const timeMs = Number(rest) * 1000
      this.#frame = makeFrame(Number.isFinite(timeMs) ? timeMs : this.#frame.timeMs)
      this.frames.push(this.#frame)
    },
    t: rest => {
      const [, path = '', line = ''] = /^([^:]+):(.*)$/.exec(rest) ?? []
      addLine((changing.test(path) ? this.#frame : this.fixed).texts, path, `${line}\n`)
    },
    x: path => this.#collect(this.fixed.texts, path, '\n'),
    c: path => this.#collect(this.fixed.texts, path, '\0'),
    a: path => this.#collect(this.answers, path, '\n'),
    r: command => this.#collect(this.answers, command, '\n'),
    l: rest => this.#readLink(rest),
    p: rest => {
      const [, bytes, size, path = ''] = /^(\d+) (\d+) (.+)$/.exec(rest) ?? []
      this.#frame.fills.set(path, { bytes: Number(bytes), size: Number(size) })
    },
    s: rest => {
      const [, size, seconds, mode, changed, path = ''] = /^(\d+) (\d+) ([0-9a-f]+) (?:(\d+) )?(.+)$/.exec(rest) ?? []
      const facts = { size: Number(size), mtimeMs: Number(seconds) * 1000, mode: Number.parseInt(mode ?? '', 16) }
      this.#frame.files.set(path, changed === undefined ? facts : { ...facts, ctimeMs: Number(changed) * 1000 })
    },
    d: rest => this.#readFilesystem(rest),
    y: rest => this.types.set(rest.slice(2), rest.startsWith('1 ')),
    [lastLine]: () => {
      this.isWhole = true
    },
  }

  #collect(into: Map<string, string>, key: string, end: string): void {
    into.set(key, '')
    this.#add = line => addLine(into, key, line + end)
    this.#forget = () => into.delete(key)
  }

  /** A line of `ls -l`: `/proc/1/fd:` before its names, or a name and where it leads. */
  #readLink(line: string): void {
    const [, directory] = /^(\/.*):$/.exec(line) ?? []
    if (directory !== undefined) this.#directory = directory
    const [, name, target = ''] = /^l\S+ +\d.*? (\S+) -> (.*)$/.exec(line) ?? []
    if (name === undefined) return
    const path = name.startsWith('/') ? name : `${this.#directory}/${name}`
    this.#frame.links.set(path, this.values.get('ls') === escaping ? readEscaped(target) : target)
  }

  #readFilesystem(rest: string): void {
    const [, size, total, free, inodes, inodesFree, magic, path = ''] =
      /^(\d+) (\d+) (\d+) (\d+) (\d+) (?:([0-9a-f]+) )?(.+)$/.exec(rest) ?? []
    const [block, ...counts] = [size, total, free, inodes, inodesFree].map(Number)
    const [blocksTotal = 0, blocksFree = 0, inodesTotal = 0, inodesLeft = 0] = counts
    const bytes = { bytesTotal: blocksTotal * (block ?? 0), bytesFree: blocksFree * (block ?? 0) }
    const kind = magic === undefined ? {} : { magic: Number.parseInt(magic, 16) }
    this.filesystems.set(path, { ...bytes, inodesTotal, inodesFree: inodesLeft, ...kind })
  }
}

/** Between what a login printed and what follows in a bundle. What passed through another system may have other ends of lines. */
function linesOf(text: string): string[] {
  const first = text.replace(/^\uFEFF/, '').split('\n', bannerMax)
  const start = first.findIndex(line => line === head || line === `${head}\r`)
  if (start < 0) throw refuseText(first.some(line => line === oldHead || line === `${oldHead}\r`))
  const all = text.split('\n').slice(start + 1)
  const lines = first[start] === head ? all : all.map(line => line.replace(/\r$/, ''))
  // Whatever else has no end was cut.
  return lines.at(-1) === lastLine ? lines : lines.slice(0, -1)
}

function refuseText(isOld: boolean): WindlassError {
  const wanted = 'what the script of windlass doctor --emit-collector has written'
  const state = isOld
    ? 'an earlier script has written them, into which the name of any file could add lines; run the one of this version'
    : `no line is ${JSON.stringify(head)}; wanted ${wanted}`
  return new WindlassError('CORRUPT', `Cannot read the facts of a host: ${state}`)
}

/** The ls that writes what is not printable as C does. */
const escaping = '-lnb'
const letters: Readonly<Record<string, string>> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' }

function readEscaped(text: string): string {
  if (!text.includes('\\')) return text
  const byte = (_: string, code: string) =>
    code.length === 3 ? String.fromCharCode(Number.parseInt(code, 8)) : (letters[code] ?? code)
  const bytes = Buffer.from(text)
    .toString('latin1')
    .replace(/\\([0-7]{3}|.)/g, byte)
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

function makeFrame(timeMs: number): Frame {
  return { timeMs, texts: new Map(), links: new Map(), fills: new Map(), files: new Map(), names: undefined }
}

function addLine(map: Map<string, string>, key: string, line: string): void {
  map.set(key, (map.get(key) ?? '') + line)
}

/** A directory has the names of which something is told. */
function namesIn(frame: Frame, directory: string): ReadonlySet<string> | undefined {
  frame.names ??= listNames([...frame.texts.keys(), ...frame.links.keys(), ...frame.files.keys()])
  return frame.names.get(directory)
}

function listNames(paths: readonly string[]): Map<string, Set<string>> {
  const names = new Map<string, Set<string>>()
  for (const path of paths) {
    for (let end = path.length; end > 0; ) {
      const slash = path.lastIndexOf('/', end - 1)
      const directory = path.slice(0, slash)
      const known = names.get(directory) ?? new Set()
      names.set(directory, known)
      if (known.has(path.slice(slash + 1, end))) break
      known.add(path.slice(slash + 1, end))
      end = slash
    }
  }
  return names
}
