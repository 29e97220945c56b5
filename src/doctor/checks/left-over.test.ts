import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeEngine, runCheck } from '../../../test/checked.ts'
import { FixtureHost } from '../../../test/fixture-host.ts'
import { waitUntil } from '../../../test/testbed/command.ts'
import { LiveHost } from '../../sys/host-view.ts'
import { readProcessTable } from '../../sys/process-files.ts'
import { readProcess } from '../../sys/tasks.ts'
import type { Engine } from '../engines.ts'
import { leftOver } from './left-over.ts'

interface Worker extends Disposable {
  readonly shell: ChildProcess
  readonly worker: number
}

/** It can write to its own pipe: for as long as it lives nobody else has to. */
const ownPipe = '<>/proc/self/fd/3'

/** A real process that was called `unpigz -d -c` and reads a pipe that a sleeping process holds; the shell above it then does what is said. */
async function startWorker(
  program: string,
  then: string,
  { output = '/dev/null', input = '<&3' } = {},
): Promise<Worker> {
  const feeder = input === ownPipe ? ':' : 'exec sleep 60'
  const script = `exec 3< <(${feeder}); (exec -a unpigz /usr/bin/unpigz -d -c ${input} 3<&- >${output}) & echo $!; exec 3<&-; ${then}`
  const shell = spawn(program, ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'], detached: true })
  const [line] = await once(shell.stdout, 'data')
  const worker = Number(String(line))
  await waitUntil('it is called unpigz', 60_000, () => /^unpigz/.test(readFileSync(`/proc/${worker}/cmdline`, 'utf8')))
  if (then.endsWith('exit 0')) await waitUntil('the shell is gone', 60_000, () => shell.exitCode !== null)
  else await sleep(500)
  return {
    shell,
    worker,
    [Symbol.dispose]: () => void process.kill(-(shell.pid ?? 0), 'SIGKILL'),
  }
}

/** Of a process group, but for what has ended. */
const processesIn = (group: number) =>
  [...readProcessTable(new LiveHost()).values()].filter(entry => entry.group === group && entry.state !== 'Z')

const find = async (pid: number, engine: number) => {
  const findings = await runCheck(leftOver, new LiveHost(), { engines: [makeEngine(engine)] })
  return findings.find(({ facts }) => facts['pid'] === pid)
}

test('a decompressor whose engine is gone was inherited by somebody else, and is told', async () => {
  using started = await startWorker('bash', 'sleep 0.1; exit 0')
  const finding = await find(started.worker, process.pid)
  assert.equal(finding?.code, 'DECOMPRESSOR_LEFT_OVER')
  assert.match(finding?.evidence[0] ?? '', /^unpigz -d -c belongs to no engine that runs/)
  // Somebody still holds its pipe: it may be at work for a script that has ended.
  assert.deepEqual([finding?.severity, finding?.confidence], ['note', 'likely'])
  assert.match(finding?.evidence[1] ?? '', /^sleep \d+ holds the other end of one of its pipes/)
  // It is stopped, and so the one that a signal does not end.
  process.kill(started.worker, 'SIGSTOP')
  await waitUntil('it is stopped', 60_000, () => readProcess(started.worker)?.state === 'T')
  process.kill(-(started.shell.pid ?? 0), 'SIGTERM')
  await waitUntil('nobody holds its pipe', 60_000, () => processesIn(started.shell.pid ?? 0).length === 1)
  const left = await find(started.worker, process.pid)
  const isInit = readProcess(started.worker)?.parent === 1
  assert.deepEqual([left?.severity, left?.confidence], isInit ? ['warning', 'certain'] : ['note', 'likely'])
})

test('one that a script of a user runs is told as a doubt, not as a fault', async () => {
  using started = await startWorker('bash', 'exec sleep 60')
  const finding = await find(started.worker, process.pid)
  assert.deepEqual([finding?.severity, finding?.confidence], ['note', 'likely'])
})

test('a child of the engine, which holds no end of its pipes: forgotten, unless it has closed its output itself, or another child holds one; one whose pipe it holds is at work', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-left-'))
  cpSync('/bin/bash', join(directory, 'dockerd'))
  const alone = { input: ownPipe }
  try {
    using forgotten = await startWorker(join(directory, 'dockerd'), 'read -t 60 <> <(:)', alone)
    const { shell, worker } = forgotten
    const finding = await find(worker, shell.pid ?? 0)
    assert.equal(
      finding?.evidence[0],
      `unpigz -d -c is a child of dockerd ${shell.pid}, which holds no end of its pipes any more`,
    )
    // Its engine waits for it: to end it would turn a pull that hangs into an error.
    using closed = await startWorker(join(directory, 'dockerd'), 'read -t 60 <> <(:)', { ...alone, output: '&-' })
    assert.equal(await find(closed.worker, closed.shell.pid ?? 0), undefined)
    // By then the worker has its pipe.
    using atWork = await startWorker(
      join(directory, 'dockerd'),
      `sleep 0.2; exec 4<"/proc/$!/fd/0"; read -t 60 <> <(:)`,
      alone,
    )
    assert.equal(await find(atWork.worker, atWork.shell.pid ?? 0), undefined)
    using fed = await startWorker(join(directory, 'dockerd'), 'read -t 60 <> <(:)')
    assert.equal(await find(fed.worker, fed.shell.pid ?? 0), undefined)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

interface Made {
  readonly pid: number
  readonly parent: number
  readonly name: string
  readonly args: string
  /** What it has open, from 0 on. */
  readonly open: readonly string[]
}

const made = (pid: number, parent: number, name: string, args: string, ...open: readonly string[]): Made => {
  return { pid, parent, name, args, open }
}
const daemon = ['/dev/null', '/var/log/d']
const unpigz = (pid: number, parent: number) => made(pid, parent, 'unpigz', 'unpigz -d -c', 'pipe:[1]', 'pipe:[2]')

/** What is said of a table of processes, all of whose engines are known but for `unknown`. */
async function look(processes: readonly Made[], { unknown = [] as readonly number[] } = {}) {
  const files = processes.flatMap(({ pid, parent, name, args }) => [
    [`/proc/${pid}/stat`, `${pid} (${name}) S ${parent} ${pid} ${pid} 0 ${'0 '.repeat(46)}`],
    [`/proc/${pid}/cmdline`, `${args.replaceAll(' ', '\0')}\0`],
  ])
  const links = processes.flatMap(({ pid, open }) => open.map((to, fd) => [`/proc/${pid}/fd/${fd}`, to]))
  const host = new FixtureHost({ files: Object.fromEntries(files), links: Object.fromEntries(links) })
  const engines = processes
    .filter(({ pid, name }) => /^(dockerd|containerd|podman|buildah)$/.test(name) && !unknown.includes(pid))
    .map(({ pid, name }) => makeEngine(pid, { kind: name as Engine['kind'] }))
  return await runCheck(leftOver, host, { engines })
}

test('what a containerd unpacks that a dockerd has started is its own, forgotten only if neither holds an end of it', async () => {
  const docker = made(10, 1, 'dockerd', 'dockerd -H fd://', ...daemon)
  const at = (...open: readonly string[]) => made(20, 10, 'containerd', 'containerd --config x', ...daemon, ...open)
  const told = (parent: string) => [`unpigz -d -c ${parent}, which holds no end of its pipes any more`]
  const first = async (...of: Parameters<typeof look>) => (await look(...of)).map(({ evidence: [text] }) => text)
  assert.deepEqual(await look([docker, at('pipe:[1]', 'pipe:[2]'), unpigz(30, 20)]), [])
  const [finding, ...others] = await look([docker, at(), unpigz(30, 20)])
  assert.deepEqual([finding?.evidence[0], others], [...told('is a child of containerd 20'), []])
  assert.deepEqual(finding?.facts, { pid: 30, parent: 20 })
  assert.deepEqual(await first([{ ...docker, open: [...daemon, 'pipe:[2]'] }, at(), unpigz(30, 20)]), [])
  // A shell between them, which is no part of the line.
  const shell = made(25, 20, 'sh', 'sh -c x', '/dev/null')
  assert.deepEqual(await first([docker, at(), shell, unpigz(30, 25)]), told('was started below containerd 20'))
  // Of another engine than the one that is looked at.
  assert.deepEqual(await look([docker, at(), unpigz(30, 20)], { unknown: [20] }), [])
  // Nothing is seen of who may hold it.
  assert.deepEqual(await look([{ ...docker, open: [] }, at(), unpigz(30, 20)]), [])
})

test('what a podman unpacks that runs itself again in a user namespace, or a buildah under another name, is at work', async () => {
  const apply = (parent: number) =>
    made(30, parent, 'exe', 'storage-applyLayer /var/x', 'pipe:[1]', 'pipe:[2]', 'pipe:[2]')
  const waiting = made(10, 1, 'podman', 'podman pull a', ...daemon)
  const working = (...open: readonly string[]) => made(20, 10, 'podman', 'podman pull a', ...daemon, ...open)
  assert.deepEqual(await look([waiting, working('pipe:[1]', 'pipe:[2]'), apply(20)]), [])
  assert.deepEqual(await look([waiting, working('pipe:[1]', 'pipe:[2]'), apply(20)], { unknown: [10] }), [])
  const [finding, ...others] = await look([waiting, working(), apply(20)], { unknown: [10] })
  assert.match(finding?.evidence[0] ?? '', /^storage-applyLayer \/var\/x is a child of podman 20, which holds no end/)
  assert.deepEqual(others, [])
  const buildah = made(10, 1, 'buildah', 'buildah pull a', ...daemon)
  const renamed = made(20, 10, 'exe', 'buildah-in-a-user-namespace pull a', ...daemon, 'pipe:[1]')
  assert.deepEqual(await look([buildah, renamed, apply(20)]), [])
  // It is a helper of the engine beside the worker that feeds it.
  const helper = made(21, 20, 'exe', 'storage-helper', '/dev/null', 'pipe:[1]')
  assert.deepEqual(await look([buildah, { ...renamed, open: daemon }, helper, apply(20)]), [])
  assert.equal((await look([buildah, { ...renamed, open: daemon }, apply(20)])).length, 1)
})
