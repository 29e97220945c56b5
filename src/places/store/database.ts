/** The one door to SQL: the store's tables, and small functions over them. */
import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, fdatasync, fdatasyncSync, openSync } from 'node:fs'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { type ErrorCode, isWindlassError, WindlassError } from '../../errors.ts'
import type { Digest } from '../../oci/digest.ts'
import { syncDirectory, syncDirectoryNow } from '../../sys/disk.ts'
import type { Layout } from './layout.ts'
import { isNearlyFull } from './reserve.ts'
import type { ImageRecord, LayerIdentity, LayerRecord, NewImage } from './types.ts'

const schemaVersion = 3

/** How long a statement waits for another process's transaction; ours last milliseconds. */
const busyMs = 30_000

/**
 * The third part holds what no image names: a layer that images share by its content was unpacked from the blob of one of them, and the others
 * need that blob too, since their own was never fetched.
 */
/** Layers given as a JSON array, and all above them. */
const descendants = `WITH RECURSIVE above(chain_id) AS (SELECT value FROM json_each(?)
  UNION SELECT layers.chain_id FROM layers JOIN above ON layers.parent = above.chain_id) SELECT chain_id FROM above`
const neededBlobs = `CREATE VIEW needed_blobs AS SELECT digest FROM image_blobs UNION SELECT id FROM leases WHERE kind = 'blob'
  UNION SELECT blob_digest FROM layers JOIN needed_layers USING(chain_id);`

const schema = `
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE blobs(digest TEXT PRIMARY KEY, size INTEGER NOT NULL, created_at TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE layers(
  chain_id TEXT PRIMARY KEY, diff_id TEXT NOT NULL, parent TEXT REFERENCES layers(chain_id),
  cache_id TEXT NOT NULL UNIQUE, link TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, blob_digest TEXT NOT NULL, created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX layers_parent ON layers(parent);
CREATE TABLE images(
  digest TEXT PRIMARY KEY REFERENCES blobs(digest), config_digest TEXT NOT NULL REFERENCES blobs(digest), config_size INTEGER NOT NULL,
  media_type TEXT NOT NULL, os TEXT NOT NULL, architecture TEXT NOT NULL, variant TEXT, created TEXT,
  size_compressed INTEGER NOT NULL, stored_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX images_config ON images(config_digest);
CREATE TABLE image_layers(
  image TEXT NOT NULL REFERENCES images(digest) ON DELETE CASCADE, position INTEGER NOT NULL,
  chain_id TEXT NOT NULL REFERENCES layers(chain_id), PRIMARY KEY(image, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_layers_chain ON image_layers(chain_id);
CREATE TABLE image_blobs(
  image TEXT NOT NULL REFERENCES images(digest) ON DELETE CASCADE, digest TEXT NOT NULL, PRIMARY KEY(image, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE names(
  reference TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES images(digest) ON DELETE CASCADE, target TEXT NOT NULL, updated_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX names_image ON names(image);
CREATE TABLE repo_digests(
  repository TEXT NOT NULL, digest TEXT NOT NULL, image TEXT NOT NULL REFERENCES images(digest) ON DELETE CASCADE, updated_at TEXT NOT NULL,
  PRIMARY KEY(repository, digest, image)
) STRICT, WITHOUT ROWID;
CREATE INDEX repo_digests_image ON repo_digests(image);
CREATE TABLE sessions(id TEXT PRIMARY KEY, pid INTEGER NOT NULL, started_at TEXT NOT NULL, purpose TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE leases(
  session TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE, kind TEXT NOT NULL CHECK(kind IN ('blob', 'layer', 'cache')), id TEXT NOT NULL,
  PRIMARY KEY(session, kind, id)
) STRICT, WITHOUT ROWID;
CREATE VIEW needed_layers AS
  WITH RECURSIVE needed(chain_id) AS (
    SELECT chain_id FROM image_layers UNION SELECT id FROM leases WHERE kind = 'layer'
    UNION SELECT layers.parent FROM layers JOIN needed USING(chain_id) WHERE layers.parent IS NOT NULL)
  SELECT chain_id FROM needed;
${neededBlobs}
`

