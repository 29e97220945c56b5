/** What the tests of the doctor share: an engine whose decompressor is chosen by the test, clients that hang, and the doctor's visit. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Finding } from '../../src/doctor/finding.ts'
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
  readonly ms: number
}

/** What the command says of one engine. @param wrapper a command line that the doctor's is added to */
export async function visit(pid: number, wrapper: readonly string[] = []): Promise<Visit> {
  const start = performance.now()
  const [file = '', ...args] = [...wrapper, program, 'doctor', '--json', '--pid', String(pid)]
  const { status, stdout, stderr } = await runCommand(file, args)
  assert.notEqual(stdout, '', stderr)
  return { status, ms: performance.now() - start, findings: (JSON.parse(stdout) as Visit).findings }
}

/** The codes of what was found about pulls, each once. */
export function pullCodes({ findings }: Visit): string[] {
  return [...new Set(findings.filter(({ area }) => area === 'pulls').map(({ code }) => code))]
}

/** One engine, and the decompressor that it finds first. */
export class SickEngine {
  readonly pid: number
  readonly shims: string
  readonly #command: readonly string[]
  readonly #remove: readonly string[]
  readonly #clients: ChildProcess[] = []
  readonly #references = new Set<string>()

  /** @param command that pulls, `remove` that removes an image; the reference is added to it */
  constructor(pid: number, shims: string, command: readonly string[], remove: readonly string[]) {
    this.pid = pid
    this.shims = shims
    this.#command = command
    this.#remove = remove
    this.useHealthy()
  }

  startPull(reference: string): ChildProcess {
    const [file = '', ...args] = this.#command
    const client = spawn(file, [...args, reference], { stdio: 'ignore' })
    this.#clients.push(client)
    this.#references.add(reference)
    return client
  }

  /** Everything that it has started for pulls: the decompressor and, where there is one, the untar. */
  children(): { readonly pid: number; readonly name: string }[] {
    return readdirSync(`/proc/${this.pid}/task`)
      .flatMap(tid => readFileSync(`/proc/${this.pid}/task/${tid}/children`, 'utf8').trim().split(' '))
      .filter(child => child !== '')
      .map(child => ({ pid: Number(child), name: nameOf(Number(child)) }))
      .filter(({ name }) => name !== '' && name !== 'containerd')
  }

  /** Waits until it unpacks. @returns the process that decompresses, and the one that unpacks */
  async unpacking(withUntar: boolean): Promise<{ readonly decompressor: number; readonly untar: number }> {
    const count = withUntar ? 2 : 1
    await waitUntil('the engine unpacks', 20_000, () => this.children().length >= count)
    const children = this.children()
    const untar = children.find(({ name }) => name === 'exe')?.pid ?? 0
    return { decompressor: children.find(({ pid }) => pid !== untar)?.pid ?? 0, untar }
  }

  useHealthy(): void {
    const path = join(this.shims, 'unpigz')
    rmSync(path, { force: true })
    writeFileSync(path, '#!/bin/sh\nexec /usr/bin/unpigz "$@"\n', { mode: 0o755 })
  }

  /** Whoever hangs is freed by ending the decompressor; what was pulled all the same is removed. */
  async free(): Promise<void> {
    this.useHealthy()
    for (const client of this.#clients.splice(0)) {
      if (client.exitCode !== null || client.signalCode !== null) continue
      client.kill('SIGKILL')
      await once(client, 'exit')
    }
    for (let rounds = 0; rounds < 100 && this.children().length > 0; rounds++) {
      for (const { pid } of this.children()) endProcess(pid)
      await sleep(100)
    }
    const [file = '', ...args] = this.#remove
    for (const reference of this.#references) await runCommand(file, [...args, reference])
    this.#references.clear()
  }
}

/** Holds processes while `work` runs, so that nothing goes on meanwhile. */
export async function whileStopped<T>(pids: readonly number[], work: () => Promise<T>): Promise<T> {
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  try {
    return await work()
  } finally {
    for (const pid of pids) process.kill(pid, 'SIGCONT')
  }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {} // it has ended
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return ''
  }
}
