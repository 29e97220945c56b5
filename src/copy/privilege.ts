import { WindlassError } from '../errors.ts'

/**
 * Refuses early what only root can finish: the unpack thread's chroot, and the owners of an image. Root of a user namespace is root enough.
 * @param doing the first half of the message, e.g. "Cannot pull debian:12"
 * @throws WindlassError PERMISSION
 */
export function checkRoot(doing: string, uid: number = process.geteuid?.() ?? 0): void {
  if (uid === 0) return
  throw new WindlassError('PERMISSION', `${doing}: the user is ${uid}; unpacking layers needs root (user 0)`, {
    hint: "run it as root, or in a user namespace: the command windlass makes one, 'unshare --map-root-user' another",
  })
}
