/** What the kernel says of one task: read from /proc, which answers also for a task that cannot be reached in any other way. */
import { readdirSync, readFileSync } from 'node:fs'

/** A field is undefined where the kernel or our rights do not give it: `wchan`, `syscall` and `ioBytes` need those of a tracer. */
export interface TaskFacts {
  readonly pid: number
  readonly tid: number
  /** The command's name, at most 15 bytes. */
  readonly name: string
  /** The letter of proc_pid_stat(5): R running, S asleep, D asleep out of reach of signals, T stopped, t traced, Z dead. */
  readonly state: string
  /** The kernel function it sleeps in. */
  readonly wchan: string | undefined
  /** The system call it is in: its name, or its number where it is none that matters here; `running` outside of one. */
  readonly syscall: string | undefined
  /** First argument of the system call as a file descriptor, for calls that take one first. */
  readonly fd: number | undefined
  /** User and system time, in ticks of 10 ms (USER_HZ is 100 for every program on Linux). */
  readonly cpuTicks: number
  /** Bytes passed to read and write calls. */
  readonly ioBytes: number | undefined
  /** Times that it gave up the processor, by itself or not. */
  readonly switches: number | undefined
}

/** The calls that name a wait, with their numbers. */
const callsOfX64 = `
  read 0 write 1 open 2 close 3 stat 4 fstat 5 lstat 6 poll 7 ioctl 16 pread64 17 pwrite64 18 readv 19 writev 20 select 23 pause 34
  nanosleep 35 connect 42 recvfrom 45 recvmsg 47 wait4 61 fcntl 72 fsync 74 fdatasync 75 ftruncate 77 rename 82 mkdir 83 rmdir 84
  link 86 unlink 87 symlink 88 readlink 89 fchmod 91 fchown 93 sync 162 mount 165 umount2 166 setxattr 188 lsetxattr 189 fsetxattr 190 futex 202 getdents64 217
  clock_nanosleep 230 epoll_wait 232 waitid 247 openat 257 mkdirat 258 mknodat 259 fchownat 260 newfstatat 262
  unlinkat 263 renameat 264 linkat 265 symlinkat 266 fchmodat 268 pselect6 270 ppoll 271 splice 275 utimensat 280
  epoll_pwait 281 syncfs 306 renameat2 316 copy_file_range 326
`
const callsOfArm64 = `
  setxattr 5 lsetxattr 6 fsetxattr 7 epoll_pwait 22 fcntl 25 ioctl 29 mknodat 33 mkdirat 34 unlinkat 35 symlinkat 36
  linkat 37 renameat 38 umount2 39 mount 40 ftruncate 46 fchmod 52 fchmodat 53 fchownat 54 fchown 55 openat 56 close
  57 getdents64 61 read 63 write 64 readv 65 writev 66 pread64 67 pwrite64 68 pselect6 72 ppoll 73 splice 76
  newfstatat 79 fstat 80 sync 81 fsync 82 fdatasync 83 utimensat 88 waitid 95 futex 98 nanosleep 101 clock_nanosleep
  115 connect 203 recvfrom 207 recvmsg 212 wait4 260 syncfs 267 renameat2 276 copy_file_range 285
`

const syscallNames = new Map(
  [...(process.arch === 'arm64' ? callsOfArm64 : callsOfX64).matchAll(/(\S+) (\d+)/g)].map(([, name, number]) => [
    number,
    name,
  ]),
)

const callsWithFd: ReadonlySet<string> = new Set(
  'read write readv writev pread64 pwrite64 close fsync fdatasync ftruncate fchmod fchown fsetxattr syncfs getdents64'.split(
    ' ',
  ),
)

/**
 * Reads one task; the main thread of the process if no thread is named. Never waits for the task.
 * @returns undefined if there is no such task (any more)
 */
