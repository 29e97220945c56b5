import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { codesOf, makeEngine, runCheck } from '../../../test/checked.ts'
import { FixtureHost } from '../../../test/fixture-host.ts'
import { waitUntil } from '../../../test/testbed/command.ts'
import { LiveHost } from '../../sys/host-view.ts'
import { readProcessTable } from '../../sys/process-files.ts'
import { readProcess } from '../../sys/tasks.ts'
import { leftOver } from './left-over.ts'

interface Worker extends Disposable {
  readonly shell: ChildProcess
  readonly worker: number
}

/** A real process that was called `unpigz -d -c` and reads a pipe that a sleeping process holds; the shell above it then does what is said. */
async function startWorker(program: string, then: string, output = '/dev/null'): Promise<Worker> {
  const script = `exec 3< <(exec sleep 60); (exec -a unpigz /usr/bin/unpigz -d -c <&3 3<&- >${output}) & echo $!; exec 3<&-; ${then}`
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

test('a child of the engine, which holds no end of its pipes: forgotten, unless it has closed its output itself; one whose pipe it holds is at work', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-left-'))
  cpSync('/bin/bash', join(directory, 'dockerd'))
  try {
    using forgotten = await startWorker(join(directory, 'dockerd'), 'read -t 60 <> <(:)')
    const finding = await find(forgotten.worker, forgotten.shell.pid ?? 0)
    assert.match(finding?.evidence[0] ?? '', /holds no end of its pipes any more/)
    // Its engine waits for it: to end it would turn a pull that hangs into an error.
    using closed = await startWorker(join(directory, 'dockerd'), 'read -t 60 <> <(:)', '&-')
    assert.equal(await find(closed.worker, closed.shell.pid ?? 0), undefined)
    // By then the worker has its pipe.
    using atWork = await startWorker(
      join(directory, 'dockerd'),
      `sleep 0.2; exec 4<"/proc/$!/fd/0"; read -t 60 <> <(:)`,
    )
    assert.equal(await find(atWork.worker, atWork.shell.pid ?? 0), undefined)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('what an engine below another has started is at work for that one: of a podman that waits for itself, of the containerd of a dockerd', async () => {
  const stat = (pid: number, parent: number, name: string) => [
    `/proc/${pid}/stat`,
    `${pid} (${name}) S ${parent} ${pid} ${pid} ${'0 '.repeat(13)}1 0 100 ${'0 '.repeat(20)}`,
  ]
  for (const [above, below, name, args] of [
    ['podman', 'podman', 'exe', 'storage-untar\0/\0/home/a/diff\0'],
    ['dockerd', 'containerd', 'unpigz', 'unpigz\0-d\0-c\0'],
  ] as const) {
    const files = {
      ...Object.fromEntries([stat(7, 1, above), stat(8, 7, below), stat(9, 8, name)]),
      '/proc/uptime': '1000.00 0.00\n',
      '/proc/9/cmdline': args,
    }
    const ends = { '/proc/9/fd/0': 'pipe:[1]', '/proc/9/fd/1': 'pipe:[2]' }
    const find = async (engine: number, held: Readonly<Record<string, string>>) => {
      const host = new FixtureHost({ files, links: { ...ends, ...held } })
      return codesOf(await runCheck(leftOver, host, { engines: [makeEngine(engine, { kind: above })] }))
    }
    assert.deepEqual(await find(7, { '/proc/8/fd/5': 'pipe:[1]' }), [], above)
    assert.deepEqual(await find(8, { '/proc/8/fd/5': 'pipe:[1]' }), [], above)
    assert.deepEqual(await find(8, {}), ['DECOMPRESSOR_LEFT_OVER'], above)
  }
})
