/** From who is to blame to why: the kind of standstill, from the same looks. */
import { countedMs, defaultBlameLimits, type Verdict } from '../flow/blame.ts'
import type { FindingCode } from './catalogue.ts'
import type { LineLook, ProcessLook } from './sample.ts'

/** What a standstill is called, and what speaks for it beside the verdict's own evidence. */
export interface Reason {
  readonly code: FindingCode
  readonly evidence: readonly string[]
}

/** Where tasks wait for somebody who serves a filesystem: FUSE, NFS, CIFS, Ceph, 9p. */
const remotePlaces = /^(request_wait_answer|_*fuse_|rpc_|nfs|cifs_|smb2?_|wait_for_response|ceph_|p9_)/

/** Kernel functions in which tasks of a pull are known to sleep. */
const sleepingPlaces: readonly (readonly [RegExp, FindingCode])[] = [
  [/^(percpu_rwsem_wait|sb_start_write|thaw_super|__sb_start_write)/, 'FILESYSTEM_FROZEN'],
  [/^fanotify/, 'FANOTIFY_WAIT'],
  [/^(mem_cgroup|try_charge|__mem_cgroup)/, 'MEMORY_LIMIT'],
  // Who writes through FUSE sleeps as if it could be interrupted (state S); NFS and its like can be killed only (D).
  [remotePlaces, 'REMOTE_FILESYSTEM_WAIT'],
  [/^(__refrigerator|cgroup_.*freez|do_freezer_trap|get_signal)/, 'CGROUP_FROZEN'],
]

/** Why the guilty stage of a line stands still; undefined if it should not be accused after all. */
export function reasonOf(verdict: Verdict, looks: readonly LineLook[], isOutputClosed: boolean): Reason | undefined {
  const { kind } = verdict
  if (kind === 'stopped') return { code: stoppedCode(verdict), evidence: [] }
  if (kind === 'disk-wait') return placeOf(verdict)
  if (kind === 'stuck-decompressor') return decompressorReason(verdict, looks, isOutputClosed)
  if (kind === 'dribbling-decompressor') return { code: 'DECOMPRESSOR_DRIBBLES', evidence: [] }
  if (kind === 'silent-source' || kind === 'trickling-source') return { code: 'ENGINE_DOES_NOT_FEED', evidence: [] }
  if (kind === 'stuck-process') return { code: 'ENGINE_DOES_NOT_PASS_ON', evidence: [] }
  if (kind === 'stuck-entry') return unpackReason(verdict, looks)
  if (kind === 'lost-wakeup') return { code: 'LOST_WAKEUP', evidence: [] }
  return { code: 'PULL_UNEXPLAINED', evidence: [] }
}

function stoppedCode({ facts }: Verdict): FindingCode {
  if (facts['stage'] === 'decompress') return 'DECOMPRESSOR_STOPPED'
  return facts['stage'] === 'unpack' ? 'UNTAR_STOPPED' : 'ENGINE_STOPPED'
}

function placeOf({ facts }: Verdict): Reason {
  const wchan = String(facts['wchan'] ?? '')
  const code = sleepingPlaces.find(([pattern]) => pattern.test(wchan))?.[1] ?? 'DISK_WAIT'
  return { code, evidence: [] }
}

function decompressorReason(verdict: Verdict, looks: readonly LineLook[], isOutputClosed: boolean): Reason | undefined {
  const recent = looksOf(verdict, looks)
  const spent = measureProcessor(recent, look => look.decompressor)
  const evidence = [...describeThreads(looks.at(-1)?.decompressor ?? []), spent.text]
  if (isOutputClosed) return { code: 'DECOMPRESSOR_CLOSED_OUTPUT', evidence }
  if (spent.isMuch) return { code: spent.isSystem ? 'DECOMPRESSOR_SPINS_IN_KERNEL' : 'DECOMPRESSOR_SPINS', evidence }
  const states = recent.flatMap(({ decompressor }) => decompressor.flatMap(({ tasks }) => tasks))
  // It wants to run and gets no processor, or too little of one: that is the host's fault, not its own.
  const running = states.filter(({ state }) => state === 'R').length
  if (running > recent.length / 4) return undefined
  if (isRemote(recent, look => look.decompressor)) return { code: 'REMOTE_FILESYSTEM_WAIT', evidence }
  const isDeadlocked = states.every(({ syscall }) => syscall === 'futex')
  return {
    code: isDeadlocked && states.length > recent.length ? 'DECOMPRESSOR_DEADLOCKED' : 'DECOMPRESSOR_ASLEEP',
    evidence,
  }
}