interface LayerRow {
  chain_id: Digest
  diff_id: Digest
  parent: Digest | null
  cache_id: string
  link: string
  size: number
  blob_digest: Digest
  created_at: string
}

interface ImageRow {
  digest: Digest
  config_digest: Digest
  config_size: number
  media_type: string
  os: string
  architecture: string
  variant: string | null
  created: string | null
  size_compressed: number
  stored_at: string
}

/** A lease protects a blob, a layer with all below it, or a directory of `overlay2/` that has no row yet. */
export type LeaseKind = 'blob' | 'layer' | 'cache'

/** Names of an image as the store keeps them, parsed by the caller. */
export interface NameRow {
  /** Full reference with a tag, if a tag was asked for. */
  readonly reference: string | undefined
  /** `docker.io/library/debian`, if the image has a name at all. */
  readonly repository: string | undefined
}

/**
 * One connection. Transactions are atomic and ordered when they return, and on the disk after `flush`: the fsync is ours and not SQLite's
 * (synchronous=NORMAL syncs the WAL only at checkpoints), so that a slow disk does not stop the event loop, on which every stream runs.
 */
export class StoreDatabase implements Disposable {
  readonly #database: DatabaseSync
  readonly #layout: Layout
  readonly #statements = new Map<string, StatementSync>()
  /** Absent if the filesystem is read-only. */
  readonly #wal: number | undefined
  #walIsNamed = false
  readonly salt: string

  /** Opens and migrates; the caller holds the opening lock, unless the filesystem is read-only. */
  constructor(layout: Layout, access: 'write' | 'read' = 'write') {
    this.#layout = layout
    this.#database = openDatabase(layout, access)
    try {
      if (access === 'read') {
        this.#readVersion()
        this.salt = this.#readSalt()
        return
      }
      this.#database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
      this.#migrate(this.#readVersion())
      this.salt = this.#readSalt()
      this.#wal = openSync(`${layout.database}-wal`, 'r')
    } catch (error) {
      this.#database.close()
      throw wrapDatabaseError(error, layout.root)
    }
  }

