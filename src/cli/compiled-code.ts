/** V8's compiled code, kept between starts: each version of Node has a directory, and each file that was ever run one in it, for ever. This is what keeps that bounded. */
import type { Stats } from 'node:fs'
import { lstat, readdir, rm, unlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'

/** One installation has some 650 files. With more there are several, or what was installed anew elsewhere. */
const filesMax = 4000
/** Left when there were more: so that it is done seldom. */
const filesKept = 2000
/** Of other versions of Node, and with other options of V8. */
const versionsKept = 4
const keptMs = 30 * 24 * 60 * 60_000

/**
 * Removes what nobody has compiled anew for long: whoever still wants it compiles it once more. Nothing is followed that is no directory, and one thing is done after the other, so that a disk that
 * does not answer holds one thread at most. Never throws.
 * @param directory ours
 * @param current where this process keeps its own: elsewhere with NODE_COMPILE_CACHE, beside what other programs have compiled. Then nothing is removed
 */
export async function trimCompiledCode(directory: string, current: string, now = Date.now()): Promise<void> {
  if (dirname(resolve(current)) !== resolve(directory)) return
  try {
    const all = (await listWithFacts(directory)).filter(({ facts }) => facts.isDirectory())
    const others = all.filter(({ name }) => name !== basename(current))
    const isOld = ({ facts }: Listed) => now - facts.mtimeMs > keptMs
    for (const old of [...others.slice(versionsKept), ...others.slice(0, versionsKept).filter(isOld)])
      await rm(join(directory, old.name), { recursive: true, force: true })
    if (all.length > others.length) await trimFiles(current)
  } catch {} // nothing depends on it
}

async function trimFiles(directory: string): Promise<void> {
  if ((await readdir(directory)).length <= filesMax) return
  for (const { name } of (await listWithFacts(directory)).slice(filesKept)) await unlink(join(directory, name))
}

interface Listed {
  readonly name: string
  readonly facts: Stats
}

/** The newest first. */
async function listWithFacts(directory: string): Promise<Listed[]> {
  const listed: Listed[] = []
  for (const name of await readdir(directory)) {
    const facts = await lstat(join(directory, name)).catch(() => undefined) // another process may remove the same
    if (facts !== undefined) listed.push({ name, facts })
  }
  return listed.sort((a, b) => b.facts.mtimeMs - a.facts.mtimeMs)
}
