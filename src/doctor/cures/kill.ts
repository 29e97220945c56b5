/** Ends one stuck decompressor: every pull that waits for it gets an error and is free. Only when the next pull will not meet the same program. */
import { WindlassError, wrapError } from '../../errors.ts'
import { HeldProcess } from '../../sys/held-process.ts'
import type { HostView } from '../../sys/host-view.ts'
import { readProcess } from '../../sys/tasks.ts'
import { askEngines, type Engine } from '../engines.ts'
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
        hint: 'put a workaround in place first: windlass doctor --fixes lists them; or rescue the pull: windlass doctor --rescue',
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

/** The engine decompresses by itself, or with what we have put in the place of its decompressors. */
async function hasWorkaround(host: HostView, { decompressors, rootPrefix }: Engine): Promise<boolean> {
  const used = decompressors.filter(({ use }) => use !== 'disabled' && use !== 'not-found')
  const shims = await Promise.all(used.map(({ path = '' }) => isShim(host, rootPrefix + path)))
  return shims.every(Boolean)
}
