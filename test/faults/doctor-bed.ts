/** What the tests of the doctor share: an engine whose decompressor is chosen by the test, clients that hang, and the doctor's visit. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Finding, makeFinding } from '../../src/doctor/finding.ts'
import { threadIds } from '../../src/sys/tasks.ts'
import { readIfThere } from '../read-if-there.ts'
import { runCommand, waitUntil } from '../testbed/command.ts'
import { makeFile, makeLayer, makeManyFiles, makeNoise } from './image.ts'

const MiB = 1 << 20
export const program = join(import.meta.dirname, '../../bin/windlass')

/** One layer that is large for pipes and small for disks, one that is neither, one that is work for the filesystem. */
export const layers = [
  makeLayer([makeFile('text', Buffer.alloc(3 * MiB, 'some text '))]),
  makeNoise('noise', 24 * MiB),
  makeManyFiles('file', 3000),
]

export interface Visit {
  readonly status: number | null
  readonly findings: readonly (Finding & { readonly area: string })[]
  /** Of the doctor's own clock, and how much of it the kernel gave it no processor. */
  readonly took: { readonly ms: number; readonly heldUpMs: number }
}

const triesMax = 3

/**
 * What the command says of one engine; again, if it found nothing wrong and says itself that it had no processor for most of the time: who was not watched is not accused.
 * @param wrapper a command line that the doctor's is added to
 */
export async function visit(pid: number, wrapper: readonly string[] = []): Promise<Visit> {
  for (let tries = 1; ; tries++) {
    const seen = await visitOnce(pid, wrapper)
    const isWatched = seen.took.heldUpMs < seen.took.ms / 2
    const isAccusing = seen.findings.some(({ area, severity }) => area === 'pulls' && severity === 'problem')
    if (isWatched || isAccusing || tries === triesMax) return seen
  }
}

async function visitOnce(pid: number, wrapper: readonly string[]): Promise<Visit> {
  const [file = '', ...args] = [...wrapper, program, 'doctor', '--json', '--pid', String(pid)]
  const { status, stdout, stderr } = await runCommand(file, args)
  // A command that is an engine may have ended since.
  const isGone = status === 2 && /no such process/.test(stderr)
  if (isGone)
    return { status: 0, findings: [{ ...makeFinding('NO_PULL', ''), area: 'pulls' }], took: { ms: 1, heldUpMs: 0 } }
  assert.notEqual(stdout, '', stderr)
  const { findings, took } = JSON.parse(stdout) as Visit
  return { status, findings, took }
}

/** The codes of what was found about pulls, each once. */
export function pullCodes({ findings }: Visit): string[] {
  return [...new Set(findings.filter(({ area }) => area === 'pulls').map(({ code }) => code))]
}

export interface SickOptions {
  /** What the engine runs first for gzip, if not unpigz. */
  readonly decompressor?: string
  /** It runs nothing for gzip: its untar is all that it starts. */
  readonly isOwnDecompressor?: boolean
  /** Of the commands. */
  readonly env?: Readonly<Record<string, string>>
}

/** One engine, and the decompressor that it finds first. */
export class SickEngine {
  readonly shims: string
  readonly decompressor: string
  readonly #isOwnDecompressor: boolean
  readonly #pid: number | undefined
  readonly #command: readonly string[]
  readonly #remove: readonly string[]
  readonly #env: Readonly<Record<string, string>>
  readonly #clients: ChildProcess[] = []
  readonly #references = new Set<string>()

  /**
   * @param pid undefined where the command that pulls is the engine, as with podman
   * @param shims a directory that the engine's PATH begins with
   * @param command that pulls, `remove` that removes an image; the reference is added to it
   */
  constructor(
    pid: number | undefined,
    shims: string,
    command: readonly string[],
    remove: readonly string[],
    { decompressor = 'unpigz', isOwnDecompressor = false, env = {} }: SickOptions = {},
  ) {
    this.#pid = pid
    this.shims = shims
    this.#command = command
    this.#remove = remove
    this.decompressor = decompressor
    this.#isOwnDecompressor = isOwnDecompressor
    this.#env = env
    this.useHealthy()
  }

