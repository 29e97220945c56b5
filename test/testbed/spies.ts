/** Decompressors that hang, and tell that they were started. */
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface Spies extends Disposable {
  /** To be put first on a PATH. */
  readonly directory: string
  /** The processes that were started so far. */
  started(): Promise<number[]>
}

/** Plants programs of these names that read a little and then sleep for ever. Dispose ends those that were started. */
export async function plantSpies(directory: string, names: readonly string[]): Promise<Spies> {
  await mkdir(directory, { recursive: true })
  const log = join(directory, 'started')
  await writeFile(log, '')
  const asleep = join(directory, 'asleep')
  await mkdir(asleep, { recursive: true })
  for (const name of names) {
    const path = join(directory, name)
    // Under the name that a decompressor has, since that is what it is found by.
    await symlink('/bin/sleep', join(asleep, name))
    await writeFile(path, `#!/bin/sh\necho $$ >>'${log}'\nexec '${join(asleep, name)}' 100000\n`)
    await chmod(path, 0o755)
  }
  const started = async () => (await readFile(log, 'utf8')).split('\n').filter(Boolean).map(Number)
  const pids: number[] = []
  const timer = setInterval(() => void started().then(found => pids.splice(0, pids.length, ...found)), 200)
  return {
    directory,
    started,
    [Symbol.dispose]: () => {
      clearInterval(timer)
      for (const pid of pids) {
        try {
          process.kill(pid, 'SIGKILL')
        } catch {} // it has ended
      }
    },
  }
}
