import type { ErrorCode } from '../errors.ts'
import type { RingMemory } from '../flow/ring.ts'
import type { TarLimits } from '../tar/entry.ts'
import type { AppliedLayer, UnpackMode } from './apply.ts'

/** What the unpack thread is told to do. One that is not needed gets undefined, and ends. */
export interface UnpackOrder {
  readonly ring: RingMemory
  readonly beat: SharedArrayBuffer
  /** Becomes the thread's root. */
  readonly directory: string
  readonly mode: UnpackMode
  readonly limits: TarLimits
}

/** Its one answer. */
export type UnpackAnswer =
  | { readonly kind: 'layer'; readonly layer: AppliedLayer }
  | { readonly kind: 'aborted' }
  | { readonly kind: 'error'; readonly code: ErrorCode; readonly message: string }
