/** Whether the kernel's count of what a process wrote is what it gave to its output, and nothing else. */
import { basename, dirname, isAbsolute } from 'node:path'
import type { HostView } from '../../sys/host-view.ts'
import { startOf } from '../../sys/process-age.ts'
import { readArguments } from '../../sys/process-files.ts'
import { findProgram } from '../engines.ts'
import { filters, type Subject } from './subject.ts'

/** The clock of files goes in steps, and when a process was started is known to some hundredths of a second. */
const clocksDifferMs = 1000

/**
 * The count goes on over exec: a script that has written to a log, and then became the decompressor, is not seen in what is open now. So the program must be the one that the engine itself started, with the
 * arguments that engines give, and nothing on the way to it may have changed since. What such a program complains of, it ends with.
 */
export async function writesOutputAlone(
  host: HostView,
  { line, waited, writer, mayComplain }: Subject,
): Promise<boolean> {
  const { pid, startTicks } = writer
  const [path = '', ...args] = readArguments(host, pid)
  const isCalledByEngine = isAbsolute(path) && filters.has(basename(path)) && args.every(arg => /^-[dcq]+$/.test(arg))
  if (mayComplain || !isCalledByEngine || waited.pid !== pid || line.decompressor.length !== 1) return false
  const { engine } = line
  if ((await findProgram(host, engine, basename(path))) !== path) return false
  const [program, file] = await Promise.all(
    [`/proc/${pid}/exe`, engine.rootPrefix + path].map(path => host.disk.file(path)),
  )
  const isSame = program?.inode !== undefined && program.inode === file?.inode && program.ctimeMs === file.ctimeMs
  const searched = (engine.environment?.get('PATH') ?? '').split(':').filter(isAbsolute)
  const at = searched.indexOf(dirname(path))
  if (at < 0) return false
  const upTo = searched.slice(0, at + 1)
  const directories = await Promise.all(upTo.map(directory => host.disk.file(engine.rootPrefix + directory)))
  const started = startOf(host, startTicks)
  return (
    isSame &&
    [program, ...directories].every(one => one === undefined || (one.ctimeMs ?? Number.NaN) < started - clocksDifferMs)
  )
}
