import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { gettid } from './libc.ts'
import {
  hasPending,
  readProcess,
  readProgram,
  readTask,
  readTasks,
  type TaskFacts,
  threadIds,
  waitOfFilter,
  waitOfRingReader,
} from './tasks.ts'

function start(t: TestContext, command: string, ...args: string[]): ChildProcess & { pid: number } {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] })
  t.after(() => child.kill('SIGKILL'))
  assert.ok(child.pid !== undefined)
  return child as ChildProcess & { pid: number }
}

/** Reads until the facts are as wanted: a process needs a moment to get where it is going. */
async function until(read: () => TaskFacts | undefined, wanted: (task: TaskFacts) => boolean): Promise<TaskFacts> {
  for (let tries = 0; tries < 200; tries++) {
    const task = read()
    if (task !== undefined && wanted(task)) return task
    await sleep(20)
  }
  return assert.fail(`it never came there: ${JSON.stringify(read())}`)
}

test('a program that waits for its input says so', async t => {
  const { pid } = start(t, 'cat')
  const task = await until(
    () => readTask(pid),
    ({ state, syscall }) => state === 'S' && syscall === 'read',
  )
  assert.equal(task.fd, 0)
  assert.equal(task.name, 'cat')
  assert.equal(waitOfFilter(readTasks(pid)), 'input')
})

test('a program whose output nobody reads waits for it, and has moved bytes before', async t => {
  const child = start(t, 'cat', '/dev/zero')
  child.stdout?.pause()
  const task = await until(
    () => readTask(child.pid),
    ({ state, syscall }) => state === 'S' && syscall === 'write',
  )
  assert.equal(task.fd, 1)
  assert.ok((task.ioBytes ?? 0) >= 65536)
  assert.equal(waitOfFilter(readTasks(child.pid)), 'output')
})

test('a stopped program is in state T, and what it waited for is no excuse', async t => {
  const child = start(t, 'cat')
  await until(
    () => readTask(child.pid),
    ({ syscall }) => syscall === 'read',
  )
  child.kill('SIGSTOP')
  const task = await until(
    () => readTask(child.pid),
    ({ state }) => state === 'T',
  )
  assert.equal(task.pid, child.pid)
  assert.equal(waitOfFilter(readTasks(child.pid)), undefined)
})

test('a program that spins uses processor time and waits for nothing', async t => {
  const { pid } = start(t, 'sh', '-c', 'while :; do :; done')
  const first = await until(
    () => readTask(pid),
    ({ state }) => state === 'R',
  )
  await until(
    () => readTask(pid),
    ({ cpuTicks }) => cpuTicks >= first.cpuTicks + 10,
  )
  assert.equal(waitOfFilter(readTasks(pid)), undefined)
})

test('a program is told by what its wrapper started, too: who spins, who is stopped', async t => {
  const { pid } = start(t, 'sh', '-c', 'sh -c "while :; do :; done" & spin=$!; read -r line; kill $spin')
  const task = await until(
    () => readProgram(pid),
    ({ state, cpuTicks }) => state === 'R' && cpuTicks >= 10,
  )
  assert.notEqual(task.pid, pid)
  process.kill(task.pid, 'SIGSTOP')
  assert.equal(
    (
      await until(
        () => readProgram(pid),
        ({ state }) => state === 'T',
      )
    ).pid,
    task.pid,
  )
  process.kill(task.pid, 'SIGKILL')
})

