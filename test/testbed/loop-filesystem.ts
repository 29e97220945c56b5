/** A filesystem of its own, in a file: fresh, bounded in size, and gone with its thousands of inodes in one unlink. */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, rmdir, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cacheDirectory } from './cache.ts'
import { run, runScript } from './command.ts'
import { unmountAll } from './mounts.ts'

export interface LoopFilesystem extends AsyncDisposable {
  /** Where it is mounted; an absolute path without symlinks. */
  readonly directory: string
  /** The file that it lies in: what has come to the disk. */
  readonly image: string
}

export interface LoopOptions {
  /** Where the file is made; default the cache directory. */
  place?: string
  /** Default 12 GiB; only what is written takes space. */
  sizeBytes?: number
  /** Write nothing to the disk but what is synced, at least for the first minutes. */
  isLazy?: boolean
  /** Of ext4, mkfs.ext4(8): `^filetype` for entries without types. */
  features?: string
}

/**
 * Makes and mounts an ext4. Inode tables and journal are initialised lazily, so that this takes milliseconds.
 * A fresh one also keeps measurements honest: ext4 is slow at creating files where many were just deleted.
 */
export async function openLoopFilesystem(options: LoopOptions = {}): Promise<LoopFilesystem> {
  await mkdir(cacheDirectory(), { recursive: true, mode: 0o700 })
  await sweepDead()
  const base = await mkdtemp(join(cacheDirectory(), `loop.${process.pid}.`))
  const [image, directory] = [join(options.place ?? base, 'ext4'), join(base, 'fs')]
  const close = () => remove(base)
  try {
    await writeFile(image, '')
    await truncate(image, options.sizeBytes ?? 12 * 2 ** 30)
    const lazy = options.isLazy ? 0 : 1 // a kernel thread writes the tables later
    const features = `lazy_itable_init=${lazy},lazy_journal_init=${lazy}`
    const own = options.features === undefined ? [] : ['-O', options.features]
    await run('mkfs.ext4', ['-q', '-F', '-E', features, '-i', '8192', ...own, image])
    await mountLoop(image, directory, options.isLazy ? 'loop,commit=3600' : 'loop')
    await rmdir(join(directory, 'lost+found'))
  } catch (error) {
    await close()
    throw error
  }
  return { directory, image, [Symbol.asyncDispose]: close }
}

async function mountLoop(image: string, directory: string, options: string): Promise<void> {
  await runScript('mkdir "$2"; mount -o "$3" "$1" "$2"', [image, directory, options])
}

/** The filesystem as it would be found if the power went now: what has come to the disk, and its journal replayed. */
export async function openAfterPowerLoss({ image }: LoopFilesystem): Promise<LoopFilesystem> {
  const base = await mkdtemp(join(cacheDirectory(), `loop.${process.pid}.`))
  const [copy, directory] = [join(base, 'ext4'), join(base, 'fs')]
  const close = () => remove(base)
  try {
    await copyAtOnce(image, copy)
    await mountLoop(copy, directory, 'loop')
  } catch (error) {
    await close()
    throw error
  }
  return { directory, image: copy, [Symbol.asyncDispose]: close }
}

/** Again, if the kernel wrote to it meanwhile: such a copy is nothing that ever was. */
async function copyAtOnce(file: string, copy: string): Promise<void> {
  for (let tries = 0; tries < 20; tries++) {
    const before = await stat(file, { bigint: true })
    await run('cp', ['--sparse=always', file, copy])
    if ((await stat(file, { bigint: true })).mtimeNs === before.mtimeNs) return
  }
  throw new Error(`${file} is written to all the time`)
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
