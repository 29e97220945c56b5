import { type ErrorCode, WindlassError } from '../../errors.ts'
import type { PipedFacts } from '../../sys/processes.ts'
import type { TaskFacts } from '../../sys/tasks.ts'
import type { ExternalProgram } from './programs.ts'

/** How an external program misbehaved. */
export type ProgramFault =
  /** No output, with input and room for it. */
  | 'stalled'
  /** Hardly any output, with input and room for it. */
  | 'dribbling'
  /** It ended its output, or its life, before it had read its input. */
  | 'early'
  /** It ended its output, and lives on. */
  | 'lingering'
  /** It ended by a signal. */
  | 'died'
  /** It ended with another status than 0. */
  | 'failed'
  /** It gives out more than any data of that size could hold: it, or the data, knows no end. */
  | 'runaway'
  /** It could not be started. */
  | 'unavailable'

const codes: Readonly<Record<ProgramFault, ErrorCode>> = {
  stalled: 'STALLED',
  dribbling: 'STALLED',
  lingering: 'STALLED',
  early: 'CORRUPT',
  failed: 'CORRUPT', // most often the data's fault: the program says so
  died: 'FAILED',
  runaway: 'LIMIT_EXCEEDED',
  unavailable: 'FAILED',
}

const failures = new WeakMap<WindlassError, ProgramFault>()

/** An error for which the program is to blame, or at least the last one to have touched the data. */
export function programFailure(
  fault: ProgramFault,
  program: ExternalProgram,
  text: string,
  { facts, stderr = '', cause }: { facts?: PipedFacts | undefined; stderr?: string; cause?: unknown } = {},
): WindlassError {
  const complaint = firstLine(stderr)
  const said = complaint === '' ? '' : `; it says: ${complaint}`
  const error = new WindlassError(codes[fault], `Cannot decompress with ${program.path}: ${text}${said}`, {
    cause,
    facts: { fault, decompressor: program.name, path: program.path, ...flatten(facts), stderr: complaint },
  })
  failures.set(error, fault)
  return error
}

/** What the program did wrong, or undefined for an error that is not the program's: of the source, of the data's size, or a cancellation. */
export function programFault(error: unknown): ProgramFault | undefined {
  return error instanceof WindlassError ? failures.get(error) : undefined
}

/** In words: `state S in pipe_read, 0.12 s of processor time`. */
export function describeProcess({ program, tasks }: PipedFacts): string {
  if (program === undefined) return 'its process is gone'
  const { state, wchan, cpuTicks } = program
  const threads = tasks.length > 1 ? `, ${tasks.length} threads (${describeTasks(tasks)})` : ''
  return `state ${state}${wchan ? ` in ${wchan}` : ''}, ${cpuTicks / 100} s of processor time${threads}`
}

/** `R, 3 x S futex_wait` */
function describeTasks(tasks: readonly TaskFacts[]): string {
  const counts = new Map<string, number>()
  for (const task of tasks) counts.set(describeTask(task), (counts.get(describeTask(task)) ?? 0) + 1)
  return [...counts].map(([text, count]) => (count === 1 ? text : `${count} x ${text}`)).join(', ')
}

function describeTask({ state, wchan }: TaskFacts): string {
  return wchan === undefined ? state : `${state} ${wchan}`
}

function flatten(facts: PipedFacts | undefined): Record<string, string | number> {
  if (facts === undefined) return {}
  const { program, tasks, ...pipes } = facts
  if (program === undefined) return pipes
  const { state, cpuTicks } = program
  return { ...pipes, state, cpuTicks, tasks: describeTasks(tasks) }
}

/** The first line that says something, printable and short: a program's complaint may hold anything. */
function firstLine(text: string): string {
  const line = text.split('\n').find(one => one.trim() !== '') ?? ''
  return line
    .replace(/[^\x20-\x7e]/g, '?')
    .trim()
    .slice(0, 200)
}
