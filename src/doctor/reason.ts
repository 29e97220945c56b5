/** From who is to blame to why: the kind of standstill, from the same looks. */
import { countedMs, defaultBlameLimits, type Verdict } from '../flow/blame.ts'
import { findKernelPlace, type KernelPlace } from '../flow/kernel-places.ts'
import type { FindingCode } from './catalogue.ts'
import type { DiskProgress } from './disk-watch.ts'
import type { Finding } from './finding.ts'
import type { LineLook, ProcessLook } from './sample.ts'

/** What a standstill is called, and what speaks for it beside the verdict's own evidence. */
export interface Reason {
  readonly code: FindingCode
  readonly evidence: readonly string[]
  /** Where less is known than the verdict says. */
  readonly confidence?: Finding['confidence']
  readonly severity?: Finding['severity']
}

/** What beside the looks decides. */
export interface Circumstances {
  /** The decompressor has closed its output. */
  readonly isOutputClosed: boolean
  /** What the disk under the engine's data did while the guilty one stood still; undefined where that cannot be seen. */
  readonly disk: DiskProgress | undefined
}

/** Why the guilty stage of a line stands still; undefined if it should not be accused after all. */
export function reasonOf(
  verdict: Verdict,
  looks: readonly LineLook[],
  circumstances: Circumstances,
): Reason | undefined {
  const { kind } = verdict
  if (kind === 'stopped') return { code: stoppedCode(verdict, looks), evidence: [] }
  if (kind === 'disk-wait') return kernelReason(verdict, circumstances.disk)
  if (kind === 'stuck-decompressor') return decompressorReason(verdict, looks, circumstances.isOutputClosed)
  if (kind === 'dribbling-decompressor') return { code: 'DECOMPRESSOR_DRIBBLES', evidence: [] }
  if (kind === 'silent-source' || kind === 'trickling-source')
    return engineReason('ENGINE_DOES_NOT_FEED', verdict, looks)
  if (kind === 'stuck-process') return engineReason('ENGINE_DOES_NOT_PASS_ON', verdict, looks)
  if (kind === 'stuck-entry') return unpackReason(verdict, looks)
  if (kind === 'lost-wakeup') return { code: 'LOST_WAKEUP', evidence: [] }
  return { code: 'PULL_UNEXPLAINED', evidence: [] }
}

/** Where no process of its own unpacks, the engine does. */
function stoppedCode({ facts }: Verdict, looks: readonly LineLook[]): FindingCode {
  if (facts['stage'] === 'decompress') return 'DECOMPRESSOR_STOPPED'
  return facts['stage'] === 'unpack' && looks.at(-1)?.untar !== undefined ? 'UNTAR_STOPPED' : 'ENGINE_STOPPED'
}

/**
 * A disk that answers nobody for so long is told as one that does not answer. One that spins up or tidies up may take as long: the longest that a look of some
 * seconds can wait for, and so never certain.
 */
const silentDiskMs = 6500

const codeOfPlace: Readonly<Record<Exclude<KernelPlace['kind'], 'disk'>, FindingCode>> = {
  'frozen-filesystem': 'FILESYSTEM_FROZEN',
  permission: 'FANOTIFY_WAIT',
  memory: 'MEMORY_LIMIT',
  server: 'REMOTE_FILESYSTEM_WAIT',
  freezer: 'CGROUP_FROZEN',
}

/** Calls that a frozen filesystem holds; what else takes the same kind of lock are clone and exit, while control groups change. */
const changesFiles: ReadonlySet<string> = new Set(
  'write pwrite64 writev openat mkdirat symlinkat linkat mknodat unlinkat renameat renameat2 fchownat fchown fchmodat fchmod utimensat setxattr lsetxattr ftruncate fallocate copy_file_range'.split(
    ' ',
  ),
)

/** True if a longer look could change what is said of this verdict: who waits for a disk, or nobody knows where, is perhaps only slow. */
export function mayBeSlow({ kind, facts }: Verdict): boolean {
  return kind === 'disk-wait' && (placeOf(facts)?.kind ?? 'disk') === 'disk'
}

function placeOf({ wchan }: Verdict['facts']): KernelPlace | undefined {
  return findKernelPlace(wchan === undefined ? undefined : String(wchan))
}

/** A task that the kernel holds: the function that it sleeps in tells what it waits for, or tells nothing, and then nothing is guessed. */
function kernelReason(verdict: Verdict, disk: DiskProgress | undefined): Reason {
  const place = placeOf(verdict.facts)
  if (place === undefined) return unknownWait(verdict, disk)
  if (place.kind !== 'disk') {
    // A slow server looks like one that is gone.
    const isSure = place.kind !== 'server' && (place.isSure || changesFiles.has(String(verdict.facts['syscall'])))
    return { code: codeOfPlace[place.kind], evidence: [], ...(!isSure && { confidence: 'likely' }) }
  }
  const evidence = describeDisk(disk)
  if (disk !== undefined && disk.answered > 0) return { code: 'DISK_BUSY', evidence }
  if (verdict.sinceMs < silentDiskMs) return { code: 'PULL_WAITS', evidence, severity: 'note' }
  if (disk === undefined) return { code: 'DISK_WAIT', evidence, confidence: 'unknown', severity: 'warning' }
  return { code: 'DISK_WAIT', evidence, confidence: 'likely' }
}