test('a thread that sleeps on a ring waits for input; it is found by the ID that it gives', async t => {
  const script = `
    import { parentPort, workerData } from 'node:worker_threads'
    import { gettid } from ${JSON.stringify(new URL('./libc.ts', import.meta.url).href)}
    parentPort.postMessage(gettid())
    Atomics.wait(new Int32Array(workerData), 0, 0)`
  const memory = new SharedArrayBuffer(4)
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(script)}`), { workerData: memory })
  t.after(() => worker.terminate())
  const tid = await new Promise<number>(resolve => worker.once('message', resolve))
  assert.notEqual(tid, gettid())
  assert.ok(threadIds(process.pid).includes(tid))
  const task = await until(
    () => readTask(process.pid, tid),
    ({ state, syscall }) => state === 'S' && syscall === 'futex',
  )
  assert.equal(waitOfRingReader(task), 'input')
  assert.ok((task.switches ?? 0) > 0)
  Atomics.store(new Int32Array(memory), 0, 1)
  Atomics.notify(new Int32Array(memory), 0)
})

test('the main thread of this process has the ID of the process, and runs', () => {
  assert.equal(gettid(), process.pid)
  const task = readTask(process.pid)
  assert.equal(task?.state, 'R')
  assert.equal(task?.syscall, 'read') // it is reading that very file
  assert.equal(waitOfRingReader(task), 'itself')
})

test('a task that is gone is no error', async t => {
  const child = start(t, 'true')
  await new Promise(resolve => child.once('close', resolve))
  assert.equal(readProcess(child.pid), undefined)
  assert.equal(readTask(child.pid), undefined)
  assert.deepEqual(threadIds(child.pid), [])
  assert.deepEqual(readTasks(child.pid), [])
})

test('a process tells its family, and the processor time of all its threads', async t => {
  const { pid } = start(t, 'sh', '-c', 'while :; do :; done')
  const child = readProcess(pid)
  assert.equal(child?.parent, process.pid)
  assert.equal(child?.session, readProcess(process.pid)?.session)
  assert.ok((child?.startTicks ?? 0) > (readProcess(process.pid)?.startTicks ?? Infinity))
  assert.equal(readTask(pid)?.isWithheld, false)
  const self = readProcess(process.pid)
  assert.equal(self?.threads, threadIds(process.pid).length)
  const ticks = readTasks(process.pid).reduce((sum, { cpuTicks }) => sum + cpuTicks, 0)
  assert.ok((self?.userTicks ?? 0) + (self?.systemTicks ?? 0) >= ticks - 5)
})

test('a task that goes while it is read is gone, and not withheld', () => {
  const stat = `7 (cat) S 1 7 7 ${'0 '.repeat(46)}`
  const texts = new Map([['/proc/7/task/7/stat', stat]])
  const view = (text: (path: string) => string | undefined) => ({ arch: 'x64', names: () => [], text })
  const whole = readTask(
    7,
    7,
    view(path => texts.get(path)),
  )
  assert.deepEqual([whole?.state, whole?.isWithheld], ['S', true])
  const once = (path: string) => {
    const text = texts.get(path)
    texts.delete(path)
    return text
  }
  assert.equal(readTask(7, 7, view(once)), undefined)
})

test('a name with parentheses and spaces does not shift the fields', async t => {
  const child = start(t, 'bash', '-c', "printf 'x) R (1 2' > /proc/$$/comm; read -r line")
  const task = await until(
    () => readTask(child.pid),
    ({ name }) => name === 'x) R (1 2',
  )
  assert.match(task.state, /^[RSD]$/)
  assert.ok(task.cpuTicks >= 0 && task.cpuTicks < 1000)
})

test('without the right to trace, the state is still told, and that something is withheld', () => {
  const isRoot = process.getuid?.() === 0
  if (isRoot) process.seteuid?.(65534)
  const task = readTask(1)
  if (isRoot) process.seteuid?.(0)
  assert.match(task?.state ?? '', /^[SRD]$/)
  assert.equal(task?.syscall, undefined)
  assert.equal(task?.ioBytes, undefined)
  assert.equal(task?.isWithheld, true)
  assert.ok(task !== undefined)
  assert.equal(waitOfFilter([{ ...task, state: 'S' }]), undefined)
  assert.equal(waitOfRingReader({ ...task, state: 'S' }), undefined)
})

const facts: TaskFacts = {
  pid: 1,
  tid: 1,
  name: 'unpigz',
  state: 'S',
  wchan: undefined,
  syscall: 'futex',
  fd: undefined,
  cpuTicks: 0,
  ioBytes: 0,
  switches: 0,
  isWithheld: false,
}

test('threads that all sleep on each other do not tell what they wait for; one at work excuses no reader', () => {
  const reader = { ...facts, syscall: 'read', fd: 0 }
  assert.equal(waitOfFilter([facts, facts]), undefined)
  assert.equal(waitOfFilter([facts, reader]), 'input')
  assert.equal(waitOfFilter([{ ...facts, state: 'R' }, reader]), undefined)
  assert.equal(waitOfFilter([{ ...facts, state: 'D' }, reader]), undefined)
  assert.equal(waitOfFilter([{ ...facts, syscall: 'write', fd: 1 }, reader]), 'output')
  assert.equal(waitOfFilter([{ ...facts, syscall: 'write', fd: 2 }]), undefined)
})

test('a thread of ours in any call but futex waits for that call', () => {
  assert.equal(waitOfRingReader({ ...facts, syscall: 'openat' }), 'itself')
  assert.equal(waitOfRingReader({ ...facts, state: 'D', syscall: undefined }), 'itself')
})

test('a process of which the kernel tells nothing but its status is there nevertheless, and one that is gone is not', () => {
  const status = 'Name:\tpodman\nState:\tS (sleeping)\nTgid:\t7\nPPid:\t3\nNSpgid:\t7\nNSsid:\t5\nThreads:\t4\n'
  const view = (silent: readonly string[]) => ({
    arch: 'x64',
    text: (path: string) => (path === '/proc/7/status' ? status : undefined),
    names: () => [],
    silent: new Set(silent),
  })
  const { name, state, parent, session, threads } = readProcess(7, view(['/proc/7/stat'])) ?? assert.fail()
  assert.deepEqual([name, state, parent, session, threads], ['podman', 'S', 3, 5, 4])
  assert.equal(readProcess(7, view([])), undefined)
  assert.equal(readProcess(8, view(['/proc/7/stat'])), undefined)
})

test('a signal that a process has not taken, or has died of, is pending', async t => {
  const { pid } = start(t, 'sh', '-c', 'trap "" TERM; kill -STOP $$')
  await until(
    () => readTask(pid),
    ({ state }) => state === 'T',
  )
  const [hangup, interrupt, terminate] = [1, 2, 15] as const
  process.kill(pid, interrupt)
  process.kill(pid, terminate)
  assert.deepEqual(
    [hangup, interrupt, terminate].map(signal => hasPending(pid, signal)),
    [false, true, false],
  )
  assert.equal(hasPending(0, interrupt), false)
})
