/** Whether somebody else may have put there what stands at a path, or may replace it: what is run with our rights must be root's, or our own. */
import { constants } from 'node:fs'
import { lstat, readlink } from 'node:fs/promises'
import { join } from 'node:path'

/** What makes a path a stranger's. */
export interface Stranger {
  /** The part of the path. */
  readonly place: string
  /** Whose it is. */
  readonly uid: number
  /** It is ours or root's, and others may write to it. */
  readonly isOpen: boolean
}

/** As many as the kernel follows. */
const linksMax = 40
const writableByOthers = constants.S_IWGRP | constants.S_IWOTH
const sticky = 0o1000

/**
 * Looks at the root, each directory on the way, each symlink, and what is at the end. A directory like /tmp, where nobody can take away what is another's, may be written to by all.
 * Who an access list lets write is in the bits of the group.
 * @returns undefined if all of it belongs to root or to us, and nobody else may write to it. @throws what lstat(2) says, and ELOOP
 */
export async function findStranger(path: string, own = process.geteuid?.()): Promise<Stranger | undefined> {
  const done = ['/']
  const rest = path.split('/')
  for (let links = 0; ; ) {
    const place = join(...done)
    const facts = await lstat(place)
    const stranger = judgeOwner(place, facts, own)
    if (stranger !== undefined) return stranger
    if (facts.isSymbolicLink()) {
      links += 1
      if (links > linksMax) throw Object.assign(new Error(`ELOOP: ${path}`), { code: 'ELOOP' })
      const target = await readlink(place)
      rest.unshift(...target.split('/'))
      done.splice(target.startsWith('/') ? 1 : -1)
    }
    const next = nextOf(rest)
    if (next === undefined) return undefined
    if (next !== '..') done.push(next)
    else if (done.length > 1) done.pop()
  }
}

function nextOf(rest: string[]): string | undefined {
  for (let name = rest.shift(); name !== undefined; name = rest.shift()) if (name !== '' && name !== '.') return name
  return undefined
}

/** The same of what stands at a place alone, by its mode with the bits of its type. */
export function judgeOwner(
  place: string,
  { uid, mode }: { readonly uid: number; readonly mode: number },
  own = process.geteuid?.(),
): Stranger | undefined {
  if (uid !== 0 && uid !== own) return { place, uid, isOpen: false }
  const type = mode & constants.S_IFMT
  // Of a link nobody can change where it leads; who may write to a socket may talk to whoever listens.
  const isWritten = type === constants.S_IFDIR ? (mode & sticky) === 0 : type === constants.S_IFREG
  return isWritten && (mode & writableByOthers) !== 0 ? { place, uid, isOpen: true } : undefined
}