  /** Of the engine; where each pull is an engine, of the latest. */
  get pid(): number {
    const client = this.#clients.at(-1)
    const own = client?.spawnfile === program ? findBelow(client.pid ?? 0, 'podman') : client?.pid
    return this.#pid ?? own ?? 0
  }

  startPull(reference: string): ChildProcess {
    return this.#start([...this.#command, reference], reference, 'ignore')
  }

  /** The same under `windlass trace`, whose stderr is a pipe. Where each pull is an engine it is a child of this process. */
  startTraced(reference: string): ChildProcess {
    return this.#start([program, 'trace', '--', ...this.#command, reference], reference, 'pipe')
  }

  #start([file = '', ...args]: readonly string[], reference: string, stderr: 'ignore' | 'pipe'): ChildProcess {
    const env = { ...process.env, ...this.#env }
    const client = spawn(file, args, { stdio: ['ignore', 'ignore', stderr], env })
    this.#clients.push(client)
    this.#references.add(reference)
    return client
  }

  /** Everything that it has started for pulls: the decompressor and, where there is one, the untar. */
  children(): { readonly pid: number; readonly name: string }[] {
    // What enters another root for it is not yet the engine.
    const isEngine = !/^(unshare|sh|chroot)$/.test(readIfThere(`/proc/${this.pid}/comm`).trim())
    return isEngine ? childrenOf(this.pid) : []
  }

  /** Waits until it unpacks. @returns the process that decompresses, and the one that unpacks: one process where the engine decompresses by itself */
  async unpacking(
    withUntar: boolean,
    timeoutMs = 20_000,
  ): Promise<{ readonly decompressor: number; readonly untar: number }> {
    const seen = { decompressor: undefined as number | undefined, untar: undefined as number | undefined }
    await waitUntil('the engine unpacks', timeoutMs, () => {
      const children = this.children()
      const untars = children.filter(({ name }) => name === 'exe')
      // dockerd runs itself as `exe` for other, short jobs, too: two of them, and it is not known yet which is the untar.
      seen.untar = untars.length === 1 || this.#isOwnDecompressor ? untars[0]?.pid : undefined
      seen.decompressor = this.#isOwnDecompressor ? seen.untar : children.find(({ name }) => name !== 'exe')?.pid
      return seen.decompressor !== undefined && (!withUntar || seen.untar !== undefined)
    })
    const { decompressor, untar } = seen
    // 0 would be this process and all that it has started.
    if (decompressor === undefined) throw new Error('the engine does not unpack')
    return { decompressor, untar: untar ?? decompressor }
  }

  /**
   * Pulls, and stops what decompresses or unpacks then. Of one that was just about to end, or has not been seen, the pull goes on: then all is begun anew.
   * @param start what pulls that reference
   */
  async stopInPull(
    which: 'decompressor' | 'untar',
    withUntar: boolean,
    reference: string,
    start = () => this.startPull(reference),
  ): Promise<{ readonly client: ChildProcess; readonly decompressor: number; readonly untar: number }> {
    for (let tries = 1; ; tries++) {
      const client = start()
      const seen = await Promise.race([this.unpacking(withUntar), once(client, 'exit').then(() => undefined)])
      if (seen !== undefined) signal(seen[which], 'SIGSTOP')
      if (seen !== undefined && (await isStopped(seen[which]))) return { client, ...seen }
      assert.ok(tries < 5, `the ${which} ended before it was stopped, ${tries} times`)
      await this.free()
    }
  }

  useHealthy(): void {
    this.useScript(`exec /usr/bin/${this.decompressor} "$@"`)
  }

