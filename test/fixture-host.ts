/** A host out of a table: for what no test may make on the machine that it runs on. */
import { LiveHost } from '../src/sys/host-view.ts'
import type { Stranger } from '../src/sys/own-path.ts'

interface FixtureOptions {
  /** Files of /proc, /sys and disks, by path. */
  readonly files?: Readonly<Record<string, string>>
  readonly links?: Readonly<Record<string, string>>
  /** What programs say, by their command line. Where nothing is said of it, nobody is connected to a Unix socket; undefined: there is no such program. */
  readonly tells?: Readonly<Record<string, string | undefined>>
  /** What sockets answer, by `SOCKET PATH`. */
  readonly answers?: Readonly<Record<string, string>>
  /** Who may change what stands at a path; nobody else than root and we, if it is not told. */
  readonly strangers?: Readonly<Record<string, Stranger>>
  readonly nowMs?: number
}

/** What /proc tells of a process of root that is beside us. */
export function besideUs(pid: number) {
  const spaces = (of: number | 'self') => ['pid', 'mnt', 'user'].map(name => [`/proc/${of}/ns/${name}`, `${name}:[1]`])
  const links: Readonly<Record<string, string>> = Object.fromEntries([
    ...spaces('self'),
    ...spaces(pid),
    [`/proc/${pid}/root`, '/'],
  ])
  return { links, files: { [`/proc/${pid}/status`]: 'Uid:\t0\t0\t0\t0\n' } }
}

/** Answers from the table alone; time passes in it only while it is waited for. A file may change from one `pause` to the next: `later` is then what stands there. */
export class FixtureHost extends LiveHost {
  override readonly arch = 'x64'
  readonly later: Record<string, string> = {}
  #files: Record<string, string>
  #elapsedMs = 0
  readonly #options: FixtureOptions

  constructor(options: FixtureOptions) {
    super()
    this.#options = options
    this.#files = { ...options.files }
    Object.assign(this.disk, {
      text: async (path: string) => this.text(path),
      names: async (path: string) => this.names(path),
      file: async (path: string) => this.#stat(path),
      filesystem: async () => undefined,
      isOne: undefined,
      strangerAt: async (path: string) => this.#options.strangers?.[path] ?? 'nobody',
    })
  }

  override now(): number {
    return this.#options.nowMs ?? Date.UTC(2026, 6, 1)
  }

  override elapsed(): number {
    return this.#elapsedMs
  }

  override text(path: string): string | undefined {
    return this.#files[path] ?? this.#listSockets(path)
  }

  /** Where nothing else is said, a process holds sockets of its own network alone. */
  #listSockets(path: string): string | undefined {
    const [, pid] = /^\/proc\/(\d+)\/net\/unix$/.exec(path) ?? []
    const links = Object.entries(this.#options.links ?? {})
    return pid && links.flatMap(([name, to]) => (name.startsWith(`/proc/${pid}/fd/`) ? [to] : [])).join('\n')
  }

  override texts(paths: readonly string[]): (string | undefined)[] {
    return paths.map(path => this.text(path))
  }

  override link(path: string): string | undefined {
    return this.#options.links?.[path]
  }

  override links(paths: readonly string[]): (string | undefined)[] {
    return paths.map(path => this.link(path))
  }

  override names(path: string): readonly string[] {
    const paths = [...Object.keys(this.#files), ...Object.keys(this.#options.links ?? {})]
    const below = paths
      .filter(name => name.startsWith(`${path}/`))
      .map(name => name.slice(path.length + 1).split('/')[0] ?? '')
    return [...new Set(below)]
  }

  override async tell(file: string, args: readonly string[]): Promise<string | undefined> {
    const told: FixtureOptions['tells'] = { 'ss -xpnH': '', ...this.#options.tells }
    return told[[file, ...args].join(' ')]
  }

  override async ask(socket: string, path: string) {
    const body = this.#options.answers?.[`${socket} ${path}`]
    return body === undefined ? undefined : { status: 200, body }
  }

  override wasAsked(): boolean {
    return true
  }

  override async pause(ms: number): Promise<boolean> {
    this.#elapsedMs += ms
    this.#files = { ...this.#files, ...this.later }
    return true
  }

  #stat(path: string) {
    const text = this.#files[path]
    return text === undefined ? undefined : { size: text.length, mtimeMs: 0, ctimeMs: 0, mode: 0o100755, inode: 1 }
  }
}
