/** A pull as a process of its own, which a test can interrupt, outlive and look behind. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { dirname, join } from 'node:path'
import type { PullEvent } from '../../src/copy/events.ts'
import type { PullPatience } from '../../src/copy/pull.ts'
import { waitUntil } from '../testbed/command.ts'
import { windlassProgram } from '../testbed/windlass.ts'

export interface PullOptions {
  readonly root: string
  /** Where it makes temporary files. */
  readonly temporary: string
  /** Default `builtin`. */
  readonly decompressor?: string
  /** A directory whose programs come first. */
  readonly programs?: string
  /** Shorter than the command's own: then the library pulls, in a process of its own. */
  readonly patience?: PullPatience
  /** `--stall-timeout` of the command, in seconds. */
  readonly stallTimeout?: number
  /** `--report` of the command. */
  readonly report?: string
  /** It is killed after this; default a minute. */
  readonly boundMs?: number
}

/** What `pull-child.ts` is told. */
export interface PullOrder {
  readonly reference: string
  readonly root: string
  readonly decompressor: string
  readonly path: string
  readonly patience: PullPatience
}

export interface PullError {
  readonly code: string
  readonly message: string
  readonly hint?: string
  readonly facts: Readonly<Record<string, unknown>>
}

export interface PullEnd {
  readonly status: number | null
  /** SIGKILL if it outlived its bound. */
  readonly signal: NodeJS.Signals | null
  /** What it wrote to stderr besides events: the error, as JSON. */
  readonly text: string
  readonly error: PullError | undefined
  readonly events: readonly PullEvent[]
  readonly tookMs: number
}

export interface PullProcess {
  readonly child: ChildProcess
  /** Events so far. */
  readonly events: readonly PullEvent[]
  readonly ended: Promise<PullEnd>
  /** The error it told, as soon as it has. */
  error(): PullError | undefined
  /** Resolves when an event has come for which `isWanted`, or the process has ended. */
  seen(isWanted: (event: PullEvent) => boolean): Promise<void>
  /** Sends a signal. @returns the end, its time counted from now */
  interrupt(signal?: NodeJS.Signals): Promise<PullEnd>
}

export function startPull(reference: string, options: PullOptions): PullProcess {
  const child = spawnPull(reference, options)
  const startedMs = performance.now()
  const output = followOutput(child)
  let hasEnded = false
  const ended = waitForEnd(child, options.boundMs ?? 60_000).then(end => {
    hasEnded = true
    return {
      ...end,
      events: output.events,
      text: output.text(),
      error: output.error(),
      tookMs: performance.now() - startedMs,
    }
  })
  return {
    child,
    events: output.events,
    error: output.error,
    ended,
    seen: isWanted => waitUntil('the event', 60_000, () => hasEnded || output.events.some(isWanted)),
    async interrupt(signal = 'SIGINT') {
      const sentMs = performance.now()
      child.kill(signal)
      return { ...(await ended), tookMs: performance.now() - sentMs }
    },
  }
}

/** Runs a pull to its end. */
export function runPull(reference: string, options: PullOptions): Promise<PullEnd> {
  return startPull(reference, options).ended
}

function spawnPull(reference: string, options: PullOptions): ChildProcess {
  const { root, temporary, decompressor = 'builtin', programs, patience } = options
  const path = [...(programs === undefined ? [] : [programs]), process.env['PATH']].join(':')
  const env = { PATH: path, HOME: dirname(temporary), TMPDIR: temporary, DOCKER_CONFIG: temporary }
  const stdio = ['ignore', 'pipe', 'pipe'] as const
  if (patience !== undefined) {
    const order: PullOrder = { reference, root, decompressor, path, patience }
    return spawn(process.execPath, [join(import.meta.dirname, 'pull-child.ts'), JSON.stringify(order)], {
      env,
      stdio: [...stdio],
    })
  }
  const args = ['--root', root, '--progress', 'json', 'pull', '--platform', 'linux/amd64']
  if (options.stallTimeout !== undefined) args.push('--stall-timeout', String(options.stallTimeout))
  if (options.report !== undefined) args.push('--report', options.report)
  return spawn(windlassProgram, [...args, '--decompressor', decompressor, reference], { env, stdio: [...stdio] })
}

function followOutput(child: ChildProcess): {
  events: PullEvent[]
  text: () => string
  error: () => PullError | undefined
} {
  const events: PullEvent[] = []
  const text: string[] = []
  let rest = ''
  child.stdout?.resume()
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line.startsWith('{"type"')) events.push(JSON.parse(line) as PullEvent)
      else text.push(line)
    }
  })
  const told = (): PullError[] =>
    text.filter(line => line.startsWith('{"error"')).map(line => (JSON.parse(line) as { error: PullError }).error)
  return { events, text: () => [...text, rest].join('\n'), error: () => told()[0] }
}

/** Does not wait for a killed process: one in state D goes only when its disk lets it. */
async function waitForEnd(child: ChildProcess, boundMs: number): Promise<Pick<PullEnd, 'status' | 'signal'>> {
  const late = Promise.withResolvers<Pick<PullEnd, 'status' | 'signal'>>()
  const timer = setTimeout(() => {
    child.kill('SIGKILL')
    late.resolve({ status: null, signal: 'SIGKILL' })
  }, boundMs)
  const closed = once(child, 'close').then(([status, signal]) => ({ status, signal }))
  try {
    return await Promise.race([closed, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
