import { open } from 'node:fs/promises'
import { type Digest, isDigest } from '../oci/digest.ts'
import { type Reply, refuse } from './reply.ts'
import type { Storage } from './storage.ts'

/** No layer in use comes near it; without it one request could fill a disk of any size. */
const blobBytesMax = 64 * 1024 ** 3
/** Uploads that were started and not ended; far above what clients push at once. */
const uploadsMax = 256

interface Upload {
  readonly name: string
  size: number
  /** Whether a request is writing to it: a second one would mix its bytes in. */
  busy: boolean
}

/** What an upload request brings. */
export interface UploadRequest {
  readonly name: string
  readonly query: URLSearchParams
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: AsyncIterable<Uint8Array>
}

/** Blob uploads (OCI distribution-spec, "Pushing blobs"): known while the server runs, their bytes on disk until they are verified. */
export class Uploads {
  readonly #storage: Storage
  readonly #open = new Map<string, Upload>()

  constructor(storage: Storage) {
    this.#storage = storage
  }

  /** POST: mounts a blob that is here, takes one in a single request, or starts an upload. */
  async start(request: UploadRequest): Promise<Reply> {
    const { name, query } = request
    const mount = query.get('mount')
    if (mount !== null && isDigest(mount) && (await this.#storage.findBlob(mount)) !== undefined)
      return created(name, mount)
    const digest = query.get('digest')
    if (digest !== null && !isDigest(digest)) return refuse(400, 'DIGEST_INVALID', 'the digest is not one')
    if (this.#open.size >= uploadsMax) return refuse(429, 'TOOMANYREQUESTS', `${uploadsMax} uploads are open`)
    const id = await this.#storage.makeUpload()
    this.#open.set(id, { name, size: 0, busy: false })
    return digest === null ? this.#progress(202, name, id, 0) : this.finish(id, request)
  }

  /** GET: how far an upload is. */
  show(id: string, name: string): Reply {
    const upload = this.#find(id, name)
    return upload === undefined ? unknownUpload : this.#progress(204, name, id, upload.size)
  }

  /** PATCH: appends. */
  async append(id: string, request: UploadRequest): Promise<Reply> {
    const upload = this.#find(id, request.name)
    if (upload === undefined) return unknownUpload
    const refusal = await this.#write(id, upload, request)
    return refusal ?? this.#progress(202, request.name, id, upload.size)
  }

  /** PUT: appends what is left and publishes the blob, if it has the digest that the client names. */
  async finish(id: string, request: UploadRequest): Promise<Reply> {
    const upload = this.#find(id, request.name)
    if (upload === undefined) return unknownUpload
    const digest = request.query.get('digest') ?? ''
    if (!isDigest(digest)) return refuse(400, 'DIGEST_INVALID', 'the digest is missing or not one')
    const refusal = await this.#write(id, upload, request)
    if (refusal !== undefined) return refusal
    upload.busy = true
    const isPublished = await this.#storage.publishUpload(id, digest)
    await this.cancel(id, request.name)
    return isPublished
      ? created(request.name, digest)
      : refuse(400, 'DIGEST_INVALID', 'the bytes do not have this digest')
  }

  /** DELETE: throws an upload away. */
  async cancel(id: string, name: string): Promise<Reply> {
    if (this.#find(id, name) === undefined) return unknownUpload
    this.#open.delete(id)
    await this.#storage.removeUpload(id)
    return { status: 204 }
  }

  #find(id: string, name: string): Upload | undefined {
    const upload = this.#open.get(id)
    return upload?.name === name ? upload : undefined
  }

  #progress(status: number, name: string, id: string, size: number): Reply {
    const headers = {
      location: `/v2/${name}/blobs/uploads/${id}`,
      range: `0-${Math.max(0, size - 1)}`,
      'docker-upload-uuid': id,
    }
    return { status, headers }
  }

  /** Appends the body. What arrived before a connection broke stays, and the upload can go on from there. */
  async #write(id: string, upload: Upload, request: UploadRequest): Promise<Reply | undefined> {
    const range = /^(?:bytes )?(\d+)-/.exec(String(request.headers['content-range'] ?? ''))
    if (upload.busy || (range !== null && Number(range[1]) !== upload.size)) {
      return { ...refuse(416, 'BLOB_UPLOAD_INVALID', 'the upload is not at this position'), ...this.#range(upload) }
    }
    upload.busy = true
    try {
      await using file = await open(this.#storage.uploadPath(id), 'a')
      // A write that failed half-way may have left more than is counted.
      await file.truncate(upload.size)
      for await (const chunk of request.body) {
        if (upload.size + chunk.byteLength > blobBytesMax)
          return refuse(413, 'SIZE_INVALID', `at most ${blobBytesMax} bytes`)
        await file.appendFile(chunk)
        upload.size += chunk.byteLength
      }
      return undefined
    } finally {
      upload.busy = false
    }
  }

  #range(upload: Upload): Pick<Reply, 'headers'> {
    return { headers: { 'content-type': 'application/json', range: `0-${Math.max(0, upload.size - 1)}` } }
  }
}

const unknownUpload: Reply = refuse(404, 'BLOB_UPLOAD_UNKNOWN', 'no such upload')

function created(name: string, digest: Digest): Reply {
  return { status: 201, headers: { location: `/v2/${name}/blobs/${digest}`, 'docker-content-digest': digest } }
}
