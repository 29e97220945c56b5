/** A podman of an ordinary user, the first that he calls: it starts itself again in a user namespace, and that process pulls. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { findEngines } from '../../src/doctor/engines.ts'
import { LiveHost } from '../../src/sys/host-view.ts'
import { readArguments, readProcessTable } from '../../src/sys/process-files.ts'
import { readProcess } from '../../src/sys/tasks.ts'
import { readIfThere } from '../read-if-there.ts'
import { childrenOf, pullCodes, signal, visit } from './doctor-bed.ts'
import { makeManyFiles, type ServedImage, serveImage } from './image.ts'

const row = { timeout: 120_000 }
const nobody = 65_534
const directory = mkdtempSync(join(tmpdir(), 'windlass-rootless-'))
const home = join(directory, 'home')
const variables = [
  `HOME=${home}`,
  `XDG_RUNTIME_DIR=${home}`,
  `TMPDIR=${home}`,
  `PATH=${process.env['PATH']}:/usr/sbin:/sbin`,
]
const asNobody = [
  ...['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', '--reset-env'],
  ...['env', ...variables],
]
/** What podman leaves in /tmp itself, if it was not there before. */
const left = ['podman-run', 'containers-user'].map(name => `/tmp/${name}-${nobody}`).filter(path => !existsSync(path))
const host = new LiveHost()
const clients: ChildProcess[] = []
let image: ServedImage

before(async () => {
  image = await serveImage([makeManyFiles('file', 10_000)])
  mkdirSync(home)
  chmodSync(directory, 0o755)
  chownSync(home, nobody, nobody)
})
after(async () => {
  for (const client of clients) await end(client)
  await image?.[Symbol.asyncDispose]()
  for (const path of [directory, ...left]) rmSync(path, { recursive: true, force: true })
})

interface Stopped {
  readonly first: number
  readonly worker: number
  readonly untar: number
}

/** Pulls, and stops what unpacks. */
async function stopUntar(): Promise<Stopped> {
  for (let tries = 1; tries <= 5; tries++) {
    const [file = '', ...args] = [...asNobody, 'podman', 'pull', '-q', '--tls-verify=false', image.reference]
    // Its working directory must be one that he may enter.
    const client = spawn(file, args, { stdio: 'ignore', cwd: directory })
    clients.push(client)
    for (let rounds = 0; rounds < 4000 && client.exitCode === null; rounds++) {
      const found = findUntar(client.pid ?? 0)
      if (found !== undefined) signal(found.untar, 'SIGSTOP')
      if (found !== undefined && (await isStopped(found.untar))) return found
      await sleep(5)
    }
    await end(client)
  }
  throw new Error('it ended before it was stopped, five times')
}

function findUntar(first: number): Stopped | undefined {
  for (const { pid: worker } of childrenOf(first)) {
    const untar = childrenOf(worker).find(({ pid }) => /^storage-/.test(readArguments(host, pid)[0] ?? ''))
    if (untar !== undefined) return { first, worker, untar: untar.pid }
  }
  return undefined
}

async function isStopped(pid: number): Promise<boolean> {
  for (let state = readProcess(pid)?.state; state !== undefined && !/[ZX]/.test(state); state = readProcess(pid)?.state)
    if (state === 'T') return true
    else await sleep(5)
  return false
}

/** With all that it has started, and what keeps the namespace, which podman leaves behind. */
async function end(client: ChildProcess): Promise<void> {
  const workers = childrenOf(client.pid ?? 0)
  const all = [...workers.flatMap(({ pid }) => childrenOf(pid)), ...workers].map(({ pid }) => pid)
  const keeper = Number(readIfThere(join(home, 'libpod/tmp/pause.pid')))
  if (keeper > 0 && readIfThere(`/proc/${keeper}/environ`).includes(home)) all.push(keeper)
  for (const pid of all) signal(pid, 'SIGKILL')
  if (client.exitCode !== null || client.signalCode !== null) return
  const ended = once(client, 'exit')
  client.kill('SIGKILL')
  await ended
}

test(
  'an untar of it that is stopped is named, for root and for the user himself, and nobody is told to end it as left over',
  row,
  async () => {
    const { first, worker, untar } = await stopUntar()
    for (const pid of [first, worker]) {
      const engines = await findEngines(host, readProcessTable(host), pid)
      const told = engines.map(({ process, kind, version }) => [process.pid, kind, /^\d+\./.test(version ?? '')])
      assert.deepEqual(told, [[worker, 'podman', true]])
    }
    for (const seen of await Promise.all([visit(first), visit(worker, asNobody)])) {
      assert.deepEqual(pullCodes(seen), ['UNTAR_STOPPED'])
      const leftOver = seen.findings.filter(
        ({ code, facts }) => code === 'DECOMPRESSOR_LEFT_OVER' && facts['pid'] === untar,
      )
      assert.deepEqual(leftOver, [])
    }
  },
)
