/** A filesystem of its own, in a file: fresh, bounded in size, and gone with its thousands of inodes in one unlink. */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cacheDirectory } from './cache.ts'
import { run, runScript } from './command.ts'
import { unmountAll } from './mounts.ts'

export interface LoopFilesystem extends AsyncDisposable {
  /** Where it is mounted; an absolute path without symlinks. */
  readonly directory: string
}

export interface LoopOptions {
  /** Default 12 GiB; only what is written takes space. */
  sizeBytes?: number
}

/**
 * Makes and mounts an ext4. Inode tables and journal are initialised lazily, so that this takes milliseconds.
 * A fresh one also keeps measurements honest: ext4 is slow at creating files where many were just deleted.
 */
export async function openLoopFilesystem(options: LoopOptions = {}): Promise<LoopFilesystem> {
  await mkdir(cacheDirectory(), { recursive: true, mode: 0o700 })
  await sweepDead()
  const base = await mkdtemp(join(cacheDirectory(), `loop.${process.pid}.`))
  const [image, directory] = [join(base, 'ext4'), join(base, 'fs')]
  const close = () => remove(base)
  try {
    await writeFile(image, '')
    await truncate(image, options.sizeBytes ?? 12 * 2 ** 30)
    await run('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=1,lazy_journal_init=1', '-i', '8192', image])
    await runScript('mkdir "$2"; mount -o loop "$1" "$2"; rmdir "$2/lost+found"', [image, directory])
  } catch (error) {
    await close()
    throw error
  }
  return { directory, [Symbol.asyncDispose]: close }
}

async function remove(base: string): Promise<void> {
  unmountAll(base)
  await rm(base, { recursive: true, force: true })
}

/** A test process that was killed could not unmount: its number is in the name. */
async function sweepDead(): Promise<void> {
  for (const name of await readdir(cacheDirectory())) {
    const pid = /^loop\.(\d+)\./.exec(name)?.[1]
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) await remove(join(cacheDirectory(), name))
  }
}
