/** The checks of disks and control groups under real conditions: loop filesystems, and groups of version 1 or 2 with limits. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Check, Item } from '../../src/doctor/checks/check.ts'
import { dType } from '../../src/doctor/checks/d-type.ts'
import { diskSpace } from '../../src/doctor/checks/disk-space.ts'
import { memory } from '../../src/doctor/checks/memory.ts'
import { overlayPlace } from '../../src/doctor/checks/overlay.ts'
import { processLimits } from '../../src/doctor/checks/process-limits.ts'
import { processor } from '../../src/doctor/checks/processor.ts'
import { runChecks } from '../../src/doctor/checks/run.ts'
import { syncTime } from '../../src/doctor/checks/sync-time.ts'
import { LiveHost } from '../../src/sys/host-view.ts'
import { codesOf, makeEngine, runCheck } from '../checked.ts'
import { run, runCommand, runScript, waitUntil } from '../testbed/command.ts'

const row = { timeout: 60_000 }
const base = mkdtempSync(join(tmpdir(), 'windlass-host-'))
const mounted: string[] = []
after(async () => {
  for (const directory of mounted.toReversed()) await runCommand('umount', ['-l', directory])
  rmSync(base, { recursive: true, force: true })
})

/** An ext4 of its own, made with these options. */
async function mountImage(name: string, megabytes: number, options: readonly string[]): Promise<string> {
  const [image, directory] = [join(base, `${name}.img`), join(base, name)]
  await runScript('truncate -s "$1"M "$2"; mkdir "$3"', [String(megabytes), image, directory])
  await run('mkfs.ext4', ['-q', '-F', '-m', '0', ...options, image])
  await run('mount', ['-o', 'loop', image, directory])
  mounted.push(directory)
  return directory
}

const diskChecks = [diskSpace, dType, overlayPlace, syncTime] as readonly Check[]

/** What the checks of disks find at a directory, that of an engine's images. */
async function lookAtDisk(path: string, mayTry = false) {
  const engine = makeEngine(process.pid, { dataRoot: path, dataPath: path })
  const item: Item = {
    kind: 'directory',
    key: path,
    engine: process.pid,
    value: { engine, role: 'images', name: path, path },
  }
  const signal = AbortSignal.timeout(60_000)
  const context = {
    host: new LiveHost(),
    engines: [engine],
    table: new Map(),
    signal,
    mayTry,
    verdictOf: async () => undefined,
  }
  const { findings, skipped } = await runChecks(diskChecks, [item], context)
  return { codes: codesOf(findings), findings, skipped: skipped.map(({ check }) => check) }
}

describe('the doctor looks at a data root', { concurrency: 1 }, () => {
  test('on a filesystem that is well, and how fast it syncs', row, async () => {
    const directory = await mountImage('well', 900, [])
    assert.deepEqual((await lookAtDisk(directory)).codes, ['DISK_FINE'])
    const tried = await lookAtDisk(directory, true)
    assert.deepEqual(tried.codes, ['DISK_FINE', 'SYNC_FAST'], JSON.stringify(tried.findings))
    assert.ok(Number(tried.findings[1]?.facts['ms']) > 0)
    assert.deepEqual(
      (await runScript('ls -A "$1"', [directory])).split('\n').filter(name => name !== ''),
      ['lost+found'],
    )
  })

  test('whose disk is full, and which is read-only', row, async () => {
    const directory = await mountImage('full', 40, [])
    await runCommand('dd', ['if=/dev/zero', `of=${directory}/x`, 'bs=1M'])
    const full = await lookAtDisk(directory)
    assert.deepEqual(full.codes, ['DISK_FULL'])
    assert.equal(full.findings[0]?.severity, 'problem')
    await run('mount', ['-o', 'remount,ro', directory])
    const readOnly = await lookAtDisk(directory, true)
    assert.ok(readOnly.codes.includes('DISK_READ_ONLY'))
    assert.deepEqual(readOnly.skipped, ['sync-time'])
  })

  test('whose inodes are used up although there is room', row, async () => {
    const directory = await mountImage('inodes', 900, ['-N', '64'])
    const script = 'i=0; while true > "$1/f$i"; do i=$((i+1)); done 2>/dev/null; true'
    await runScript(script, [directory])
    assert.deepEqual((await lookAtDisk(directory)).codes, ['INODES_EXHAUSTED'])
  })

  test('whose filesystem does not tell the types of entries', row, async () => {
    const directory = await mountImage('types', 900, ['-O', '^filetype'])
    const { codes, findings } = await lookAtDisk(directory)
    assert.deepEqual(codes, ['DISK_FINE', 'D_TYPE_MISSING'])
    assert.match(findings[1]?.evidence[0] ?? '', /ext4/)
  })

  test('on an overlay, where overlayfs does not work', row, async () => {
    for (const name of ['low', 'up', 'work', 'over']) mkdirSync(join(base, name))
    const options = `lowerdir=${base}/low,upperdir=${base}/up,workdir=${base}/work`
    await run('mount', ['-t', 'overlay', 'overlay', '-o', options, join(base, 'over')])
    mounted.push(join(base, 'over'))
    assert.ok((await lookAtDisk(join(base, 'over'))).codes.includes('OVERLAY_UNFIT'))
  })

  test('whose filesystem is frozen: the sync does not come to its end, and the doctor does', row, async () => {
    const directory = await mountImage('frozen', 900, [])
    await run('fsfreeze', ['-f', directory])
    try {
      const { codes } = await lookAtDisk(directory, true)
      assert.deepEqual(codes, ['DISK_FINE', 'SYNC_SLOW'])
    } finally {
      await run('fsfreeze', ['-u', directory])
    }
  })
})

