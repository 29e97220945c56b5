import { WindlassError } from '../../errors.ts'
import type { FilesystemSyncs } from '../../sys/disk.ts'
import type { StoreDatabase } from './database.ts'
import type { Layout } from './layout.ts'
import type { StoreLocks } from './locks.ts'

/** Moments between two steps of a commit or a mount, at which a test may end the process or let another one work. */
export type CommitStep = 'blob-renamed' | 'layer-renamed' | 'image-leased'

/** What the parts of one open store share. */
export interface StoreContext {
  readonly layout: Layout
  readonly database: StoreDatabase
  readonly locks: StoreLocks
  readonly disk: FilesystemSyncs
  /** True on a filesystem that is mounted read-only: there are no locks, no sessions and no changes. */
  readonly isReadOnly: boolean
  readonly onStep: ((step: CommitStep) => void) | undefined
}

/** @throws WindlassError PERMISSION if the store can only be looked at */
export function requireWritable({ isReadOnly, layout }: StoreContext): void {
  if (isReadOnly)
    throw new WindlassError('PERMISSION', `Cannot change store ${layout.root}: its filesystem is read-only`)
}
