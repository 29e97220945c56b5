/** Takes a wake-up away from a program whose threads wait for each other, as a fault of a library or of a processor's memory order would: x64 alone. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { PTRACE, ptrace, readRegisters, waitTraced, writeRegisters } from '../../src/sys/libc.ts'
import { threadIds } from '../../src/sys/tasks.ts'
import { readIfThere } from '../read-if-there.ts'
import { waitUntil } from '../testbed/command.ts'

const futex = 202
const generalRegisters = 1
/** Where in struct user_regs_struct the arguments of a system call are, and the stack. */
const at = { expected: 96, address: 112, stack: 152 } as const
/** Below what a function may use of its stack without saying so. */
const redZone = 4096n

/** The first thread of a process, as soon as it waits for a word of memory, waits for another word instead, which nobody knows of. */
export async function loseWakeup(pid: number): Promise<void> {
  await waitUntil('its first thread waits for another', 20_000, async () => await waitsForLong(pid))
  ptrace(PTRACE.SEIZE, pid)
  process.kill(pid, 'SIGSTOP')
  await waitUntil('it stands', 20_000, () => typeof waitTraced(pid) === 'number')
  const registers = Buffer.alloc(216)
  readRegisters(pid, generalRegisters, registers)
  const address = registers.readBigUInt64LE(at.stack) - redZone
  const memory = openSync(`/proc/${pid}/mem`, 'r+')
  try {
    writeSync(memory, registers.subarray(at.expected, at.expected + 4), 0, 4, Number(address))
  } finally {
    closeSync(memory)
  }
  registers.writeBigUInt64LE(address, at.address)
  writeRegisters(pid, generalRegisters, registers)
  ptrace(PTRACE.DETACH, pid)
  process.kill(pid, 'SIGCONT')
}

async function waitsForLong(pid: number): Promise<boolean> {
  const first = callOf(pid, pid)
  await sleep(200)
  return first.startsWith(`${futex} `) && callOf(pid, pid) === first
}

export function isDeadlocked(pid: number): boolean {
  const tids = threadIds(pid)
  return tids.length > 1 && tids.every(tid => callOf(pid, tid).startsWith(`${futex} `))
}

function callOf(pid: number, tid: number): string {
  return readIfThere(`/proc/${pid}/task/${tid}/syscall`)
}
