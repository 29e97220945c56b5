import protobuf from 'protobufjs'

/**
 * The messages of containerd's API (containerd 1.6 to 2.x, `api/services/*`), with the fields that are used here: numbers and types are the wire's, and
 * fields that are not known are skipped.
 */
const proto = `
syntax = "proto3";
message Empty {}
message Descriptor { string mediaType = 1; string digest = 2; int64 size = 3; }
message Mount { string type = 1; string source = 2; string target = 3; repeated string options = 4; }
message FieldMask { repeated string paths = 1; }

message VersionResponse { string version = 1; string revision = 2; }

message Namespace { string name = 1; }
message NamespaceList { repeated Namespace namespaces = 1; }

message LeaseRequest { string id = 1; map<string, string> labels = 3; }
message Lease { string id = 1; map<string, string> labels = 3; }
message LeaseFilters { repeated string filters = 1; }
message LeaseList { repeated Lease leases = 1; }
message LeaseResponse { Lease lease = 1; }
message LeaseResource { string id = 1; string type = 2; }
message LeaseAddition { string id = 1; LeaseResource resource = 2; }
message LeaseDelete { string id = 1; bool sync = 2; }

message ContentInfo { string digest = 1; int64 size = 2; map<string, string> labels = 5; }
message DigestRequest { string digest = 1; }
message InfoResponse { ContentInfo info = 1; }
message InfoUpdate { ContentInfo info = 1; FieldMask mask = 2; }
message ReadRequest { string digest = 1; int64 offset = 2; int64 size = 3; }
message ReadResponse { int64 offset = 1; bytes data = 2; }
message WriteRequest {
  int32 action = 1; string ref = 2; int64 total = 3; string expected = 4; int64 offset = 5; bytes data = 6; map<string, string> labels = 7;
}
message WriteResponse { int32 action = 1; int64 offset = 4; int64 total = 5; string digest = 6; }
message AbortRequest { string ref = 1; }

message PrepareRequest { string snapshotter = 1; string key = 2; string parent = 3; map<string, string> labels = 4; }
message MountsResponse { repeated Mount mounts = 1; }
message CommitRequest { string snapshotter = 1; string name = 2; string key = 3; map<string, string> labels = 4; }
message SnapshotRequest { string snapshotter = 1; string key = 2; }
message SnapshotInfo { string name = 1; string parent = 2; int32 kind = 3; }
message StatResponse { SnapshotInfo info = 1; }
message SnapshotFilters { string snapshotter = 1; }
message SnapshotList { repeated SnapshotInfo info = 1; }

message Image { string name = 1; map<string, string> labels = 2; Descriptor target = 3; }
message NameRequest { string name = 1; }
message ImageMessage { Image image = 1; }
message ImageUpdate { Image image = 1; FieldMask mask = 2; }
message ImageFilters { repeated string filters = 1; }
message ImageList { repeated Image images = 1; }
message ImageDelete { string name = 1; bool sync = 2; }
`

const root = protobuf.parse(proto, { keepCase: true }).root

/** What a message is read as: absent fields have proto3's defaults, 64-bit numbers are doubles, which hold any size that there is. */
const asPlain: protobuf.IConversionOptions = { longs: Number, defaults: true, objects: true, arrays: true }

/** Writes and reads one kind of message. */
interface Codec<T> {
  encode(value: T): Buffer
  decode(bytes: Uint8Array): T
}

function codecOf<T extends object>(name: string): Codec<T> {
  const type = root.lookupType(name)
  return {
    encode: value => Buffer.from(type.encode(type.fromObject(value)).finish()),
    decode: bytes => type.toObject(type.decode(bytes), asPlain) as T,
  }
}

export type Labels = Readonly<Record<string, string>>

export interface Mount {
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}

export interface ContentInfo {
  readonly digest: string
  readonly size: number
  readonly labels: Labels
}

export interface WriteRequest {
  readonly action: number
  readonly ref: string
  readonly total: number
  readonly expected: string
  readonly offset: number
  readonly data?: Uint8Array
  readonly labels?: Labels
}

export interface Image {
  readonly name: string
  readonly labels: Labels
  readonly target: { readonly mediaType: string; readonly digest: string; readonly size: number }
}

interface Snapshot {
  readonly snapshotter: string
  readonly key: string
}

type Nothing = Readonly<Record<string, never>>

