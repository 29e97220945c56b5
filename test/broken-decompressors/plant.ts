import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Every way in which `broken.ts` can fail. */
export const faults = [
  'spin',
  'sleep',
  'stop-reading',
  'close-stdout-and-exit',
  'close-stdout-and-live',
  'flip',
  'flip-and-sleep',
  'ignore-sigterm',
  'leave-a-child',
  'fail-with-a-child',
  'dribble',
  'die-by-signal',
  'flood-stderr',
  'stop-itself',
] as const
export type Fault = (typeof faults)[number]

/**
 * Puts a broken decompressor into a directory, under a name that docker and containerd look for, and returns its path.
 * @param log a file to which it adds the ID of its process when it is started, and those of children that it leaves
 */
export async function plantBroken(directory: string, fault: Fault, name = 'unpigz', log?: string): Promise<string> {
  const path = join(directory, name)
  const program = join(import.meta.dirname, 'broken.ts')
  await rm(path, { force: true }) // a link there may lead to the host's own decompressor, which is not ours to write to
  const tell = log === undefined ? '' : `echo $$ >>'${log}'; export WINDLASS_STARTED='${log}'\n`
  await writeFile(path, `#!/bin/sh\n${tell}exec '${process.execPath}' '${program}' ${fault} "$@"\n`, { mode: 0o755 })
  return path
}