function unpackReason(verdict: Verdict, looks: readonly LineLook[]): Reason | undefined {
  const recent = looksOf(verdict, looks)
  const own = recent.filter(({ untar }) => untar !== undefined)
  const worker = (look: LineLook) => (own.length === 0 ? look.engine : look.untar) ?? []
  if (isRemote(recent, look => [worker(look)].flat())) return { code: 'REMOTE_FILESYSTEM_WAIT', evidence: [] }
  if (own.length === 0) return { code: 'ENGINE_DOES_NOT_UNPACK', evidence: [] }
  const spent = measureProcessor(own, look => (look.untar === undefined ? [] : [look.untar]))
  const running = own.filter(({ untar }) => untar?.tasks.some(({ state }) => state === 'R')).length
  if (!spent.isMuch && running > own.length / 4) return undefined
  const evidence = [
    ...describeThreads(own.at(-1)?.untar === undefined ? [] : [own.at(-1)?.untar as ProcessLook]),
    spent.text,
  ]
  return { code: 'UNTAR_STUCK', evidence }
}

/** The looks that the verdict rests on: its time leaves out in which the watcher was held up. */
function looksOf({ sinceMs }: Verdict, looks: readonly LineLook[]): readonly LineLook[] {
  let ms = 0
  let at = looks.length - 1
  for (; at > 0 && ms < sinceMs - 1; at--) {
    ms += countedMs((looks[at]?.sample.timeMs ?? 0) - (looks[at - 1]?.sample.timeMs ?? 0), defaultBlameLimits)
  }
  return looks.slice(Math.max(0, at))
}

/** One thread is in such a place at every look. */
function isRemote(looks: readonly LineLook[], pick: (look: LineLook) => readonly ProcessLook[]): boolean {
  const waits = (look: LineLook) => pick(look).some(({ tasks }) => tasks.some(isRemoteWait))
  return looks.length > 0 && looks.every(waits)
}

function isRemoteWait({ wchan }: ProcessLook['tasks'][number]): boolean {
  return wchan !== undefined && remotePlaces.test(wchan)
}

/** Whoever computes moves bytes within milliseconds of it, however little of a processor it is given. */
const spinMs = 200

function measureProcessor(looks: readonly LineLook[], pick: (look: LineLook) => readonly ProcessLook[]) {
  const total = (look: LineLook | undefined, field: 'userTicks' | 'systemTicks') =>
    (look === undefined ? [] : pick(look)).reduce((sum, process) => sum + process[field], 0)
  const ms = (looks.at(-1)?.sample.timeMs ?? 0) - (looks[0]?.sample.timeMs ?? 0)
  const userMs = (total(looks.at(-1), 'userTicks') - total(looks[0], 'userTicks')) * 10
  const systemMs = (total(looks.at(-1), 'systemTicks') - total(looks[0], 'systemTicks')) * 10
  const seconds = (value: number) => `${(value / 1000).toFixed(1)} s`
  const text = `in ${seconds(ms)} it used ${seconds(userMs)} of processor time in its own code and ${seconds(systemMs)} in the kernel`
  return { isMuch: userMs + systemMs >= spinMs, isSystem: systemMs > userMs, text }
}

/** `its 4 threads: 3 asleep in futex, 1 running`. */
function describeThreads(processes: readonly ProcessLook[]): string[] {
  const tasks = processes.flatMap(process => process.tasks)
  if (tasks.length === 0) return []
  const words = tasks.map(({ state, syscall, fd, wchan }) => {
    if (state === 'R') return 'running'
    const call = [syscall === 'running' ? undefined : syscall, fd === undefined ? undefined : `of descriptor ${fd}`]
    const place = [...call, wchan === undefined ? undefined : `(${wchan})`].filter(part => part !== undefined).join(' ')
    return `${stateWords[state] ?? `in state ${state}`}${place === '' ? '' : ` in ${place}`}`
  })
  const counts = new Map<string, number>()
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
  const list = [...counts].map(([word, count]) => `${count} ${word}`).join(', ')
  return [tasks.length === 1 ? `its only thread is ${words[0]}` : `its ${tasks.length} threads: ${list}`]
}

const stateWords: Readonly<Record<string, string>> = {
  S: 'asleep',
  D: 'asleep out of reach of signals',
  T: 'stopped',
  t: 'stopped by a tracer',
}
