/** The thread behind `startWatchdog`. It writes to stderr by itself: the main thread may never come back. */
import { closeSync, openSync, readFileSync, readlinkSync, readSync, writeSync } from 'node:fs'
import { workerData } from 'node:worker_threads'
import { WindlassError } from '../errors.ts'
import { abandonMainThread, hasSignal } from '../sys/front.ts'
import { readTask } from '../sys/tasks.ts'
import { formatFailure } from './failure.ts'
import { formatJson } from './printable.ts'
import type { WatchdogOrder } from './watchdog.ts'

const { beat, front, tellMs, leaveMs, json, quiet, report } = workerData as WatchdogOrder
const words = new Int32Array(beat)
const everyMs = 500
const hint = 'look at the disk and the filesystem that it names (dmesg, mount, fsfreeze); run it again when it answers'

let seen = -1
let movedAt = 0
let ticks = 0
let hasTold = false
let before = performance.now()

// The second word is set when all is done, and ends the wait.
while (Atomics.wait(words, 1, 0, everyMs) === 'timed-out') await look(performance.now())

async function look(now: number): Promise<void> {
  const count = Atomics.load(words, 0)
  // A process that was stopped, or a machine that slept, has not been waiting.
  const slept = now - before > 4 * everyMs
  before = now
  const cpuTicks = readTask(process.pid)?.cpuTicks ?? 0
  // Before it came to the call that holds it, it may have worked since the last beat: what it waits for is waited for from then on.
  if (count !== seen || slept || cpuTicks > ticks + 1) {
    if (hasTold && count !== seen) tell('windlass: it goes on\n', { type: 'notice', message: 'it goes on' })
    if (count !== seen || slept) hasTold = false
    seen = count
    movedAt = now
    ticks = cpuTicks
    return
  }
  const idleMs = now - movedAt
  if (idleMs < tellMs && !isStopped()) return
  const call = describeWait()
  if (call === undefined) return
  if (isStopped()) return await stop(call)
  const seconds = Math.round(idleMs / 1000)
  if (idleMs >= leaveMs) return await leave(`Cannot go on: the disk has not answered for ${seconds} s: ${call}`)
  if (hasTold) return
  hasTold = true
  const message = `the disk does not answer: ${call}`
  tell(`! ${message}; waiting ${Math.round(leaveMs / 1000)} s at most\n`, { type: 'warning', message })
}

/** What the main thread waits for, if that is a file or a filesystem; undefined where it is at work or asleep on something else. */
function describeWait(): string | undefined {
  const task = readTask(process.pid)
  if (task === undefined || task.cpuTicks > ticks + 1) return undefined
  const path = callTarget()
  if (task.state !== 'D' && path === undefined) return undefined
  const call = task.syscall === undefined || /^\d+$/.test(task.syscall) ? 'a system call' : task.syscall
  const where = task.wchan === undefined ? '' : ` in ${task.wchan}`
  return `${call} of ${path ?? 'a file'} (thread ${task.tid}, state ${task.state}${where})`
}

/** The file of the system call that the main thread is in: the first argument that is the address of an absolute path, or a descriptor of a file. */
function callTarget(): string | undefined {
  try {
    const [number = '', ...args] = readFileSync(`/proc/self/task/${process.pid}/syscall`, 'latin1').split(' ')
    if (!/^\d+$/.test(number)) return undefined
    const memory = openSync('/proc/self/mem', 'r')
    try {
      for (const arg of args.slice(0, 4)) {
        const path = readPath(memory, BigInt(arg))
        if (path !== undefined) return path
      }
    } finally {
      closeSync(memory)
    }
    const path = readlinkSync(`/proc/self/fd/${Number(args[0])}`)
    return path.startsWith('/') ? path : undefined
  } catch {
    return undefined // no right to see it, or it has just returned
  }
}

function readPath(memory: number, address: bigint): string | undefined {
  const bytes = Buffer.alloc(4096)
  try {
    const length = readSync(memory, bytes, 0, bytes.length - Number(address & 0xfffn), address)
    const end = bytes.subarray(0, length).indexOf(0)
    return bytes[0] === 0x2f && end > 0 ? bytes.toString('utf8', 0, end) : undefined
  } catch {
    return undefined // no address
  }
}

function tell(text: string, event: object): void {
  if (quiet) return
  write(json ? `${formatJson(event)}\n` : text)
}

/** A signal has come that the main thread cannot answer. */
function isStopped(): boolean {
  return front !== undefined && hasSignal(front)
}

async function stop(call: string): Promise<void> {
  await end(new WindlassError('CANCELLED', `Cannot go on: stopped by a signal; left behind: ${call}`))
}

async function leave(message: string): Promise<void> {
  await end(new WindlassError('STALLED', message, { hint }))
}

async function end(error: WindlassError): Promise<void> {
  write(formatFailure(error, { json, debug: false }))
  if (report !== undefined) {
    const last = await import('./report/last.ts')
    await last.writeLastReport(report, error).catch(() => {})
  }
  await abandonMainThread(front, error.exitStatus)
}

function write(text: string): void {
  try {
    writeSync(2, text)
  } catch {} // nobody reads any more
}
