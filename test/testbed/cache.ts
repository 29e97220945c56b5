/** What is expensive to make and never changes is made once per machine, outside the repository. */
import { hash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { tryLockByte } from '../../src/sys/libc.ts'
import { waitUntil } from './command.ts'

/** Ten minutes: another test process may be building the same with a slow mirror. */
const buildMs = 600_000

/** `WINDLASS_TESTBED`, else a directory that survives a reboot and is no tmpfs: images are unpacked here. */
export function cacheDirectory(): string {
  return process.env['WINDLASS_TESTBED'] ?? '/var/tmp/windlass-testbed'
}

/**
 * The directory that `build` fills, made anew whenever the text of one of the `recipes` (module URLs) changes.
 * One process builds, the others wait for it; what a killed one left behind is thrown away.
 */
export async function cached(
  name: string,
  recipes: readonly string[],
  build: (directory: string) => Promise<void>,
): Promise<string> {
  const texts = await Promise.all(recipes.map(url => readFile(new URL(url), 'utf8')))
  const place = join(cacheDirectory(), `${name}-${hash('sha256', texts.join('\0')).slice(0, 16)}`)
  if (existsSync(place)) return place
  await mkdir(cacheDirectory(), { recursive: true, mode: 0o700 })
  await using lock = await open(join(cacheDirectory(), `${name}.lock`), 'w')
  await waitUntil(`the lock for ${name}`, buildMs, () => tryLockByte(lock.fd, 0, 'exclusive'))
  if (existsSync(place)) return place
  await removeOthers(name)
  const unfinished = `${place}.tmp`
  await mkdir(unfinished)
  await build(unfinished)
  await rename(unfinished, place)
  return place
}

async function removeOthers(name: string): Promise<void> {
  for (const entry of await readdir(cacheDirectory())) {
    if (entry.startsWith(`${name}-`)) await rm(join(cacheDirectory(), entry), { recursive: true, force: true })
  }
}
