/** What a process tree costs: wall time, CPU of everything that it started, and the most memory that it held at once. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, statfsSync } from 'node:fs'
import { readIfThere } from '../test/read-if-there.ts'

export interface Cost {
  readonly wallMs: number
  readonly cpuMs: number
  /** Peak of the summed resident sets of the tree, sampled; pages that processes share count for each of them. */
  readonly memoryMax: number
  /** Peak of what is used on the filesystem, sampled. */
  readonly diskMax: number
}

export interface Command {
  readonly program: string
  readonly args: readonly string[]
  readonly env?: Record<string, string>
}

const sampleMs = 50
/** USER_HZ: the unit of times in /proc, the same on every Linux that Node runs on. */
const ticksPerSecond = 100

/**
 * Runs a command to its successful end.
 * @param directory on the filesystem that is watched for what it takes
 * @param daemons processes outside its tree that work for it: what they and their children use meanwhile counts, too
 */
export async function measure(command: Command, directory: string, daemons: readonly number[] = []): Promise<Cost> {
  const diskBefore = readDisk(directory)
  const cpuBefore = readCpuMs(daemons)
  const startedAt = performance.now()
  const child = spawn(command.program, command.args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...command.env },
  })
  let stderr = ''
  child.stderr.on('data', chunk => {
    stderr = (stderr + String(chunk)).slice(-2000)
  })
  let [memoryMax, diskMax] = [0, 0]
  const sample = () => {
    diskMax = Math.max(diskMax, readDisk(directory) - diskBefore)
    memoryMax = Math.max(memoryMax, readMemory([...(child.pid === undefined ? [] : [child.pid]), ...daemons]))
  }
  const timer = setInterval(sample, sampleMs)
  const [status, signal] = (await once(child, 'close')) as [number | null, string | null]
  const wallMs = performance.now() - startedAt
  clearInterval(timer)
  if (status !== 0) throw new Error(`${command.program} ${command.args.join(' ')}: ${signal ?? status}\n${stderr}`)
  return { wallMs, cpuMs: readCpuMs(daemons) - cpuBefore, memoryMax, diskMax }
}

function readDisk(directory: string): number {
  const { blocks, bfree, bsize } = statfsSync(directory)
  return (blocks - bfree) * bsize
}

/** The CPU time of all children that this process has waited for, theirs included, and of the daemons with theirs. */
function readCpuMs(daemons: readonly number[]): number {
  const own = readTimes('self')
  let ticks = own.children
  for (const pid of listTree(daemons)) {
    const times = readTimes(String(pid))
    ticks += times.self + times.children
  }
  return (ticks * 1000) / ticksPerSecond
}

/** Fields 14 to 17 of /proc/PID/stat, counted after the name, which may hold spaces. */
function readTimes(pid: string): { self: number; children: number } {
  const text = readIfThere(`/proc/${pid}/stat`)
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const ticks = (field: number) => Number(fields[field - 3] ?? 0)
  return { self: ticks(14) + ticks(15), children: ticks(16) + ticks(17) }
}

function readMemory(roots: readonly number[]): number {
  let sum = 0
  for (const pid of listTree(roots)) {
    sum += Number(/^VmRSS:\s+(\d+)/m.exec(readIfThere(`/proc/${pid}/status`))?.[1] ?? 0) * 1024
  }
  return sum
}

/** The processes and all their descendants that live now. */
function listTree(roots: readonly number[]): number[] {
  const tree: number[] = []
  const pending = [...roots]
  for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
    tree.push(pid)
    for (const thread of tryList(`/proc/${pid}/task`)) {
      const children = readIfThere(`/proc/${pid}/task/${thread}/children`).trim()
      if (children !== '') pending.push(...children.split(' ').map(Number))
    }
  }
  return tree
}

function tryList(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}
