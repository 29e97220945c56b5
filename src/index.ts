/**
 * windlass as a library: the same stories as the command, for programs. Every function throws `WindlassError`, whose `code` is one of the
 * table in docs/errors.md. Nothing is printed, no environment variable is read.
 */
export { DecompressorPlan, type PlanOptions, planDecompressors } from './codec/external/plan.ts'
export { type CopyOptions, type CopyResult, type CopyRun, copyImages, type ImageToCopy } from './copy/copy-image.ts'
export { type CopiedImage, type CopyToOptions, type CopyToRun, copyTo, type DeliveredImage } from './copy/copy-to.ts'
export { type DiffOptions, type DiffRun, diffImages } from './copy/diff-images.ts'
export type { LayerPhase, LayerProgress, PullEvent, PullResult } from './copy/events.ts'
export { type GetOptions, type GetRun, type GotPath, getPath } from './copy/get-path.ts'
export { type ImageToLoad, type LoadedImage, type LoadOptions, type LoadRun, load } from './copy/load.ts'
export {
  type OpenedSink,
  type OpenedSource,
  openArchiveAt,
  openImage,
  openSink,
  type PlaceOptions,
} from './copy/places.ts'
export { type PullOptions, type PullPatience, type PullRun, pull } from './copy/pull.ts'
export { type Known, readKnown } from './copy/since.ts'
export { parseTransport, type Transport } from './copy/transport.ts'
export { checkSignatures, openGatekeeper, type SignatureRule } from './copy/trust/check.ts'
export type { Gatekeeper, ImageToCheck } from './copy/trust/gatekeeper.ts'
export { type PublicKey, parsePublicKey } from './copy/trust/keys.ts'
export { type Policy, type PolicySubject, parsePolicy } from './copy/trust/policy.ts'
export { type UnpackImageOptions, unpackImage } from './copy/unpack.ts'
export { type ErrorCode, errorTable, isWindlassError, WindlassError } from './errors.ts'
export type { Difference, TreeChange } from './layer/compare-trees.ts'
export type { NodeFacts } from './layer/layer-tree.ts'
export type { Descriptor, Platform } from './oci/descriptor.ts'
export type { Digest } from './oci/digest.ts'
export { formatFamiliar, formatReference, parseReference, type Reference } from './oci/reference.ts'
export { openFileSink } from './places/archive/file-sink.ts'
export type { ByteSink } from './places/archive/tar-output.ts'
export type { BlobReader, BlobRequest, BlobStream, Document, Placement, Sink, Source, Target } from './places/place.ts'
export type { ConnectionOptions } from './places/registry/connection.ts'
export { type Credential, type CredentialSource, noCredentials } from './places/registry/credentials.ts'
export { openDockerCredentials } from './places/registry/docker-credentials.ts'
export { type ProxyChoice, parseProxies } from './places/registry/proxy.ts'
export { type OpenOptions, Store } from './places/store/store.ts'
export type * from './places/store/types.ts'
export { type RegistryServer, type RegistryServerOptions, serveRegistry } from './server/registry-server.ts'
