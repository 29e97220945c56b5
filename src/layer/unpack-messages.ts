import type { ErrorCode } from '../errors.ts'
import type { RingMemory } from '../flow/ring.ts'
import type { TarLimits } from '../tar/entry.ts'
import type { AppliedLayer, UnpackMode } from './apply.ts'

/** What an unpack thread is told to do, once for each layer. One that is needed no more gets undefined, and ends. */
export interface UnpackOrder {
  readonly ring: RingMemory
  readonly beat: SharedArrayBuffer
  /** Open on the directory that becomes the thread's root, until the answer. */
  readonly root: number
  readonly mode: UnpackMode
  readonly limits: TarLimits
}

/** Its one answer to each. */
export type UnpackAnswer =
  | { readonly kind: 'layer'; readonly layer: AppliedLayer }
  | { readonly kind: 'aborted' }
  | { readonly kind: 'error'; readonly code: ErrorCode; readonly message: string }