/** A control group of its own for a process, in whichever version this kernel has for that controller. */
class Group implements AsyncDisposable {
  readonly path: string
  readonly isUnified: boolean
  readonly #children: ChildProcess[] = []

  constructor(controller: 'memory' | 'cpu' | 'pids') {
    const old = `/sys/fs/cgroup/${controller}`
    this.isUnified = !existsSync(old)
    const root = this.isUnified ? '/sys/fs/cgroup' : old
    this.path = join(root, `windlass-test-${process.pid}-${controller}`)
    if (this.isUnified) writeFileSync(join(root, 'cgroup.subtree_control'), `+${controller}`)
    mkdirSync(this.path)
  }

  set(name: string, value: string): void {
    writeFileSync(join(this.path, name), value)
  }

  read(name: string): string {
    return readFileSync(join(this.path, name), 'utf8')
  }

  /** Starts a program that is in the group before it does anything. */
  start(program: string, args: readonly string[]): ChildProcess {
    const script = 'echo $$ > "$0"; exec "$@"'
    const child = spawn('sh', ['-c', script, join(this.path, 'cgroup.procs'), program, ...args], { stdio: 'ignore' })
    this.#children.push(child)
    return child
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    }
    for (let tries = 0; tries < 50; tries++) {
      try {
        return rmdirSync(this.path)
      } catch {
        await sleep(100) // the kernel takes a while to forget who was in it
      }
    }
  }
}

describe('the doctor looks at the control group of an engine', { concurrency: 1 }, () => {
  const look = (check: Check, pid: number | undefined) =>
    runCheck(check, new LiveHost(), { engines: [makeEngine(pid ?? 0)] })

  test('in which the kernel has killed for want of memory', row, async () => {
    await using group = new Group('memory')
    group.set(group.isUnified ? 'memory.max' : 'memory.limit_in_bytes', String(24 << 20))
    const daemon = group.start('sleep', ['60'])
    const greedy = group.start(process.execPath, ['-e', 'const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1))'])
    const [, signal] = await once(greedy, 'exit')
    assert.equal(signal, 'SIGKILL')
    const findings = await look(memory, daemon.pid)
    const kills = findings.find(({ code }) => code === 'OOM_KILLS')
    assert.ok(Number(kills?.facts['kills']) >= 1, JSON.stringify(findings))
    assert.ok(kills?.evidence[0]?.includes(group.path))
  })

  test('that is at its limit of memory', row, async () => {
    await using group = new Group('memory')
    const holds = `const a = Buffer.alloc(90 << 20, 1); setInterval(() => a.length, 1000)`
    const daemon = group.start(process.execPath, ['-e', holds])
    const usage = group.isUnified ? 'memory.current' : 'memory.usage_in_bytes'
    await waitUntil('it holds its memory', 10_000, async () => Number(group.read(usage)) > 90 << 20)
    await sleep(500)
    assert.deepEqual(codesOf(await look(memory, daemon.pid)), [])
    group.set(group.isUnified ? 'memory.max' : 'memory.limit_in_bytes', String(Number(group.read(usage)) + (2 << 20)))
    assert.deepEqual(codesOf(await look(memory, daemon.pid)), ['MEMORY_NEARLY_FULL'])
  })

  test('that is throttled by a quota, and one that has a quota and does not need it', row, async () => {
    await using group = new Group('cpu')
    if (group.isUnified) group.set('cpu.max', '10000 100000')
    else group.set('cpu.cfs_quota_us', '10000')
    const idle = group.start('sleep', ['60'])
    await sleep(300)
    assert.deepEqual(codesOf(await look(processor, idle.pid)), [])
    group.start(process.execPath, ['-e', 'for (;;);'])
    await sleep(1500)
    const [finding] = await look(processor, idle.pid)
    assert.equal(finding?.code, 'CPU_THROTTLED')
    assert.ok(Number(finding?.facts['throttledNow']) >= 1)
  })

  test('that may have no more tasks, and was refused one', row, async () => {
    await using group = new Group('pids')
    const daemon = group.start('sleep', ['60'])
    await sleep(200)
    assert.deepEqual(codesOf(await look(processLimits, daemon.pid)), [])
    group.set('pids.max', '1')
    const [finding] = await look(processLimits, daemon.pid)
    assert.equal(finding?.code, 'TASKS_NEARLY_EXHAUSTED')
    assert.equal(finding?.severity, 'warning')
  })

  test('and at the files that it may open', row, async () => {
    const script =
      'for i in 10 11 12 13 14 15 16 17 18 19; do eval "exec $i</dev/null"; done; ulimit -n 14; exec sleep 60'
    const daemon = spawn('bash', ['-c', script], { stdio: 'ignore' })
    await sleep(400)
    try {
      const [finding] = await look(processLimits, daemon.pid)
      assert.equal(finding?.code, 'FILES_NEARLY_EXHAUSTED')
      assert.equal(finding?.facts['limit'], 14)
    } finally {
      daemon.kill('SIGKILL')
    }
  })
})
