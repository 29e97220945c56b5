import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { afterEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { findKernelEntry, type Machine, machineOf } from './exit-registers.ts'
import { HeldProcess, HoldFailure, type HoldProblem } from './held-process.ts'
import { readProcess } from './tasks.ts'

const machine = machineOf(process.arch) as Machine
const children: ChildProcess[] = []
const started: number[] = []
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  for (const pid of started.splice(0)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {} // it has left
  }
})

/** A program that is the child of a shell: who is held must not be our own child, whose news libuv takes. */
async function startUnderShell(program: string): Promise<{ readonly pid: number; readonly status: Promise<string> }> {
  const child = spawn('sh', ['-c', `${program} & echo $!; wait $!; echo "status $?"`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  let text = ''
  child.stdout?.on('data', data => {
    text += String(data)
  })
  const status = once(child, 'close').then(() => /status (\d+)/.exec(text)?.[1] ?? '')
  while (!text.includes('\n')) await sleep(10)
  await sleep(300)
  const pid = Number.parseInt(text, 10)
  started.push(pid)
  return { pid, status }
}

async function startInKernel(): Promise<{ readonly pid: number; readonly child: number }> {
  const { pid } = await startUnderShell(waitsInKernel)
  const [child = 0] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').map(Number)
  started.push(child)
  return { pid, child }
}

function startTicksOf(pid: number): number {
  return readProcess(pid)?.startTicks ?? 0
}

function stateOf(pid: number): string {
  return readProcess(pid)?.state ?? ''
}

/** Nobody traces it, and it does what it is told: a traced process whose tracer does not listen freezes at its next signal. */
async function isFree(pid: number): Promise<void> {
  for (const deadline = performance.now() + 30_000; ; await sleep(10)) {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    if (/^TracerPid:\t0$/m.test(status) && /^State:\t[RS]/m.test(status)) break
    assert.ok(performance.now() < deadline, status)
  }
  process.kill(pid, 'SIGTERM')
  await hasState(pid, '')
}

async function hasState(pid: number, state: string): Promise<void> {
  for (const deadline = performance.now() + 30_000; stateOf(pid) !== state; await sleep(10))
    assert.ok(performance.now() < deadline, `its state is ${stateOf(pid)}, not ${state}`)
}

function failsWith(problem: HoldProblem) {
  return (error: unknown) => error instanceof HoldFailure && error.problem === problem
}

const programs: Readonly<Record<string, string>> = {
  'sleeps in a system call': 'sleep 1000',
  'spins in its own code': `sh -c 'while :; do :; done'`,
  'has many threads, one of which spins': `${process.execPath} -e 'const {Worker}=require("node:worker_threads");new Worker("for(;;);",{eval:true})'`,
  'waits to read': `sh -c 'exec 3<>/dev/ptmx; read x <&3'`,
}

for (const [what, program] of Object.entries(programs)) {
  test(`a process that ${what} leaves with status 0 when it is told to`, async () => {
    const { pid, status } = await startUnderShell(program)
    const held = await HeldProcess.hold(pid, startTicksOf(pid))
    assert.equal(stateOf(pid), 't')
    assert.equal(await held.leave(held.prepareExit(machine)), true)
    assert.equal(await status, '0')
  })
}

test('of one that somebody ends meanwhile it is told that it is gone', async () => {
  const { pid } = await startUnderShell('sleep 60')
  using held = await HeldProcess.hold(pid, startTicksOf(pid))
  const exit = held.prepareExit(machine)
  process.kill(pid, 'SIGKILL')
  await hasState(pid, 'Z')
  await assert.rejects(held.leave(exit), { code: 'ESRCH' })
})

test('a process that is let go goes on as before', async () => {
  const { pid } = await startUnderShell(`sh -c 'while :; do :; done'`)
  for (let rounds = 0; rounds < 3; rounds++) {
    using held = await HeldProcess.hold(pid, startTicksOf(pid))
    held.prepareExit(machine)
  }
  await isFree(pid)
})

test('a process that was stopped before stays stopped', async () => {
  const { pid } = await startUnderShell('sleep 1000')
  process.kill(pid, 'SIGSTOP')
  await sleep(50)
  {
    using held = await HeldProcess.hold(pid, startTicksOf(pid))
    assert.equal(held.wasStopped, true)
  }
  await hasState(pid, 'T')
})

test('a process with the same number that was started at another time is not held, and goes on', async () => {
  for (const program of ['sleep 1000', `sh -c 'while :; do sleep 0.05; done'`, `sh -c 'while :; do :; done'`]) {
    const { pid } = await startUnderShell(program)
    await assert.rejects(HeldProcess.hold(pid, startTicksOf(pid) - 1), failsWith('another'))
    await isFree(pid)
  }
})

test('one with the same number that somebody has stopped stays stopped, and is traced no more', async () => {
  const { pid } = await startUnderShell('sleep 1000')
  process.kill(pid, 'SIGSTOP')
  await hasState(pid, 'T')
  await assert.rejects(HeldProcess.hold(pid, startTicksOf(pid) - 1), failsWith('another'))
  await hasState(pid, 'T') // it runs for a moment, and stops again
  process.kill(pid, 'SIGCONT')
  await isFree(pid)
})

/** A fork whose parent waits in the kernel until the child ends, as that of vfork(2) does, but with a memory of its own. CLONE_VFORK | SIGCHLD. */
const waitsInKernel = `perl -e '$p = syscall(${process.arch === 'arm64' ? 220 : 56}, 0x4011, 0, 0, 0, 0); if ($p == 0) { print "$$\n"; sleep 1000 } sleep 1000'`

test('a process that the kernel holds is refused, and is let go as soon as the kernel does', async () => {
  const { pid, child } = await startInKernel()
  assert.equal(stateOf(pid), 'D')
  await assert.rejects(HeldProcess.hold(pid, startTicksOf(pid)), failsWith('in-kernel'))
  await assert.rejects(HeldProcess.hold(pid, startTicksOf(pid)), failsWith('in-kernel'))
  process.kill(child, 'SIGKILL')
  await isFree(pid)
})

test('a process that is gone cannot be held', async () => {
  const { pid, status } = await startUnderShell('sleep 0.4')
  const ticks = startTicksOf(pid)
  await status
  await assert.rejects(HeldProcess.hold(pid, ticks), failsWith('gone'))
})

test('a program of another machine is refused, and goes on', async () => {
  const { pid } = await startUnderShell('sleep 1000')
  {
    using held = await HeldProcess.hold(pid, startTicksOf(pid))
    assert.throws(() => held.prepareExit({ ...machine, registersSize: 68 }), failsWith('architecture'))
    const nowhere = { ...machine, enterKernel: Buffer.from('no such instruction') }
    assert.throws(() => held.prepareExit(nowhere), failsWith('architecture'))
  }
  await isFree(pid)
})

test('when the holder dies by SIGKILL, the process stays stopped and can be held again', async () => {
  const { pid, status } = await startUnderShell('sleep 1000')
  const module = new URL('./held-process.ts', import.meta.url).href
  const code = `import { HeldProcess } from '${module}'; await HeldProcess.hold(${pid}, ${startTicksOf(pid)}); console.log('held'); setInterval(() => {}, 1000)`
  const holder = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(holder.stdout, 'data')
  holder.kill('SIGKILL')
  await once(holder, 'exit')
  await hasState(pid, 'T')
  assert.match(readFileSync(`/proc/${pid}/status`, 'utf8'), /^TracerPid:\t0$/m)
  const held = await HeldProcess.hold(pid, startTicksOf(pid), true)
  assert.equal(held.wasStopped, false)
  await held.leave(held.prepareExit(machine))
  assert.equal(await status, '0')
})

test('the instruction of arm64 stands at multiples of four only', () => {
  const arm64 = machineOf('arm64') as Machine
  const svc = [0x01, 0x00, 0x00, 0xd4]
  assert.equal(findKernelEntry(arm64, Buffer.from([0, ...svc, 0, 0, 0, ...svc])), 8)
  assert.equal(findKernelEntry(arm64, Buffer.from([0, ...svc])), -1)
})
