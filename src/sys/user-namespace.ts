/**
 * User namespaces: what an ordinary user needs to make files of other owners, to chroot and to mount. A process with several threads cannot enter one, so this
 * one is replaced by nsenter, which becomes this program again.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { promisify } from 'node:util'
import { WindlassError } from '../errors.ts'
import { within } from './processes.ts'
import { readIfThere } from './read-if-there.ts'

/** A stretch of IDs: `count` of them from `inner` in the namespace are those from `outer` outside. */
export interface IdRange {
  readonly inner: number
  readonly outer: number
  readonly count: number
}

export interface IdMaps {
  readonly uids: readonly IdRange[]
  readonly gids: readonly IdRange[]
}

/** The lines of /proc/PID/uid_map, user_namespaces(7). */
export function parseIdMap(text: string): IdRange[] {
  return text.split('\n').flatMap(line => {
    const [inner, outer, count] = line.trim().split(/\s+/).map(Number)
    return inner === undefined || outer === undefined || count === undefined ? [] : [{ inner, outer, count }]
  })
}

/** The maps of this process's namespace; undefined in the initial one, where every ID is its own. */
export function readIdMaps(): IdMaps | undefined {
  const uids = parseIdMap(readNow('/proc/self/uid_map'))
  const gids = parseIdMap(readNow('/proc/self/gid_map'))
  const isWhole = ([first]: IdRange[]) => first === undefined || first.count === 0xffff_ffff
  return isWhole(uids) && isWhole(gids) ? undefined : { uids, gids }
}

/** Empty where the kernel has no such file. */
function readNow(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}

/** True if this process lives in a user namespace, so that root is somebody else outside. Known from the start: a thread behind a chroot cannot look. */
export const isInUserNamespace = readIdMaps() !== undefined

/** True if the namespace has this ID. */
export function isMapped(id: number, ranges: readonly IdRange[]): boolean {
  return ranges.some(({ inner, count }) => id >= inner && id < inner + count)
}

/** Who this process runs for, and the ranges that /etc/subuid and /etc/subgid give them. */
export interface Ordinary {
  readonly uid: number
  readonly gid: number
  readonly name: string
  readonly subuids: readonly SubRange[]
  readonly subgids: readonly SubRange[]
}

interface SubRange {
  readonly start: number
  readonly count: number
}

/** subuid(5): `name or number:start:count`. */
export function parseSubIds(text: string, name: string, uid: number): SubRange[] {
  return text.split('\n').flatMap(line => {
    const [owner, start, count] = line.split(':')
    if ((owner !== name && owner !== String(uid)) || !/^\d+$/.test(start ?? '') || !/^\d+$/.test(count ?? '')) return []
    return Number(count) > 0 ? [{ start: Number(start), count: Number(count) }] : []
  })
}

export async function readOrdinary(uid: number, gid: number): Promise<Ordinary> {
  const name = userName(uid)
  const read = async (file: string) => parseSubIds((await readIfThere(file)) ?? '', name, uid)
  return { uid, gid, name, subuids: await read('/etc/subuid'), subgids: await read('/etc/subgid') }
}

/** A user without a line in /etc/passwd is known by number only. */
function userName(uid: number): string {
  try {
    return userInfo().username
  } catch {
    return String(uid)
  }
}

/** Root of the namespace is the user; what follows are the ranges, one after the other. */
export function planIdMap(own: number, ranges: readonly SubRange[]): IdRange[] {
  let inner = 1
  return [
    { inner: 0, outer: own, count: 1 },
    ...ranges.map(({ start, count }) => {
      inner += count
      return { inner: inner - count, outer: start, count }
    }),
  ]
}

/** A namespace that is held by a descriptor. */
export interface UserNamespace {
  readonly fd: number
  /** Why only the user's own IDs are mapped, if it is so. */
  readonly singleReason: string | undefined
}

/** Programs of util-linux and shadow are system tools: also found if the PATH is short. */
const systemPath = '/usr/sbin:/usr/bin:/sbin:/bin'
const stepMs = 5_000

/**
 * Makes a user namespace in which the user is root, with all subordinate IDs that there are.
 * @param path where programs are looked for first
 * @throws WindlassError PERMISSION that says what is missing
 */
export async function openUserNamespace(user: Ordinary, path: string): Promise<UserNamespace> {
  const env = { PATH: `${path}:${systemPath}` }
  // It says that it stands in its namespace, and waits there until it is killed.
  // It is reaped before this process is replaced: what comes then knows nothing of it.
  const holder = spawn('unshare', ['--user', 'sh', '-c', 'echo; read -r _'], { env, stdio: ['pipe', 'pipe', 'pipe'] })
  const gone = once(holder, 'exit').catch(() => {})
  try {
    const pid = await waitForHolder(holder, user)
    const singleReason = await mapIds(pid, user, env)
    return { fd: openSync(`/proc/${pid}/ns/user`, 'r'), singleReason }
  } finally {
    holder.kill('SIGKILL')
    await within(gone, stepMs)
  }
}