function unknownWait({ facts }: Verdict, disk: DiskProgress | undefined): Reason {
  const wchan = facts['wchan']
  const where =
    wchan === undefined ? 'it waits in the kernel; where is not shown' : `it waits in the kernel in ${wchan} (unknown)`
  const isSlow = disk !== undefined && disk.answered > 0
  const evidence = [where, ...describeDisk(disk)]
  return { code: 'KERNEL_WAIT', evidence, confidence: 'unknown', ...(isSlow && { severity: 'note' }) }
}

function describeDisk(disk: DiskProgress | undefined): string[] {
  if (disk === undefined) return ['what the disk below did meanwhile cannot be seen']
  const { name, answered, pending, ms } = disk
  return [
    `the disk below (${name}) answered ${answered.toLocaleString('en-US')} requests in these ${(ms / 1000).toFixed(1)} s, and has ${pending} before it`,
  ]
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
  if (isRemote(recent, look => look.decompressor))
    return { code: 'REMOTE_FILESYSTEM_WAIT', evidence, confidence: 'likely' }
  const isDeadlocked = states.every(({ syscall }) => syscall === 'futex')
  return {
    code: isDeadlocked && states.length > recent.length ? 'DECOMPRESSOR_DEADLOCKED' : 'DECOMPRESSOR_ASLEEP',
    evidence,
  }
}

/** An engine of which threads want to run and that gets next to no processor is not accused. */
function engineReason(code: FindingCode, verdict: Verdict, looks: readonly LineLook[]): Reason | undefined {
  const recent = looksOf(verdict, looks)
  const spent = measureProcessor(recent, engineOf)
  return isRunning(recent, engineOf) && !spent.isMuch ? undefined : { code, evidence: [] }
}

function engineOf({ engine }: LineLook): readonly ProcessLook[] {
  return engine === undefined ? [] : [engine]
}

function untarOf({ untar }: LineLook): readonly ProcessLook[] {
  return untar === undefined ? [] : [untar]
}

/** Found ready to run so often that it has work to do. */
function isRunning(looks: readonly LineLook[], pick: (look: LineLook) => readonly ProcessLook[]): boolean {
  const running = looks.filter(look => pick(look).some(({ tasks }) => tasks.some(({ state }) => state === 'R')))
  return running.length > looks.length / 4
}

/** One and the same thread was ready to run so often: of an engine with much to do it would else be now this one and now that. */
function hasSteadyTask(looks: readonly LineLook[], pick: (look: LineLook) => readonly ProcessLook[]): boolean {
  const seen = new Map<number, number>()
  for (const { tid, state } of looks.flatMap(look => pick(look).flatMap(({ tasks }) => tasks)))
    if (state === 'R') seen.set(tid, (seen.get(tid) ?? 0) + 1)
  return [...seen.values()].some(times => times > looks.length / 4)
}

function unpackReason(verdict: Verdict, looks: readonly LineLook[]): Reason | undefined {
  const recent = looksOf(verdict, looks)
  const own = recent.filter(({ untar }) => untar !== undefined)
  const [seen, worker] = own.length === 0 ? [recent, engineOf] : [own, untarOf]
  if (isRemote(recent, worker)) return { code: 'REMOTE_FILESYSTEM_WAIT', evidence: [], confidence: 'likely' }
  const spent = measureProcessor(seen, worker)
  const isAtWork = isRunning(seen, worker)
  if (isAtWork && !spent.isMuch) return undefined
  if (spent.isSystem && hasSteadyTask(seen, worker))
    return { ...inKernel, evidence: [spent.text, ...inKernel.evidence] }
  if (own.length === 0) return { code: 'ENGINE_DOES_NOT_UNPACK', evidence: [] }
  return { code: 'UNTAR_STUCK', evidence: [...describeThreads(own.flatMap(untarOf).slice(-1)), spent.text] }
}

/** Who removes a directory, as an entry of a layer may ask for, moves no bytes and no entry until all of it is gone. */
const inKernel = {
  code: 'PULL_WAITS',
  severity: 'note',
  confidence: 'unknown',
  evidence: ['it is at work in the kernel: to remove a directory with many files moves no bytes'],
} as const satisfies Reason

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
  return findKernelPlace(wchan)?.kind === 'server'
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
