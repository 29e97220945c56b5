import type { Source } from '../place.ts'

/** An image of an archive. */
export interface ArchivedImage {
  /** As the archive has them: `host/repo:tag`, or a bare tag in an OCI layout. */
  readonly names: readonly string[]
  /** Belongs to the archive: it ends with it. */
  readonly source: Source
}
