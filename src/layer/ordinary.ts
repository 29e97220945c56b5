import { type IdMaps, isMapped } from '../sys/user-namespace.ts'
import type { TarEntry } from '../tar/entry.ts'
import { S_ISUID_ISGID } from './metadata.ts'

/** What of a layer an ordinary user could not have. */
export interface Adapted {
  /** Entries whose owner or group the user namespace does not have: they belong to its root. */
  readonly owners: number
  /** Device nodes: empty files stand in their place, so that what they hide stays hidden. */
  readonly devices: number
}

/** Turns entries that only root of the host can make into such as root of a user namespace can. */
export class EntryAdapter implements Adapted {
  owners = 0
  devices = 0
  readonly #maps: IdMaps

  constructor(maps: IdMaps) {
    this.#maps = maps
  }

  adapt(entry: TarEntry): void {
    const { uids, gids } = this.#maps
    if (!isMapped(entry.uid, uids) || !isMapped(entry.gid, gids)) this.#squash(entry)
    const isWhiteout = entry.type === 'char' && entry.major === 0 && entry.minor === 0
    if ((entry.type !== 'char' && entry.type !== 'block') || isWhiteout) return
    this.devices++
    entry.type = 'file'
  }

  /** A program that would run as its owner must not run as another. */
  #squash(entry: TarEntry): void {
    this.owners++
    if (!isMapped(entry.uid, this.#maps.uids)) entry.uid = 0
    if (!isMapped(entry.gid, this.#maps.gids)) entry.gid = 0
    if (entry.type !== 'directory') entry.mode &= ~S_ISUID_ISGID
  }
}

/** What an unpacked layer says of itself, see `AppliedLayer`. */
interface Losses {
  readonly droppedXattrs: readonly string[]
  readonly adapted?: Adapted
}

/** What of a layer is not on the disk as the layer has it, each as the end of "Left out of layer …: ". */
export function listLosses({ droppedXattrs, adapted }: Losses): string[] {
  const { owners = 0, devices = 0 } = adapted ?? {}
  return [
    ...(droppedXattrs.length === 0 ? [] : [`extended attributes ${droppedXattrs.slice(0, 8).join(', ')}`]),
    ...(owners === 0
      ? []
      : [`owners of entries (${owners}), which the user namespace does not have: they belong to its root`]),
    ...(devices === 0
      ? []
      : [`device nodes (${devices}), which only root of the host can make: empty files stand in their place`]),
  ]
}
