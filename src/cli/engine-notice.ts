import type { KernelFacts } from '../flow/stage.ts'
import type { Context } from './command.ts'
import { writeWarning } from './output.ts'

/** Tells what the process does that listens on this socket, as far as that can be seen from here. */
export async function openEngineTask(socket: string): Promise<() => KernelFacts | undefined> {
  const [{ findProcessOf }, { LiveHost }, { readTask }] = await Promise.all([
    import('../doctor/pulls-of-socket.ts'),
    import('../sys/host-view.ts'),
    import('../sys/tasks.ts'),
  ])
  let pid: number | undefined
  return () => {
    pid ??= findProcessOf(new LiveHost(), socket)
    return pid === undefined ? undefined : readTask(pid)
  }
}

/** Looks at the engine on this socket meanwhile; whoever awaits it is told what holds up its own pulls. Never fails. */
export async function watchEngine(socket: string, signal: AbortSignal): Promise<(context: Context) => void> {
  try {
    const { examinePullsOf } = await import('../doctor/pulls-of-socket.ts')
    const { catalogue } = await import('../doctor/catalogue.ts')
    const { LiveHost } = await import('../sys/host-view.ts')
    const findings = await examinePullsOf(new LiveHost(), socket, signal)
    return context => {
      for (const { code, subject, evidence } of findings) {
        const [first] = evidence
        const about = `${subject}: ${catalogue[code].en.title}${first === undefined ? '' : ` (${first})`}`
        writeWarning(
          context,
          `a pull of the engine's own hangs and will go on to hang. ${about}; 'windlass doctor' says what to do`,
        )
      }
    }
  } catch {
    return () => {} // what could not be seen is no reason to fail
  }
}
