import { createHash, randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Digest, digestAlgorithm, digestHex, parseDigest } from '../oci/digest.ts'

/** A manifest's name in its repository: what it is served as, and its bytes' digest. */
export interface ManifestLink {
  readonly digest: Digest
  readonly mediaType: string
}

/**
 * The files of a registry, and the one owner of their paths:
 * `blobs/ALGORITHM/HEX` holds blobs and manifests, whole and verified, for all repositories;
 * `repositories/NAME/_revisions/ALGORITHM/HEX` the media type of a manifest, `repositories/NAME/_tags/TAG` a link to it;
 * `uploads/` what is not verified yet. A component of a name cannot start with `_`, so names and these never meet.
 */
export class Storage {
  readonly #root: string

  constructor(root: string) {
    this.#root = root
  }

  blobPath(digest: Digest): string {
    return join(this.#root, 'blobs', digestAlgorithm(digest), digestHex(digest))
  }

  uploadPath(id: string): string {
    return join(this.#root, 'uploads', id)
  }

  #revisionPath(name: string, digest: Digest): string {
    return join(this.#root, 'repositories', name, '_revisions', digestAlgorithm(digest), digestHex(digest))
  }

  #tagPath(name: string, tag: string): string {
    return join(this.#root, 'repositories', name, '_tags', tag)
  }

  /** The size of a blob in bytes, or undefined if it is not there. */
  async findBlob(digest: Digest): Promise<number | undefined> {
    const found = await orMissing(stat(this.blobPath(digest)))
    return found?.size
  }

  /** Starts an empty upload. */
  async makeUpload(): Promise<string> {
    const id = randomUUID()
    await mkdir(dirname(this.uploadPath(id)), { recursive: true })
    await writeFile(this.uploadPath(id), '', { flag: 'wx' })
    return id
  }

  /**
   * Makes an upload a blob, if its bytes have that digest. False, and the upload stays, if they have not.
   */
  async publishUpload(id: string, digest: Digest): Promise<boolean> {
    const upload = this.uploadPath(id)
    const hash = createHash(digestAlgorithm(digest))
    for await (const chunk of createReadStream(upload, { highWaterMark: 1024 * 1024 })) hash.update(chunk)
    if (hash.digest('hex') !== digestHex(digest)) return false
    await syncFile(upload)
    await mkdir(dirname(this.blobPath(digest)), { recursive: true })
    await rename(upload, this.blobPath(digest))
    return true
  }

  async removeUpload(id: string): Promise<void> {
    await rm(this.uploadPath(id), { force: true })
  }

  /** Stores the bytes of a manifest, whose digest the caller has computed, and links it. */
  async putManifest(name: string, link: ManifestLink, bytes: Uint8Array, tag: string | undefined): Promise<void> {
    await this.#writeFile(this.blobPath(link.digest), bytes)
    await this.#writeFile(this.#revisionPath(name, link.digest), link.mediaType)
    if (tag !== undefined) await this.#writeFile(this.#tagPath(name, tag), link.digest)
  }

  async findManifest(name: string, reference: { digest: Digest } | { tag: string }): Promise<ManifestLink | undefined> {
    const digest = 'digest' in reference ? reference.digest : await this.#readTag(name, reference.tag)
    if (digest === undefined) return undefined
    const mediaType = await orMissing(readFile(this.#revisionPath(name, digest), 'utf8'))
    return mediaType === undefined ? undefined : { digest, mediaType }
  }

  async #readTag(name: string, tag: string): Promise<Digest | undefined> {
    const text = await orMissing(readFile(this.#tagPath(name, tag), 'utf8'))
    return text === undefined ? undefined : parseDigest(text)
  }

  /** The tags of a repository in order, or undefined if there is no such repository. */
  async listTags(name: string): Promise<string[] | undefined> {
    const tags = await orMissing(readdir(dirname(this.#tagPath(name, 'x'))))
    return tags?.sort()
  }

  /** Whole or not at all: written beside, synced, and renamed. */
  async #writeFile(path: string, bytes: Uint8Array | string): Promise<void> {
    const id = await this.makeUpload()
    await writeFile(this.uploadPath(id), bytes, { flush: true })
    await mkdir(dirname(path), { recursive: true })
    await rename(this.uploadPath(id), path)
  }
}

async function syncFile(path: string): Promise<void> {
  await using file = await open(path, 'r')
  await file.datasync()
}

async function orMissing<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
}
