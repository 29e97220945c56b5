import type { Digest } from './digest.ts'

/** OCI image-spec, descriptor.md: names a blob or a manifest. `size` in bytes. */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
  readonly annotations?: Readonly<Record<string, string>>
  readonly platform?: Platform
  readonly urls?: readonly string[]
  readonly artifactType?: string
}

/** OCI image-spec, image-index.md, "platform". Names are Go's: os `linux`, architecture `amd64`, variant `v8`. */
export interface Platform {
  readonly os: string
  readonly architecture: string
  readonly variant?: string
  readonly 'os.version'?: string
  readonly 'os.features'?: readonly string[]
}