export function readTask(pid: number, tid: number = pid): TaskFacts | undefined {
  const directory = `/proc/${pid}/task/${tid}`
  const stat = parseStat(readText(`${directory}/stat`))
  if (stat === undefined) return undefined
  return {
    pid,
    tid,
    ...stat,
    wchan: parseWchan(readText(`${directory}/wchan`)),
    ...parseSyscall(readText(`${directory}/syscall`)),
    ioBytes: sumOfLines(readText(`${directory}/io`), /^[rw]char: (\d+)$/gm),
    switches: sumOfLines(readText(`${directory}/status`), /^(?:non)?voluntary_ctxt_switches:\t(\d+)$/gm),
  }
}

/** The threads of a process; empty if it is gone. */
export function threadIds(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number)
  } catch {
    return []
  }
}

/** Every thread of a process that could be read. */
export function readTasks(pid: number): TaskFacts[] {
  return threadIds(pid)
    .map(tid => readTask(pid, tid))
    .filter(task => task !== undefined)
}

/**
 * What a thread of ours that reads a ring in shared memory waits for: asleep in futex it waits for the ring, in any other call for that
 * call's own end.
 */
export function waitOfRingReader({ state, syscall }: TaskFacts): 'input' | 'itself' | undefined {
  if (state === 'D' || state === 'R') return 'itself'
  if (syscall === undefined) return undefined
  return syscall === 'futex' ? 'input' : 'itself'
}

/**
 * What a program between two pipes waits for, from all its threads: one that sleeps in a write to its output says `output`; one that
 * sleeps in a read of its input says `input`, if no other thread is at work. Undefined where that does not tell: all asleep on each
 * other (which may be a deadlock), or no right to see.
 */
export function waitOfFilter(tasks: readonly TaskFacts[]): 'input' | 'output' | undefined {
  if (tasks.some(({ state }) => state === 'T' || state === 't')) return undefined
  if (tasks.some(task => isAsleepIn(task, 'write', 1))) return 'output'
  if (tasks.some(({ state }) => state === 'R' || state === 'D')) return undefined
  return tasks.some(task => isAsleepIn(task, 'read', 0)) ? 'input' : undefined
}

function isAsleepIn({ state, syscall, fd }: TaskFacts, name: string, wanted: number): boolean {
  return state === 'S' && syscall === name && fd === wanted
}

// The name stands in parentheses and may itself contain any of ") (": the last one ends it.
function parseStat(text: string | undefined): Pick<TaskFacts, 'name' | 'state' | 'cpuTicks'> | undefined {
  const [, name, rest] = /^\d+ \((.*)\) (.*)$/s.exec(text ?? '') ?? []
  if (name === undefined || rest === undefined) return undefined
  const fields = rest.split(' ') // fields[0] is field 3 of proc_pid_stat(5)
  return { name, state: fields[0] ?? '?', cpuTicks: Number(fields[11]) + Number(fields[12]) }
}

// A task that does not sleep, or a reader without rights, reads "0".
function parseWchan(text: string | undefined): string | undefined {
  return text === undefined || text === '' || text === '0' ? undefined : text
}

function parseSyscall(text: string | undefined): Pick<TaskFacts, 'syscall' | 'fd'> {
  const [number, first] = text?.trim().split(' ') ?? []
  if (number === undefined || number === '') return { syscall: undefined, fd: undefined }
  // -1: blocked, but not in a system call (a page fault)
  if (number === 'running' || number === '-1') return { syscall: number === '-1' ? 'none' : number, fd: undefined }
  const syscall = syscallNames.get(number) ?? number
  return { syscall, fd: callsWithFd.has(syscall) ? Number(first) : undefined }
}

function sumOfLines(text: string | undefined, pattern: RegExp): number | undefined {
  const found = [...(text?.matchAll(pattern) ?? [])]
  return found.length === 0 ? undefined : found.reduce((sum, [, value]) => sum + Number(value), 0)
}

/** Facts are evidence: not to get them, for whatever reason, must not end what they are about. */
function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}
