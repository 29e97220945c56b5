/** What `blame` found, in sentences for people and in facts for programs. */
import { findKernelPlace } from './kernel-places.ts'
import { carriesBytes, type StageFacts } from './stage.ts'

/** The time up to now in which a stage was free and did not move. */
export interface Stretch {
  readonly ms: number
  readonly last: StageFacts
  /** Letters of its task's states, one per sample that has one. */
  readonly states: string
  /** The oldest sample that has a task, and how long ago it was: tasks are looked at only once something stands still. */
  readonly witness: { readonly cpuTicks: number | undefined; readonly ms: number }
}

/** Why a stage that stands still is the guilty one. */
export function stuckEvidence(stretch: Stretch, stages: readonly StageFacts[], at: number): string[] {
  const { last, ms } = stretch
  return [
    `${describe(last)} has moved nothing for ${seconds(ms)}, although it ${freedomOf(last)}`,
    ...taskEvidence(stretch),
    ...itemEvidence(last),
    ...processorEvidence(stretch),
    ...neighbourEvidence(stages, at),
  ]
}

export interface Speed {
  /** Time in which the stage was free, and what it moved in it. */
  readonly freeMs: number
  readonly bytes: number
  readonly bytesPerSecond: number
  readonly bytesPerSecondMin: number
}

/** Why a stage that moves is too slow. */
export function speedEvidence(speed: Speed, stages: readonly StageFacts[], at: number): string[] {
  const stage = stages[at]
  if (stage === undefined) return []
  const { freeMs, bytes, bytesPerSecond, bytesPerSecondMin } = speed
  const moved = `${describe(stage)} moved ${count(bytes)} bytes in ${seconds(freeMs)} in which it ${freedomOf(stage)}`
  return [
    `${moved}: ${count(bytesPerSecond)} bytes/s; wanted at least ${count(bytesPerSecondMin)}`,
    ...itemEvidence(stage),
    ...neighbourEvidence(stages, at),
  ]
}

/** What all stages wait for, where nothing moves; `sleeper` is the one that should not. */
export function standstillEvidence(
  ms: number,
  stages: readonly StageFacts[],
  sleeper: StageFacts | undefined,
): string[] {
  const first =
    sleeper === undefined
      ? `nothing has moved for ${seconds(ms)}, and nobody is found who could have`
      : `${describe(sleeper)} has waited for input for ${seconds(ms)}, although it ${freedomOf(sleeper)}`
  return [first, ...stages.map(stage => `${describe(stage)} ${waitingOf(stage)}`)]
}

function describe({ name, item, kind }: StageFacts): string {
  return item === undefined || item === '' || kind === 'unpack' ? name : `${name} (${item})`
}

/** What makes a stage free, in words. */
function freedomOf(stage: StageFacts): string {
  if (stage.kind === 'source') return 'is asked for more'
  if (stage.kind === 'lock') return 'is waited for'
  if (!carriesBytes(stage.kind)) return 'waits for nobody else'
  const input = inputOf(stage)
  const room =
    stage.outputRoom === undefined ? 'nothing holds back its output' : `has room for ${count(stage.outputRoom)}`
  return `${input} and ${room}`
}

function inputOf(stage: StageFacts): string {
  if (stage.inputBytes !== undefined && stage.inputBytes > 0) return `has ${count(stage.inputBytes)} bytes of input`
  if (stage.inputEnded) return 'has all its input'
  return stage.waits === 'itself' || stage.task?.state === 'D' ? 'is at work' : 'is handed more'
}

function taskEvidence({ last }: Stretch): string[] {
  const { task } = last
  if (task === undefined) return []
  const details = [describeState(task.state)]
  if (task.wchan !== undefined) details.push(`in ${task.wchan}`)
  if (task.syscall !== undefined) details.push(`system call ${task.syscall}`)
  const place = findKernelPlace(task.wchan)
  const words = place === undefined ? [] : [`there it waits ${place.waitsFor}`]
  return [`its task is in state ${details.join(', ')}`, ...words]
}

/** Whoever is runnable all the time and gets little of the processor has to share it. */
function processorEvidence({ last, states, witness: { cpuTicks: before, ms } }: Stretch): string[] {
  const after = last.task?.cpuTicks
  if (before === undefined || after === undefined || after < before || ms < witnessMsMin) return []
  const usedMs = (after - before) * 10
  const text = `it used ${seconds(usedMs)} of processor time in the last ${seconds(ms)}`
  if (usedMs < ms / 20) return [`${text}: it does not compute`]
  return [usedMs > ms / 2 || isMostly(states, 'R') ? `${text}: it spins` : text]
}

/** Of nearly all samples: those before something happened, and between two waits of one sleep, may say otherwise. */
export function isMostly(states: string, state: string): boolean {
  return (states.split(state).length - 1) * 10 >= states.length * 9
}

/** Processor time comes in ticks of 10 ms. */
const witnessMsMin = 200

const stateNames: Readonly<Record<string, string>> = {
  R: 'R (running)',
  S: 'S (asleep)',
  D: 'D (asleep in the kernel, out of reach of signals)',
  T: 'T (stopped by a signal)',
  t: 't (stopped by a tracer)',
  Z: 'Z (dead, not waited for)',
}

/** `T (stopped by a signal)`. */
export function describeState(state: string): string {
  return stateNames[state] ?? state
}

function itemEvidence({ kind, item, last }: StageFacts): string[] {
  const lines = []
  if (item !== undefined && item !== '' && kind === 'unpack') lines.push(`it works on entry ${item}`)
  if (last !== undefined && last !== '') lines.push(`the last thing it did: ${last}`)
  return lines
}

/** That the stages around it wait for it: what makes the difference between the guilty one and its victims. */
function neighbourEvidence(stages: readonly StageFacts[], at: number): string[] {
  return [stages[at - 1], stages[at + 1]]
    .filter(stage => stage !== undefined)
    .filter(({ kind, waits }) => carriesBytes(kind) && (waits === 'input' || waits === 'output'))
    .map(stage => `${describe(stage)} ${waitingOf(stage)}`)
}

function waitingOf({ waits }: StageFacts): string {
  if (waits === 'output') return 'waits for room'
  if (waits === 'input') return 'waits for input'
  if (waits === 'itself') return 'works or pauses by itself'
  return waits === 'nobody' ? 'has nothing to do' : 'does not tell what it waits for'
}

/** The facts of a stage that are known. */
export function plainFacts(stage: StageFacts): Record<string, string | number | boolean> {
  const { kind, bytesIn, bytesOut, units, inputBytes, outputRoom, item, last, task } = stage
  const all = { stage: kind, bytesIn, bytesOut, units, inputBytes, outputRoom, item, last }
  const known = Object.entries({ ...all, state: task?.state, wchan: task?.wchan, syscall: task?.syscall })
  return Object.fromEntries(known.filter((fact): fact is [string, string | number] => fact[1] !== undefined))
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}

function count(value: number): string {
  return value.toLocaleString('en-US')
}