/** A call: its path on the wire, what goes out and what comes back. */
export interface Method<Request, Response> {
  readonly path: string
  readonly request: Codec<Request>
  readonly response: Codec<Response>
}

function method<Request extends object, Response extends object>(
  path: string,
  request: string,
  response: string,
): Method<Request, Response> {
  return { path: `/containerd.services.${path}`, request: codecOf(request), response: codecOf(response) }
}

const images = 'images.v1.Images'
const content = 'content.v1.Content'
const snapshots = 'snapshots.v1.Snapshots'

export const methods = {
  version: method<Nothing, { version: string }>('version.v1.Version/Version', 'Empty', 'VersionResponse'),
  listNamespaces: method<Nothing, { namespaces: readonly { readonly name: string }[] }>(
    'namespaces.v1.Namespaces/List',
    'Empty',
    'NamespaceList',
  ),
  createLease: method<{ id: string; labels: Labels }, { lease: { id: string } | null }>(
    'leases.v1.Leases/Create',
    'LeaseRequest',
    'LeaseResponse',
  ),
  listLeases: method<Nothing, { leases: readonly { readonly id: string; readonly labels: Labels }[] }>(
    'leases.v1.Leases/List',
    'LeaseFilters',
    'LeaseList',
  ),
  addLeaseResource: method<{ id: string; resource: { id: string; type: string } }, Nothing>(
    'leases.v1.Leases/AddResource',
    'LeaseAddition',
    'Empty',
  ),
  deleteLease: method<{ id: string; sync: boolean }, Nothing>('leases.v1.Leases/Delete', 'LeaseDelete', 'Empty'),
  contentInfo: method<{ digest: string }, { info: ContentInfo | null }>(
    `${content}/Info`,
    'DigestRequest',
    'InfoResponse',
  ),
  updateContent: method<
    { info: { digest: string; labels: Labels }; mask: { paths: string[] } },
    { info: ContentInfo | null }
  >(`${content}/Update`, 'InfoUpdate', 'InfoResponse'),
  readContent: method<{ digest: string; offset: number; size: number }, { offset: number; data: Uint8Array }>(
    `${content}/Read`,
    'ReadRequest',
    'ReadResponse',
  ),
  writeContent: method<WriteRequest, { action: number; offset: number; total: number; digest: string }>(
    `${content}/Write`,
    'WriteRequest',
    'WriteResponse',
  ),
  abortContent: method<{ ref: string }, Nothing>(`${content}/Abort`, 'AbortRequest', 'Empty'),
  prepare: method<Snapshot & { parent: string; labels: Labels }, { mounts: readonly Mount[] }>(
    `${snapshots}/Prepare`,
    'PrepareRequest',
    'MountsResponse',
  ),
  view: method<Snapshot & { parent: string; labels: Labels }, { mounts: readonly Mount[] }>(
    `${snapshots}/View`,
    'PrepareRequest',
    'MountsResponse',
  ),
  commit: method<Snapshot & { name: string; labels: Labels }, Nothing>(`${snapshots}/Commit`, 'CommitRequest', 'Empty'),
  removeSnapshot: method<Snapshot, Nothing>(`${snapshots}/Remove`, 'SnapshotRequest', 'Empty'),
  stat: method<Snapshot, { info: { name: string; kind: number } | null }>(
    `${snapshots}/Stat`,
    'SnapshotRequest',
    'StatResponse',
  ),
  /** A stream of answers. */
  listSnapshots: method<
    { snapshotter: string },
    { info: readonly { readonly name: string; readonly parent: string; readonly kind: number }[] }
  >(`${snapshots}/List`, 'SnapshotFilters', 'SnapshotList'),
  getImage: method<{ name: string }, { image: Image | null }>(`${images}/Get`, 'NameRequest', 'ImageMessage'),
  createImage: method<{ image: Image }, { image: Image | null }>(`${images}/Create`, 'ImageMessage', 'ImageMessage'),
  updateImage: method<{ image: Image; mask: { paths: string[] } }, { image: Image | null }>(
    `${images}/Update`,
    'ImageUpdate',
    'ImageMessage',
  ),
  listImages: method<Nothing, { images: readonly Image[] }>(`${images}/List`, 'ImageFilters', 'ImageList'),
  deleteImage: method<{ name: string; sync: boolean }, Nothing>(`${images}/Delete`, 'ImageDelete', 'Empty'),
} as const
