/** Processes that hold up whoever asks the kernel about them, as `ps` and `top` do. */
import type { HostView } from '../sys/host-view.ts'
import { isHeld, readProcess, readTasks } from '../sys/tasks.ts'
import { type Finding, makeFinding } from './finding.ts'

const told = {
  cmdline: 'command line',
  environ: 'environment',
  io: 'counts of bytes',
  syscall: 'system calls',
  wchan: 'place in the kernel',
  stat: 'state',
  fd: 'open files',
} as const

export function findSilentProcesses(host: HostView): Finding[] {
  const found = [...host.silent].flatMap(path => {
    const [, pid = '', file = ''] =
      /^\/proc\/(\d+)\/(?:task\/\d+\/)?(cmdline|environ|io|syscall|wchan|stat|fd)$/.exec(path) ?? []
    return file === '' ? [] : [{ pid: Number(pid), file: file as keyof typeof told }]
  })
  return [...new Set(found.map(({ pid }) => pid))].flatMap(pid => {
    const process = readProcess(pid, host)
    if (process === undefined) return []
    const files = new Set(found.filter(one => one.pid === pid).map(({ file }) => told[file]))
    const held = readTasks(pid, host).filter(isHeld)
    const evidence = [
      `the kernel does not give its ${[...files].join(', ')}: something that it needs for that does not answer`,
      ...held
        .slice(0, 3)
        .map(
          ({ tid, state, wchan }) =>
            `its thread ${tid} is held in the kernel (state ${state}), in ${wchan ?? 'a place that is not told'}`,
        ),
    ]
    return [
      makeFinding('PROCESS_MEMORY_HELD', `${process.name} ${pid}`, { evidence, facts: { pid, held: held.length } }),
    ]
  })
}