async function waitForHolder(holder: ChildProcess, user: Ordinary): Promise<number> {
  let said = ''
  holder.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(0, 1000)
  })
  let failure: Error | undefined
  holder.once('error', error => {
    failure = error
  })
  const ready = once(holder.stdout as NodeJS.EventEmitter, 'data').catch(() => {})
  const ended = once(holder, 'close').catch(() => {})
  const inTime = await within(Promise.race([ready, ended]), stepMs)
  if (inTime && failure === undefined && holder.exitCode === null && holder.pid !== undefined) return holder.pid
  throw cannotMake(user, inTime ? (failure?.message ?? said.trim()) : `unshare did not answer in ${stepMs} ms`)
}

/** What is known to forbid user namespaces, and what to do about it. */
function cannotMake({ uid }: Ordinary, said: string): WindlassError {
  const setting = [
    { file: '/proc/sys/user/max_user_namespaces', forbids: '0', wanted: 'sysctl user.max_user_namespaces=15000' },
    {
      file: '/proc/sys/kernel/unprivileged_userns_clone',
      forbids: '0',
      wanted: 'sysctl kernel.unprivileged_userns_clone=1',
    },
    {
      file: '/proc/sys/kernel/apparmor_restrict_unprivileged_userns',
      forbids: '1',
      wanted: 'sysctl kernel.apparmor_restrict_unprivileged_userns=0',
    },
  ].find(({ file, forbids }) => readNow(file) === forbids)
  const isMissing = said.includes('ENOENT')
  const why = isMissing ? 'the program unshare of util-linux is not on the PATH' : said
  const state = setting === undefined ? why : `${setting.file} is ${setting.forbids}`
  const cure = isMissing ? 'install util-linux' : `let root run '${setting?.wanted ?? 'windlass'}'`
  return new WindlassError('PERMISSION', `Cannot make a user namespace for user ${uid}: ${state}`, {
    hint: `${cure}, or run windlass as root`,
  })
}

/** @returns why only one ID is mapped, if it is so */
async function mapIds(pid: number, user: Ordinary, env: { PATH: string }): Promise<string | undefined> {
  const missing = [
    ...(user.subuids.length === 0 ? ['/etc/subuid'] : []),
    ...(user.subgids.length === 0 ? ['/etc/subgid'] : []),
  ]
  let reason = `${missing.join(' and ')} ${missing.length > 1 ? 'have' : 'has'} no line for ${user.name}`
  if (missing.length === 0) {
    try {
      await writeMap('newgidmap', pid, planIdMap(user.gid, user.subgids), env)
      await writeMap('newuidmap', pid, planIdMap(user.uid, user.subuids), env)
      return undefined
    } catch (error) {
      reason = (error as Error).message
    }
  }
  if (readNow(`/proc/${pid}/gid_map`) === '') {
    writeFileSync(`/proc/${pid}/setgroups`, 'deny')
    writeFileSync(`/proc/${pid}/gid_map`, `0 ${user.gid} 1\n`)
  }
  writeFileSync(`/proc/${pid}/uid_map`, `0 ${user.uid} 1\n`)
  return reason
}

async function writeMap(program: string, pid: number, map: readonly IdRange[], env: { PATH: string }): Promise<void> {
  const numbers = map.flatMap(({ inner, outer, count }) => [inner, outer, count])
  try {
    await promisify(execFile)(program, [pid, ...numbers].map(String), { env, timeout: stepMs })
  } catch (error) {
    const { code, stderr } = error as { code?: unknown; stderr?: string }
    const why = code === 'ENOENT' ? 'it is not on the PATH (package uidmap)' : (stderr?.trim() ?? String(error))
    throw new Error(`${program} failed: ${why}`)
  }
}

/**
 * Replaces this process by `command`, as root of the namespace, in a mount namespace of its own. Process ID, working directory and standard streams stay.
 */
export async function execInNamespace(
  { fd }: UserNamespace,
  command: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<never> {
  const { keepOnExec } = await import('./libc.ts')
  keepOnExec(fd)
  const enter = ['nsenter', `--user=/proc/self/fd/${fd}`, '--preserve-credentials', '--', 'unshare', '--mount', '--']
  return execProgram([...enter, ...command], env)
}

/** Replaces this process by a program that is found on the PATH or among the system's. */
export function execProgram(command: readonly string[], env: Readonly<Record<string, string | undefined>>): never {
  const given = Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  )
  const PATH = `${env['PATH'] ?? ''}:${systemPath}`
  // execve takes no name but a path
  process.execve?.('/bin/sh', ['sh', '-c', 'exec "$@"', 'windlass', ...command], { ...given, PATH })
  throw new Error('unreachable: execve returned')
}
