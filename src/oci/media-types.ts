/** Media types of the OCI image-spec 1.1 and of docker's image manifest v2. */
export const mediaTypes = {
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociEmpty: 'application/vnd.oci.empty.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  ociLayerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  ociForeignLayer: 'application/vnd.oci.image.layer.nondistributable.v1.tar',
  ociForeignLayerGzip: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  ociForeignLayerZstd: 'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  dockerLayerZstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
  dockerForeignLayer: 'application/vnd.docker.image.rootfs.foreign.diff.tar',
  dockerForeignLayerGzip: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
  schema1: 'application/vnd.docker.distribution.manifest.v1+json',
  schema1Signed: 'application/vnd.docker.distribution.manifest.v1+prettyjws',
} as const

/** What a manifest request accepts. Schema 1 is not among it, so that a registry that can convert does so. */
export const acceptHeader = [
  mediaTypes.ociIndex,
  mediaTypes.ociManifest,
  mediaTypes.dockerList,
  mediaTypes.dockerManifest,
].join(', ')

/** How a layer's bytes are compressed. `unknown`: not a layer of a kind that can be unpacked, encrypted ones for example. */
export type Compression = 'none' | 'gzip' | 'zstd' | 'bzip2' | 'xz' | 'unknown'

/**
 * OCI joins the compression with `+`, docker with a dot; bzip2 and xz stand in no specification, but docker unpacks them.
 * The groups: `nondistributable` or `foreign`, and the compression.
 */
const layerPattern =
  /^application\/vnd\.(?:oci\.image\.layer\.(nondistributable\.)?v1|docker\.image\.rootfs\.(foreign\.)?diff)\.tar(?:[+.](gzip|zstd|bzip2|xz))?$/

/** What the media type says of a layer's compression. Some builders say it wrongly: the first bytes have the last word. */
export function layerCompression(mediaType: string): Compression {
  const match = layerPattern.exec(mediaType)
  return match === null ? 'unknown' : ((match[3] as Compression | undefined) ?? 'none')
}

/** True for a filesystem layer that a registry need not hold: it is fetched from the descriptor's `urls`. */
export function isForeignLayer(mediaType: string): boolean {
  const match = layerPattern.exec(mediaType)
  return (match?.[1] ?? match?.[2]) !== undefined
}

/** True for an image manifest of OCI or docker schema 2. */
export function isManifestType(mediaType: string): boolean {
  return mediaType === mediaTypes.ociManifest || mediaType === mediaTypes.dockerManifest
}

/** True for an OCI index or a docker manifest list. */
export function isIndexType(mediaType: string): boolean {
  return mediaType === mediaTypes.ociIndex || mediaType === mediaTypes.dockerList
}

/** True for the configuration of a container image; manifests with another config are artifacts. */
export function isImageConfigType(mediaType: string): boolean {
  return mediaType === mediaTypes.ociConfig || mediaType === mediaTypes.dockerConfig
}

/** True for docker's schema 1, signed or not. */
export function isSchema1Type(mediaType: string): boolean {
  return mediaType === mediaTypes.schema1 || mediaType === mediaTypes.schema1Signed
}
