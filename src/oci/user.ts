import { WindlassError } from '../errors.ts'
import { quote } from './quote.ts'

/** Whom a container runs as, in the container's own numbers. */
export interface ContainerUser {
  readonly uid: number
  readonly gid: number
  readonly additionalGids: readonly number[]
  readonly home: string
}

/** What an image's own /etc/passwd and /etc/group say. */
export interface UserLookup {
  /** By name, or by number where no user has that name. */
  findUser(
    nameOrId: string,
  ): { readonly name: string; readonly uid: number; readonly gid: number; readonly home: string } | undefined
  /** By name, or by number where no group has that name. */
  findGroup(nameOrId: string): number | undefined
  /** The groups that list the user as a member. */
  groupsOf(name: string): readonly number[]
}

/** Docker's bound: beyond it, kernels and tools disagree on the sign. */
const idMax = 2 ** 31 - 1

/**
 * Reads an image's `User` as docker does: `user`, `user:group`, names or numbers. An unknown number stands for itself, with group 0;
 * an explicit group takes the place of all the user's groups. Empty is root.
 * @throws WindlassError FAILED for a name that cannot be found or a number out of range
 */
export function parseUser(text: string, lookup: UserLookup = parseUserFiles({})): ContainerUser {
  const at = text.indexOf(':')
  const [userText, groupText] = at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)]
  const user = lookup.findUser(userText || '0')
  const uid = user?.uid ?? parseId(userText || '0')
  if (uid === undefined) throw unknown('user', userText)
  const home = user?.home || (uid === 0 ? '/root' : '/')
  if (groupText === '') {
    return { uid, gid: user?.gid ?? 0, additionalGids: user === undefined ? [] : lookup.groupsOf(user.name), home }
  }
  const gid = lookup.findGroup(groupText) ?? parseId(groupText)
  if (gid === undefined) throw unknown('group', groupText)
  return { uid, gid, additionalGids: [], home }
}

/**
 * Reads the text of /etc/passwd and /etc/group (passwd(5), group(5)). Lines that are malformed are passed over, and of several with
 * one name the first counts, as in libc.
 */
export function parseUserFiles({ passwd = '', group = '' }: { passwd?: string; group?: string }): UserLookup {
  const users = readLines(passwd).flatMap(([name = '', , uidText = '', gidText = '', , home = '']) => {
    const [uid, gid] = [parseId(uidText), parseId(gidText)]
    return name === '' || uid === undefined || gid === undefined ? [] : [{ name, uid, gid, home }]
  })
  const groups = readLines(group).flatMap(([name = '', , gidText = '', members = '']) => {
    const gid = parseId(gidText)
    return name === '' || gid === undefined ? [] : [{ name, gid, members: members.split(',') }]
  })
  return {
    findUser: key => users.find(user => user.name === key) ?? users.find(user => String(user.uid) === key),
    findGroup: key => (groups.find(({ name }) => name === key) ?? groups.find(({ gid }) => String(gid) === key))?.gid,
    groupsOf: name => [...new Set(groups.filter(({ members }) => members.includes(name)).map(({ gid }) => gid))],
  }
}

function readLines(text: string): string[][] {
  return text.split('\n').map(line => line.trim().split(':'))
}

function parseId(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) && Number(text) <= idMax ? Number(text) : undefined
}

function unknown(kind: 'user' | 'group', text: string): WindlassError {
  const state = `the image has no such ${kind}; a name of its /etc or a number up to ${idMax} is needed`
  return new WindlassError('FAILED', `Cannot run as ${kind} ${quote(text)}: ${state}`)
}
