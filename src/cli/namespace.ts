import { isWindlassError, WindlassError } from '../errors.ts'
import type { Context } from './command.ts'
import { writeWarning } from './output.ts'

/** Set for the program in the namespace that was made for it: whose it is. Commands in a shell of `windlass unshare` inherit it. */
const userVariable = 'WINDLASS_USER'
/** Set if the namespace, with all that is mounted in it, is gone when the command ends. */
const ownVariable = 'WINDLASS_NAMESPACE'

/** Set for what runs in `windlass unshare`: the lease under which it mounts images. */
const leaseVariable = 'WINDLASS_LEASE'

/** The user that the command works for: root of a namespace that windlass made is still that user. */
export function readUser(env: Context['env'], uid: number): number {
  const user = env[userVariable]
  return uid === 0 && user !== undefined && /^\d+$/.test(user) ? Number(user) : uid
}

/** True if windlass has made the namespace for this command alone. */
export function isInOwnNamespace(env: Context['env']): boolean {
  return env[ownVariable] === '1'
}

/** What the program in the namespace must know beside the arguments. */
export interface Again {
  readonly uid: number
  readonly gid: number
  readonly front: number | undefined
  readonly makesOwners: boolean
  /** The command line that this process was started with. */
  readonly command: readonly string[]
}

/**
 * Starts this program anew in a user namespace, in which the user is root; in the place of this process.
 * @throws WindlassError PERMISSION that says why there is none
 */
export async function enterNamespace(
  context: Context,
  { uid, gid, front, makesOwners, command }: Again,
): Promise<never> {
  const { execInNamespace, openUserNamespace, readOrdinary } = await import('../sys/user-namespace.ts')
  const { env } = context
  const namespace = await openUserNamespace(await readOrdinary(uid, gid), env['PATH'] ?? '')
  if (namespace.singleReason !== undefined && makesOwners) {
    const outcome = 'files of all owners will belong to the user'
    writeWarning(context, `No subordinate user IDs: ${namespace.singleReason}; ${outcome}`)
  }
  const inside = {
    ...env,
    [userVariable]: String(uid),
    [ownVariable]: '1',
    WINDLASS_FRONT: front === undefined ? undefined : String(front),
  }
  return await execInNamespace(namespace, command, inside)
}

/** Replaces this process by a program of the user's; what it mounts stays as long as it lives. */
export async function runInNamespace(context: Context, command: readonly string[]): Promise<never> {
  const { execProgram } = await import('../sys/user-namespace.ts')
  const lease = await openLease(context)
  return execProgram(command, { ...context.env, [ownVariable]: undefined, [leaseVariable]: lease })
}

/** Other commands do not see what is mounted in the namespace, and must not take it away. None where there is no store yet. */
async function openLease({ root, signal }: Context): Promise<string | undefined> {
  const { Store } = await import('../places/store/store.ts')
  try {
    return await (await Store.open(root, { create: false, signal })).openLease()
  } catch (error) {
    if (isWindlassError(error, 'NOT_FOUND')) return undefined
    throw error
  }
}

/** The lease under which to mount, if there is one. */
export function readLease(env: Context['env']): string | undefined {
  return env[leaseVariable]
}

/** @throws WindlassError PERMISSION where a mount would be gone at once */
export function checkMountsStay(doing: string, env: Context['env']): void {
  if (!isInOwnNamespace(env)) return
  throw new WindlassError('PERMISSION', `${doing}: an ordinary user's mount is gone when the command ends`, {
    hint: "run it in a shell of 'windlass unshare', or as root",
  })
}