  useScript(text: string): void {
    const path = join(this.shims, this.decompressor)
    rmSync(path, { force: true })
    writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 })
  }

  /** Whoever hangs is freed by ending the decompressor; what was pulled all the same is removed. */
  async free(): Promise<void> {
    this.useHealthy()
    const isDaemon = this.#pid !== undefined
    const own = isDaemon
      ? []
      : [
          ...this.#clients.flatMap(client => (client.pid === undefined ? [] : childrenOf(client.pid))),
          ...this.children(),
        ]
    for (const client of this.#clients) {
      if (client.exitCode !== null || client.signalCode !== null) continue
      client.kill('SIGKILL')
      await once(client, 'exit')
    }
    this.#clients.length = 0
    for (const { pid } of own) signal(pid, 'SIGKILL')
    for (let rounds = 0; rounds < 100 && isDaemon && this.children().length > 0; rounds++) {
      for (const { pid } of this.children()) signal(pid, 'SIGKILL')
      await sleep(100)
    }
    const [file = '', ...args] = this.#remove
    const env = this.#env
    // Also those of earlier pulls: who was let go may have come to the end since.
    for (const reference of this.#references) await runCommand(file, [...args, reference], { env })
  }
}

export function childrenOf(pid: number): { readonly pid: number; readonly name: string }[] {
  const lists = threadIds(pid).map(tid => readIfThere(`/proc/${pid}/task/${tid}/children`))
  const pids = lists.flatMap(list => list.trim().split(' ')).filter(child => child !== '')
  const children = pids.map(child => ({ pid: Number(child), name: readIfThere(`/proc/${child}/comm`).trim() }))
  return children.filter(({ name }) => name !== '' && name !== 'containerd')
}

/** The first process of that name that a process has started, or what it started. */
function findBelow(pid: number, wanted: string): number | undefined {
  for (const child of childrenOf(pid)) {
    const found = child.name === wanted ? child.pid : findBelow(child.pid, wanted)
    if (found !== undefined) return found
  }
  return undefined
}

/** Whether it heeds the signal: who ends does not. */
async function isStopped(pid: number): Promise<boolean> {
  const state = () => /^\d+ \(.*\) (\S)/s.exec(readIfThere(`/proc/${pid}/stat`))?.[1]
  await waitUntil('it is stopped, or gone', 20_000, () => /[TZX]/.test(state() ?? 'Z'))
  return state() === 'T'
}

/** Holds processes while `work` runs, so that nothing goes on meanwhile; those that have just ended are none of them. */
export async function whileStopped<T>(pids: readonly number[], work: () => Promise<T>): Promise<T> {
  for (const pid of pids) signal(pid, 'SIGSTOP')
  try {
    return await work()
  } finally {
    for (const pid of pids) signal(pid, 'SIGCONT')
  }
}

export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {} // it has ended
}

let units = 0

/** What looks like a dockerd of this host, with its decompressor, started by a unit. */
export async function startInUnit(args: readonly string[], more: Readonly<Record<string, string>> = {}) {
  const old = '/sys/fs/cgroup/systemd'
  const name = `windlass-test-${process.pid}-${++units}.service`
  const group = join(existsSync(old) ? old : '/sys/fs/cgroup', name)
  const unit = `/run/systemd/system/${name}`
  mkdirSync(group)
  mkdirSync('/run/systemd/system', { recursive: true })
  const script = 'echo $$ >"$1/cgroup.procs"; printf dockerd >/proc/$$/comm; read -r line'
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...more }
  const child = spawn('bash', ['-c', script, 'dockerd', group, ...args], { env, stdio: ['pipe', 'ignore', 'ignore'] })
  const pid = child.pid ?? 0
  await waitUntil('it is called dockerd', 5000, () => readFileSync(`/proc/${pid}/comm`, 'utf8') === 'dockerd\n')
  return {
    pid,
    unit,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await once(child, 'exit')
      rmSync(unit, { force: true })
      // The kernel takes a while to forget who was in it.
      await waitUntil('its group is empty', 5000, () => readFileSync(join(group, 'cgroup.procs'), 'utf8') === '')
      rmdirSync(group)
    },
  }
}
