import type { Reference } from '../oci/reference.ts'
import type { CredentialSource } from '../places/registry/credentials.ts'
import type { Session } from '../places/store/types.ts'
import type { LayerPull } from './pull-layer.ts'
import type { LayersContext } from './pull-layers.ts'
import type { ResolvedImage } from './resolve.ts'

/** A place other than the store that a pull can end in. */
export interface Destination {
  /** False if nothing is unpacked on this host. */
  readonly needsRoot: boolean
  /**
   * Brings the layers that are missing there, then the image under its name: all of it, or an error.
   * @throws WindlassError ENGINE_UNREACHABLE before anything is downloaded; of any code of the table
   */
  deliver(image: ResolvedImage, context: DeliveryContext): Promise<Delivered>
}

export interface DeliveryContext extends LayersContext {
  /** The store keeps what was downloaded. */
  readonly session: Session
  /** What it is to be called there. */
  readonly reference: Reference
  readonly credentials: CredentialSource
  /** True if the image is from elsewhere than that name says: the registry of the name may not have it. */
  readonly isRenamed?: boolean
}

export interface Delivered {
  readonly pulls: readonly LayerPull[]
  /** False if the image was there under this name. */
  readonly changed: boolean
}
