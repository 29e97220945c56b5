/** Processes whose own memory holds up whoever asks for their command line, as `ps` and `top` do. */
import type { HostView } from '../sys/host-view.ts'
import { readProcess, readTasks } from '../sys/tasks.ts'
import { type Finding, makeFinding } from './finding.ts'

const told = { cmdline: 'command line', environ: 'environment' } as const

export function findSilentProcesses(host: HostView): Finding[] {
  const found = [...host.silent].flatMap(path => {
    const [, pid = '', file = ''] = /^\/proc\/(\d+)\/(cmdline|environ)$/.exec(path) ?? []
    return file === '' ? [] : [{ pid: Number(pid), file: file as keyof typeof told }]
  })
  return [...new Set(found.map(({ pid }) => pid))].flatMap(pid => {
    const process = readProcess(pid, host)
    if (process === undefined) return []
    const files = found.filter(one => one.pid === pid).map(({ file }) => told[file])
    const held = readTasks(pid, host).filter(({ state }) => state === 'D')
    const evidence = [
      `the kernel does not give its ${files.join(', ')}: something that it needs for that does not answer`,
      ...held
        .slice(0, 3)
        .map(
          ({ tid, wchan }) =>
            `its thread ${tid} is held in the kernel (state D), in ${wchan ?? 'a place that is not told'}`,
        ),
    ]
    return [
      makeFinding('PROCESS_MEMORY_HELD', `${process.name} ${pid}`, { evidence, facts: { pid, held: held.length } }),
    ]
  })
}
