/** Ends one stuck decompressor: every pull that waits for it gets an error and is free. Only when the next pull will not meet the same program. */
import { WindlassError, wrapError } from '../../errors.ts'
import { HeldProcess } from '../../sys/held-process.ts'
import type { HostView } from '../../sys/host-view.ts'
import { readProcess } from '../../sys/tasks.ts'
import { startOf } from '../checks/process-age.ts'
import { askEngines, type Engine, remembersDecompressor } from '../engines.ts'
import { findStuck } from '../rescue/find-stuck.ts'
import { nameOf } from './cure.ts'
import { Journal } from './journal.ts'
import { isShim } from './shim-file.ts'

export interface KillPlan {
  readonly lines: readonly string[]
  carryOut(): Promise<{ readonly isProven: boolean; readonly message: string }>
}

interface KillOptions {
  readonly signal: AbortSignal
  /** Where the journals are. */
  readonly directory: string
}

/** @throws WindlassError NOT_FOUND if it is no decompressor of an engine; FAILED if no workaround is in place */
export async function killStuck(host: HostView, pid: number, { signal, directory }: KillOptions): Promise<KillPlan> {
  const { stuck } = await findStuck(host, { signal, pid })
  const [one] = stuck
  if (one === undefined)
    throw new WindlassError('NOT_FOUND', `Cannot end process ${pid}: it is no decompressor of an engine`, {
      hint: 'windlass doctor names the one that is stuck',
    })
  const { engine: found, program, decompressor } = one.line
  const [engine] = await askEngines(host, [found])
  if (engine === undefined || !(await hasWorkaround(host, engine)))
    throw new WindlassError(
      'FAILED',
      `Cannot end ${program} ${pid}: the next pull would start the same program and hang again`,
      {
        hint: 'put a workaround in place first, and restart the engine if it takes effect only then: windlass doctor --fixes lists them; or rescue the pull: windlass doctor --rescue',
      },
    )
  const lines = [
    `kill-${pid}: end ${program} ${pid} of ${nameOf(found)} with SIGKILL`,
    '  reaches  every pull that waits for this layer gets an error (unexpected EOF) and is free; what was downloaded of it may be lost',
    '  undo     there is none; pull again',
  ]
  return {
    lines,
    carryOut: async () => {
      using journal = new Journal(directory, 'kill')
      journal.write('begin', {
        kind: 'kill',
        processes: decompressor.map(({ pid, startTicks }) => ({ pid, startTicks })),
      })
      for (const { pid, startTicks } of decompressor) {
        try {
          using held = await HeldProcess.hold(pid, startTicks)
          await held.kill()
        } catch (error) {
          throw wrapError(error, `Cannot end process ${pid}`)
        }
      }
      journal.write('killed')
      const isGone = decompressor.every(({ pid, startTicks }) => readProcess(pid)?.startTicks !== startTicks)
      return {
        isProven: isGone,
        message: isGone ? 'it has ended; pull again' : 'the kernel holds it: it has not ended',
      }
    },
  }
}

/** What the start of a process may be wrong by. */
const startErrorMs = 50

/**
 * The engine decompresses by itself, or with what we have put in the place of its decompressors: before it was started, if it is one that remembers where it
 * found them.
 */
export async function hasWorkaround(host: HostView, engine: Engine): Promise<boolean> {
  const used = engine.decompressors.filter(({ use }) => use !== 'disabled' && use !== 'not-found')
  const startedMs = startOf(host, engine.process.startTicks) - startErrorMs
  const shims = await Promise.all(
    used.map(async ({ path = '' }) => {
      const place = engine.rootPrefix + path
      if (!(await isShim(host, place))) return false
      const { ctimeMs } = (await host.disk.file(place)) ?? {}
      return !remembersDecompressor(engine) || (ctimeMs !== undefined && ctimeMs < startedMs)
    }),
  )
  return shims.every(Boolean)
}