  #readVersion(): number {
    const version = this.#one<{ user_version: number }>('PRAGMA user_version')?.user_version ?? 0
    if (version <= schemaVersion) return version
    throw new WindlassError(
      'UNSUPPORTED',
      `Cannot open store ${this.#layout.root}: its database is version ${version}; this windlass knows version ${schemaVersion}`,
      { hint: 'use the windlass that made it, or another directory with --root' },
    )
  }

  #readSalt(): string {
    return this.#one<{ value: string }>('SELECT value FROM meta WHERE key = ?', 'salt')?.value ?? ''
  }

  #migrate(version: number): void {
    if (version === schemaVersion) return
    this.transaction(() => {
      if (version === 0) this.#makeSchema()
      if (version === 1) this.#database.exec(`DROP VIEW needed_blobs; ${neededBlobs}`)
      if (version > 0) this.#database.exec('ALTER TABLE sessions ADD COLUMN purpose TEXT')
      this.#database.exec(`PRAGMA user_version = ${schemaVersion}`)
    })
  }

  #makeSchema(): void {
    this.#database.exec(schema)
    this.#run('INSERT INTO meta VALUES (?, ?)', 'salt', randomBytes(16).toString('hex'))
  }

  /** Runs `work` with nobody else writing; everything in it happens or nothing. Nested calls join the outer one. */
  transaction<T>(work: () => T): T {
    if (this.#database.isTransaction) return work()
    try {
      this.#database.exec('BEGIN IMMEDIATE')
      const result = work()
      this.#database.exec('COMMIT')
      return result
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      throw wrapDatabaseError(error, this.#layout.root)
    }
  }

  /** Resolves when every transaction that has returned is on the disk. */
  async flush(): Promise<void> {
    if (this.#wal === undefined) return
    try {
      await promisify(fdatasync)(this.#wal)
      // the WAL is made anew whenever nobody had the store open: once, its name must reach the disk too
      if (!this.#walIsNamed) await syncDirectory(this.#layout.root)
      this.#walIsNamed = true
    } catch (error) {
      throw wrapDatabaseError(error, this.#layout.root)
    }
  }

  /** The same, for the few callers that change one row and cannot wait. */
  flushNow(): void {
    if (this.#wal === undefined) return
    fdatasyncSync(this.#wal)
    if (!this.#walIsNamed) syncDirectoryNow(this.#layout.root)
    this.#walIsNamed = true
  }

  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql)
    if (known !== undefined) return known
    const statement = this.#database.prepare(sql)
    this.#statements.set(sql, statement)
    return statement
  }

  #one<T>(sql: string, ...values: SQLInputValue[]): T | undefined {
    return this.#prepare(sql).get(...values) as T | undefined
  }

  #all<T>(sql: string, ...values: SQLInputValue[]): T[] {
    return this.#prepare(sql).all(...values) as T[]
  }

  #run(sql: string, ...values: SQLInputValue[]): number {
    return Number(this.#prepare(sql).run(...values).changes)
  }

  findBlobSize(digest: Digest): number | undefined {
    return this.#one<{ size: number }>('SELECT size FROM blobs WHERE digest = ?', digest)?.size
  }

  listBlobs(): { digest: Digest; size: number }[] {
    return this.#all('SELECT digest, size FROM blobs ORDER BY digest')
  }

  /** A row that is there already is corrected: its file was found broken and has been made anew. */
  insertBlob(digest: Digest, size: number): void {
    this.#run(
      'INSERT INTO blobs VALUES (?, ?, ?) ON CONFLICT(digest) DO UPDATE SET size = excluded.size',
      digest,
      size,
      new Date().toISOString(),
    )
  }

  /** Takes out the row of a blob whose bytes are wrong. That of a manifest or config stays: the image's own row stands on it. */
  deleteDamagedBlob(digest: Digest): void {
    const documents = 'SELECT digest FROM images UNION SELECT config_digest FROM images'
    this.#run(`DELETE FROM blobs WHERE digest = ? AND digest NOT IN (${documents})`, digest)
  }

  findLayer(chainId: Digest): LayerRecord | undefined {
    const row = this.#one<LayerRow>('SELECT * FROM layers WHERE chain_id = ?', chainId)
    return row && this.#layerRecord(row)
  }

  listLayers(): LayerRecord[] {
    return this.#all<LayerRow>('SELECT * FROM layers ORDER BY created_at').map(row => this.#layerRecord(row))
  }

  /** The committed layers from this one down: it and all below it, nearest first. */
  listChain(chainId: Digest): LayerRecord[] {
    const sql = `WITH RECURSIVE chain(chain_id, depth) AS (
        SELECT ?, 0 UNION ALL SELECT layers.parent, depth + 1 FROM layers JOIN chain USING(chain_id) WHERE layers.parent IS NOT NULL)
      SELECT layers.* FROM layers JOIN chain USING(chain_id) ORDER BY depth`
    return this.#all<LayerRow>(sql, chainId).map(row => this.#layerRecord(row))
  }

  insertLayer(layer: LayerIdentity & { cacheId: string; link: string; size: number; blobDigest: Digest }): LayerRecord {
    const { chainId, diffId, parent, cacheId, link, size, blobDigest } = layer
    const sql = `INSERT INTO layers VALUES (?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT(chain_id) DO UPDATE SET size = excluded.size, blob_digest = excluded.blob_digest`
    this.#run(sql, chainId, diffId, parent ?? null, cacheId, link, size, blobDigest, new Date().toISOString())
    const record = this.findLayer(chainId)
    if (record === undefined) throw new WindlassError('FAILED', `Cannot store layer ${chainId}: its row is gone`)
    return record
  }

  /** False if there is no such layer. */
  setLayerBlob(chainId: Digest, blobDigest: Digest): boolean {
    return this.#run('UPDATE layers SET blob_digest = ? WHERE chain_id = ?', blobDigest, chainId) > 0
  }

  #layerRecord(row: LayerRow): LayerRecord {
    return {
      chainId: row.chain_id,
      diffId: row.diff_id,
      parent: row.parent ?? undefined,
      cacheId: row.cache_id,
      link: row.link,
      size: row.size,
      blobDigest: row.blob_digest,
      createdAt: row.created_at,
      diffDirectory: this.#layout.diff(row.cache_id),
    }
  }

  insertSession(id: string, purpose: string | undefined): void {
    const now = new Date().toISOString()
    this.#run('INSERT INTO sessions VALUES (?, ?, ?, ?)', id, process.pid, now, purpose ?? null)
  }

  /** Numbers of the processes whose sessions have not ended in good order, as they see themselves. */
  listSessionPids(): number[] {
    return this.#all<{ pid: number }>('SELECT DISTINCT pid FROM sessions ORDER BY started_at DESC').map(row => row.pid)
  }

  /** What the latest session of a process is for. */
  findPurpose(pid: number): string | undefined {
    const sql = 'SELECT purpose FROM sessions WHERE pid = ? ORDER BY started_at DESC LIMIT 1'
    return this.#one<{ purpose: string | null }>(sql, pid)?.purpose ?? undefined
  }

  /** Its leases go with it. */
  deleteSession(id: string): void {
    this.#run('DELETE FROM sessions WHERE id = ?', id)
  }

  listSessions(): string[] {
    return this.#all<{ id: string }>('SELECT id FROM sessions').map(row => row.id)
  }

  lease(session: string, kind: LeaseKind, id: string): void {
    this.#run('INSERT OR IGNORE INTO leases VALUES (?, ?, ?)', session, kind, id)
  }

  /** Names of `overlay2/` that have a layer, or belong to a session that is about to make one. */
  listKnownCacheIds(): Set<string> {
    const rows = this.#all<{ id: string }>(
      "SELECT cache_id AS id FROM layers UNION SELECT id FROM leases WHERE kind = 'cache'",
    )
    return new Set(rows.map(row => row.id))
  }

  /** Directories of `overlay2/` that this session may have put there without finishing their layers. */
  listUnfinishedCacheIds(session: string): string[] {
    const sql = "SELECT id FROM leases WHERE session = ? AND kind = 'cache' AND id NOT IN (SELECT cache_id FROM layers)"
    return this.#all<{ id: string }>(sql, session).map(row => row.id)
  }

  /** Digests that have a row, or that a session is about to make. */
  listKnownBlobs(): Set<Digest> {
    const rows = this.#all<{ id: Digest }>(
      "SELECT digest AS id FROM blobs UNION SELECT id FROM leases WHERE kind = 'blob'",
    )
    return new Set(rows.map(row => row.id))
  }

  /** Puts an image with its layers, blobs and names; an image that is there keeps the time it was first stored. */
  insertImage(image: NewImage, name: NameRow): void {
    const { digest } = image.manifest
    const { os, architecture, variant } = image.platform
    const sizeCompressed = image.layers.reduce((sum, layer) => sum + layer.descriptor.size, 0)
    const now = new Date().toISOString()
    const sql = 'INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'
    const { config, manifest } = image
    this.#run(
      sql,
      ...[digest, config.digest, config.size, manifest.mediaType, os, architecture, variant ?? null],
      ...[image.created ?? null, sizeCompressed, now],
    )
    for (const [position, layer] of image.layers.entries()) {
      this.#run('INSERT OR REPLACE INTO image_layers VALUES (?, ?, ?)', digest, position, layer.chainId)
    }
    const blobs = [image.target, manifest, config, ...image.layers.map(layer => layer.descriptor)]
    for (const blob of blobs) this.#run('INSERT OR IGNORE INTO image_blobs VALUES (?, ?)', digest, blob.digest)
    if (name.reference !== undefined) this.setName(name.reference, digest, image.target.digest)
    if (name.repository !== undefined) {
      this.#run(
        'INSERT OR REPLACE INTO repo_digests VALUES (?, ?, ?, ?)',
        name.repository,
        image.target.digest,
        digest,
        now,
      )
    }
  }

  setName(reference: string, image: Digest, target: Digest): void {
    this.#run('INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)', reference, image, target, new Date().toISOString())
  }

  /** The image and the document that a full reference with a tag stands for. */
  findName(reference: string): { image: Digest; target: Digest } | undefined {
    return this.#one('SELECT image, target FROM names WHERE reference = ?', reference)
  }

  listNames(): { reference: string; image: Digest; target: Digest }[] {
    return this.#all('SELECT reference, image, target FROM names ORDER BY reference')
  }

  deleteName(reference: string): void {
    this.#run('DELETE FROM names WHERE reference = ?', reference)
  }

  /** The image that was last stored as `repository@digest`, where the digest is of the index or of the manifest itself. */
  findRepoDigest(repository: string, digest: Digest): Digest | undefined {
    const sql = `SELECT image FROM repo_digests WHERE repository = ? AND (digest = ? OR image = ?) ORDER BY updated_at DESC LIMIT 1`
    return this.#one<{ image: Digest }>(sql, repository, digest, digest)?.image
  }

  deleteRepoDigests(repository: string, image: Digest): void {
    this.#run('DELETE FROM repo_digests WHERE repository = ? AND image = ?', repository, image)
  }

  findImage(digest: Digest): ImageRecord | undefined {
    const row = this.#one<ImageRow>('SELECT * FROM images WHERE digest = ?', digest)
    return row && this.#imageRecord(row)
  }

  listImages(): ImageRecord[] {
    return this.#all<ImageRow>('SELECT * FROM images ORDER BY stored_at DESC, digest').map(row =>
      this.#imageRecord(row),
    )
  }

  /** Images whose ID or manifest digest starts with this text (`sha256:` and hex). */
  listImagesByPrefix(prefix: string): ImageRecord[] {
    const sql = `SELECT * FROM images WHERE substr(config_digest, 1, ?) = ? OR substr(digest, 1, ?) = ? ORDER BY stored_at DESC, digest`
    return this.#all<ImageRow>(sql, prefix.length, prefix, prefix.length, prefix).map(row => this.#imageRecord(row))
  }

  #imageRecord(row: ImageRow): ImageRecord {
    const layers = this.#all<LayerRow>(
      'SELECT layers.* FROM image_layers JOIN layers USING(chain_id) WHERE image = ? ORDER BY position',
      row.digest,
    ).map(layer => this.#layerRecord(layer))
    const { variant } = row
    return {
      id: row.config_digest,
      digest: row.digest,
      mediaType: row.media_type,
      platform: { os: row.os, architecture: row.architecture, ...(variant === null ? {} : { variant }) },
      created: row.created ?? undefined,
      size: layers.reduce((sum, layer) => sum + layer.size, 0),
      sizeCompressed: row.size_compressed,
      names: this.#column('SELECT reference FROM names WHERE image = ? ORDER BY 1', row.digest),
      repoDigests: this.#column(
        "SELECT repository || '@' || digest FROM repo_digests WHERE image = ? ORDER BY 1",
        row.digest,
      ),
      layers,
      config: { digest: row.config_digest, size: row.config_size },
      storedAt: row.stored_at,
    }
  }

  #column(sql: string, value: string): string[] {
    return this.#all<Record<string, string>>(sql, value).flatMap(row => Object.values(row))
  }

  /** The blobs that an image names; those of layers that were here already may be absent. */
  listImageBlobs(image: Digest): Digest[] {
    return this.#column('SELECT digest FROM image_blobs WHERE image = ?', image) as Digest[]
  }

  deleteImage(digest: Digest): void {
    this.#run('DELETE FROM images WHERE digest = ?', digest)
  }

  /**
   * Deletes the rows of layers that no image and no lease needs, and returns what they were; all, or only some with what stands on them: a session
   * that ended before its image was whole may have left layers, which are as little needed.
   */
  deleteUnneededLayers(only?: readonly Digest[]): { id: Digest; blob: Digest; size: number }[] {
    const filter = only === undefined ? '' : `AND chain_id IN (${descendants})`
    const sql = `DELETE FROM layers WHERE chain_id NOT IN (SELECT chain_id FROM needed_layers) ${filter}
      RETURNING chain_id AS id, blob_digest AS blob, size`
    return this.#all(sql, ...(only === undefined ? [] : [JSON.stringify(only)]))
  }

  /** Deletes the rows of blobs that no image, no lease and no needed layer needs, all or only some, and returns what they were. */
  deleteUnneededBlobs(only?: readonly Digest[]): { id: Digest; size: number }[] {
    const filter = only === undefined ? '' : 'AND digest IN (SELECT value FROM json_each(?))'
    const sql = `DELETE FROM blobs WHERE digest NOT IN (SELECT digest FROM needed_blobs) ${filter} RETURNING digest AS id, size`
    return this.#all(sql, ...(only === undefined ? [] : [JSON.stringify(only)]))
  }

  readTotals(): { images: number; layers: number; blobs: number; bytesLayers: number; bytesBlobs: number } {
    const sql = `SELECT (SELECT count(*) FROM images) AS images, (SELECT count(*) FROM layers) AS layers, (SELECT count(*) FROM blobs) AS blobs,
      (SELECT total(size) FROM layers) AS bytesLayers, (SELECT total(size) FROM blobs) AS bytesBlobs`
    const none = { images: 0, layers: 0, blobs: 0, bytesLayers: 0, bytesBlobs: 0 }
    return this.#one(sql) ?? none
  }

  /** What SQLite finds wrong in its own file, in its words; nothing when all is well. */
  checkIntegrity(): string[] {
    const integrity = this.#all<{ integrity_check: string }>('PRAGMA integrity_check')
      .map(row => row.integrity_check)
      .filter(text => text !== 'ok')
    const keys = this.#all<{ table: string; parent: string }>('PRAGMA foreign_key_check')
    return [
      ...integrity,
      ...keys.map(row => `a row of ${row.table} points to a row of ${row.parent} that is not there`),
    ]
  }

  [Symbol.dispose](): void {
    if (this.#wal !== undefined) closeSync(this.#wal)
    this.#statements.clear()
    this.#database.close()
  }
}

