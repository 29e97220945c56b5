/** The one owner of every path of the store, and of the marker that says which layout it is. */
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { isWindlassError, WindlassError, wrapError } from '../../errors.ts'
import { type Digest, digestAlgorithm, digestHex, isDigest } from '../../oci/digest.ts'
import { makePath } from '../../sys/make-path.ts'

/** Raised when the tree changes in a way that an older windlass must not touch. */
const layoutVersion = 1

/**
 * Paths under one root. `overlay2/` is laid out as docker's driver does it, link for link; the rest is ours:
 * `blobs/` compressed layers and documents by digest, `partial/` downloads that are not whole yet, `ingest/<session>/` what a session is making or
 * throwing away, `mounts/<id>/` targets and writable layers, `empty/` an empty directory that overlay mounts need, `reserve/` room to be given up on a full
 * disk.
 */
export class Layout {
  readonly root: string
  readonly database: string
  readonly locks: string
  readonly version: string
  readonly overlay: string
  readonly links: string
  readonly blobs: string
  readonly partials: string
  readonly ingests: string
  readonly mounts: string
  readonly empty: string
  readonly reserve: string

  constructor(root: string) {
    this.root = root
    this.database = join(root, 'windlass.db')
    this.locks = join(root, 'locks')
    this.version = join(root, 'version')
    this.overlay = join(root, 'overlay2')
    this.links = join(root, 'overlay2', 'l')
    this.blobs = join(root, 'blobs')
    this.partials = join(root, 'partial')
    this.ingests = join(root, 'ingest')
    this.mounts = join(root, 'mounts')
    this.empty = join(root, 'empty')
    this.reserve = join(root, 'reserve')
  }

  blobDirectory(digest: Digest): string {
    return join(this.blobs, digestAlgorithm(digest))
  }

  blob(digest: Digest): string {
    return join(this.blobDirectory(digest), digestHex(digest))
  }

  partial(digest: Digest): string {
    return join(this.partials, `${digestAlgorithm(digest)}-${digestHex(digest)}`)
  }

  layer(cacheId: string): string {
    return join(this.overlay, cacheId)
  }

  diff(cacheId: string): string {
    return join(this.overlay, cacheId, 'diff')
  }

  link(link: string): string {
    return join(this.links, link)
  }

  ingest(session: string): string {
    return join(this.ingests, session)
  }

  mount(id: string): string {
    return join(this.mounts, id)
  }
}

/** The digest that a file name of `partial/` stands for, or undefined for a name that is none of ours. */
export function parsePartialName(name: string): Digest | undefined {
  const text = name.replace('-', ':')
  return isDigest(text) ? text : undefined
}

/**
 * Finds or makes the store's directories.
 * @throws WindlassError NOT_FOUND if there is no store and `create` is false, FAILED if the directory holds something else,
 * UNSUPPORTED if a newer windlass made it
 */
export function openLayout(root: string, create: boolean): Layout {
  try {
    const there = existsSync(join(root, 'version'))
    if (!there) {
      if (!create)
        throw new WindlassError('NOT_FOUND', `Cannot open store ${root}: there is none`, {
          hint: 'pull an image first',
        })
      makeRoot(resolve(root))
    }
    const layout = new Layout(realpathSync(root))
    if (there || existsSync(layout.version)) checkVersion(layout)
    if (!there || !isReadOnly(layout)) makeDirectories(layout)
    return layout
  } catch (error) {
    throw isWindlassError(error) ? error : wrapError(error, `Cannot open store ${root}`)
  }
}

/** True if the store lies on a filesystem that is mounted read-only: it can be looked at. */
export function isReadOnly(layout: Layout): boolean {
  try {
    accessSync(layout.root, constants.W_OK)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EROFS'
  }
}

/** Refuses a directory with foreign content: a mistyped --root must not have its modes changed or be swept. */
function makeRoot(root: string): void {
  makePath(root, 0o700)
  const names = readdirSync(root)
  // Another process has made it meanwhile.
  if (names.includes('version')) return
  const foreign = names.filter(name => !ownNames.has(name) && name !== 'lost+found')
  if (foreign.length > 0) {
    throw new WindlassError(
      'FAILED',
      `Cannot make a store in ${root}: it holds other files; wanted an empty directory`,
      {
        hint: 'choose another directory with --root',
      },
    )
  }
  chmodSync(root, 0o700)
}

/** Also what other rooms keep under the same root, and may have kept before there was a store: the journals of the doctor's cures. */
const ownNames = new Set(
  'windlass.db windlass.db-wal windlass.db-shm locks overlay2 blobs partial ingest mounts empty reserve cures'.split(
    ' ',
  ),
)

function checkVersion(layout: Layout): void {
  const text = readFileSync(layout.version, 'utf8').trim()
  if (text === String(layoutVersion) || text === '') return // empty: power was lost before the first store was whole
  throw new WindlassError(
    'UNSUPPORTED',
    `Cannot open store ${layout.root}: its layout is version ${JSON.stringify(text.slice(0, 20))}; this windlass knows version ${layoutVersion}`,
    { hint: 'use the windlass that made it, or another directory with --root' },
  )
}

/** The root is closed to others: the set-user-ID programs of strangers' images lie below it. Modes do not depend on the umask. */
function makeDirectories(layout: Layout): void {
  makeDirectory(layout.overlay, 0o710)
  for (const path of [layout.links, layout.blobs, layout.partials, layout.ingests, layout.mounts])
    makeDirectory(path, 0o700)
  for (const algorithm of ['sha256', 'sha512']) makeDirectory(join(layout.blobs, algorithm), 0o700)
  makeDirectory(layout.empty, 0o755)
  if (!existsSync(layout.locks)) writeFileSync(layout.locks, '', { flag: 'a', mode: 0o600 })
  if (!existsSync(layout.version)) writeFileSync(layout.version, `${layoutVersion}\n`, { mode: 0o600 })
}

/** Makes one directory with exactly this mode, or leaves the one that is there. It looks first: on a frozen filesystem mkdir hangs also for what is there. */
function makeDirectory(path: string, mode: number): void {
  if (existsSync(path)) return
  try {
    mkdirSync(path, mode)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
    throw error
  }
  chmodSync(path, mode)
}