function openDatabase(layout: Layout, access: 'write' | 'read'): DatabaseSync {
  try {
    return access === 'read' ? openToRead(layout) : openToWrite(layout)
  } catch (error) {
    throw wrapDatabaseError(error, layout.root)
  }
}

function openToWrite({ database }: Layout): DatabaseSync {
  return new DatabaseSync(database, { timeout: busyMs, enableForeignKeyConstraints: true })
}

/**
 * On a read-only filesystem. With a WAL, as after a crash or beside a host that may write, SQLite needs the WAL's index, which must be there; without one
 * it must be told that nothing changes, since it could not make them.
 */
function openToRead({ database, root }: Layout): DatabaseSync {
  const url = pathToFileURL(database)
  if (!existsSync(`${database}-wal`)) url.searchParams.set('immutable', '1')
  else if (!existsSync(`${database}-shm`)) {
    const state = 'its filesystem is read-only, and its database was not closed'
    throw new WindlassError('PERMISSION', `Cannot open store ${root}: ${state}; wanted once a writable filesystem`)
  }
  return new DatabaseSync(url, { timeout: busyMs, readOnly: true })
}

const ioError = 10
const cannotOpen = 14

const sqliteCodes: Readonly<Record<number, ErrorCode>> = {
  8: 'PERMISSION',
  11: 'CORRUPT',
  13: 'NO_SPACE',
  14: 'PERMISSION',
  26: 'CORRUPT',
}

/** SQLite's primary result codes: 8 READONLY, 10 IOERR, 11 CORRUPT, 13 FULL, 14 CANTOPEN, 26 NOTADB. */
function wrapDatabaseError(error: unknown, root: string): unknown {
  const { code, errcode, message } = error as { code?: string; errcode?: number; message?: string }
  if (isWindlassError(error) || code !== 'ERR_SQLITE_ERROR') return error
  const primary = (errcode ?? 0) & 0xff
  // on a full filesystem the WAL's index cannot be made (IOERR), or for want of an inode not even be opened (CANTOPEN)
  const isFull = (primary === ioError || primary === cannotOpen) && isNearlyFull(root)
  if (isFull) {
    const state = 'no space is left on its filesystem'
    return new WindlassError('NO_SPACE', `Cannot use the database of store ${root}: ${state}`, { cause: error })
  }
  const kind = sqliteCodes[primary] ?? 'FAILED'
  return new WindlassError(kind, `Cannot use the database of store ${root}: ${message ?? 'unknown error'}`, {
    cause: error,
  })
}
