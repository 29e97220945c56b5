import type { FileHandle } from 'node:fs/promises'
import { type ErrorCode, WindlassError } from '../errors.ts'
import { Channel } from '../flow/channel.ts'
import { factsOf, liveChildren } from '../layer/compare-trees.ts'
import { emptyDirectory, type Found, follow, mergeBelow, type NodeFacts, type TreeNode } from '../layer/layer-tree.ts'
import { openSpool } from '../places/archive/spool.ts'
import type { ByteSink } from '../places/archive/tar-output.ts'
import { showName } from '../tar/entry.ts'
import { type TarHeaderFields, tarEnd, tarHeader, tarPadding } from '../tar/writer.ts'
import type { PullEvent } from './events.ts'
import { ImageLayers, type ReadImageOptions } from './image-layers.ts'
import type { OpenedSource } from './places.ts'
import { settle, tell } from './pull.ts'
import type { Emit } from './pull-layers.ts'

export interface GetOptions extends ReadImageOptions {
  /** Where contents are kept until they are verified, without a name. */
  readonly spoolDirectory: string
}

/** What was got. */
export interface GotPath {
  /** Absolute, without symlinks. */
  readonly path: string
  readonly type: 'file' | 'directory'
  /** Of the file, or of the tar. */
  readonly size: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** How many layers were read. */
  readonly layersRead: number
}

export interface GetRun extends AsyncIterable<PullEvent> {
  readonly result: Promise<GotPath>
}

/**
 * Brings one file of an image, or a directory as a tar, into a sink. Layers are read from the top down, until it is sure what the path is; symlinks are
 * followed within the image. Not a byte goes out before the layer that it is from is verified. The caller closes source and sink.
 * @param path absolute or relative to the image's root
 */
export function getPath(opened: OpenedSource, path: string, sink: ByteSink, options: GetOptions): GetRun {
  const events = new Channel<PullEvent>()
  const running = runGet(opened, path, sink, options, event => tell(events, event))
  return settle(events, running, `Cannot get ${path}`, options)
}

async function runGet(
  opened: OpenedSource,
  path: string,
  sink: ByteSink,
  options: GetOptions,
  emit: Emit,
): Promise<GotPath> {
  const signal = options.signal ?? new AbortController().signal
  const layers = await ImageLayers.open(opened, { options, signal, emit })
  await using spool = await openSpool(options.spoolDirectory)
  const search = new Search(layers, path, spool)
  const found = await search.find()
  const facts = factsOf(found.node) as NodeFacts
  await search.fetch(found)
  const size = facts.type === 'file' ? await writeFile(facts, spool, sink) : await writeTree(found.node, spool, sink)
  await sink.commit()
  const { mode, uid, gid } = facts
  const type = facts.type === 'file' ? 'file' : 'directory'
  const resolved = Buffer.from(`/${found.path}`, 'latin1').toString()
  return { path: resolved, type, size, mode, uid, gid, layersRead: search.layersRead }
}

interface Located {
  readonly node: TreeNode
  /** In the image, without symlinks; a byte string. */
  readonly path: string
}

/** Looks for a path through the layers of an image, from the top down. */
class Search {
  readonly #layers: ImageLayers
  readonly #wanted: string
  readonly #spool: FileHandle
  readonly #tree = emptyDirectory()
  #position = 0
  layersRead = 0

  constructor(layers: ImageLayers, wanted: string, spool: FileHandle) {
    this.#layers = layers
    this.#wanted = wanted
    this.#spool = spool
  }

  /** @throws WindlassError NOT_FOUND; FAILED if it is neither a file nor a directory */
  async find(): Promise<Located> {
    const name = Buffer.from(this.#wanted).toString('latin1')
    let under = name.replace(/^\/+|\/+$/g, '')
    for (let at = this.#layers.count - 1; at >= 0; at--) {
      const { root, spoolEnd } = await this.#layers.read(at, { spool: this.#spoolFrom({ under }) })
      this.#position = spoolEnd
      this.layersRead++
      mergeBelow(this.#tree, root)
      const found = follow(this.#tree, name)
      if (isDecided(found)) {
        for (let below = at - 1; below >= 0; below--) this.#layers.skip(below)
        return this.#check(found)
      }
      under = found.path
    }
    return this.#check(follow(this.#tree, name))
  }

  /** Sees to it that the contents of all files below are in the spool: those that came by under another name are read once more. */
  async fetch({ node, path }: Located): Promise<void> {
    const missing = new Map<number, { readonly path: string; readonly facts: NodeFacts }[]>()
    for (const { name, facts } of walk(node, path)) {
      if (facts.type !== 'file' || facts.spooledAt !== undefined) continue
      missing.set(facts.layer, [...(missing.get(facts.layer) ?? []), { path: name, facts }])
    }
    for (const [layer, files] of missing) await this.#fetchFrom(layer, files)
  }

  async #fetchFrom(layer: number, files: readonly { readonly path: string; readonly facts: NodeFacts }[]) {
    const names = new Set(files.map(({ facts }) => facts.name))
    const { root, spoolEnd } = await this.#layers.read(layer, { spool: this.#spoolFrom({ names }) })
    this.#position = spoolEnd
    // The same layer gives the same tree.
    for (const { path, facts } of files) facts.spooledAt = nodeAt(root, path)?.facts?.spooledAt
  }

  #spoolFrom(wanted: { under: string } | { names: ReadonlySet<string> }) {
    return { fd: this.#spool.fd, position: this.#position, ...wanted }
  }

  #check(found: Found): Located {
    if (found.kind === 'circle') throw this.#error('FAILED', `more than 40 symlinks are on the way`)
    if (found.kind === 'none') throw this.#error('NOT_FOUND', `${showName(`/${found.path}`)} is not there`)
    const { node, path } = found
    if (found.kind === 'other' && found.rest.length > 0)
      throw this.#error('NOT_FOUND', `${showName(`/${path}`)} is no directory`)
    const type = factsOf(node)?.type
    if (type === 'file' || type === 'directory') return { node, path }
    throw this.#error('FAILED', `it is a ${type === 'fifo' ? 'fifo' : 'device'}; wanted a file or a directory`)
  }

  #error(code: ErrorCode, state: string): WindlassError {
    const hint = code === 'NOT_FOUND' ? { hint: 'paths are those inside the image, from its root' } : {}
    return new WindlassError(code, `Cannot get ${this.#wanted}: ${state}`, hint)
  }
}

/** True if no layer below can change what it is. A directory is made of all layers that have it. */
function isDecided(found: Found): found is Exclude<Found, { kind: 'none' | 'directory' }> {
  if (found.kind === 'directory') return found.isSealed
  return found.kind !== 'none' || found.isWhiteout || found.isSealed
}

function nodeAt(root: TreeNode, path: string): TreeNode | undefined {
  let node: TreeNode | undefined = root
  for (const part of path === '' ? [] : path.split('/')) node = node?.children?.get(part)
  return node
}

/** All that is at and below a node, by name, directories before what is in them. */
function* walk(node: TreeNode, name: string): Generator<{ readonly name: string; readonly facts: NodeFacts }> {
  const facts = factsOf(node)
  if (facts !== undefined) yield { name, facts }
  const children = [...liveChildren(node)].sort(([a], [b]) => (a < b ? -1 : 1))
  for (const [part, child] of children) yield* walk(child, name === '' ? part : `${name}/${part}`)
}

async function writeFile(facts: NodeFacts, spool: FileHandle, sink: ByteSink): Promise<number> {
  await writeContent(facts, spool, sink)
  return facts.size
}

/** Bytes per read. */
const pieceSize = 1024 * 1024

async function writeContent({ spooledAt = 0, size }: NodeFacts, spool: FileHandle, sink: ByteSink): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(pieceSize, Math.max(size, 1)))
  for (let at = 0; at < size; ) {
    const { bytesRead } = await spool.read(buffer, 0, Math.min(buffer.length, size - at), spooledAt + at)
    if (bytesRead === 0) throw new WindlassError('FAILED', 'Cannot read what was kept of the layer: it ends early')
    await sink.write(buffer.subarray(0, bytesRead))
    at += bytesRead
  }
}

/** A tar of what is in a directory, with names relative to it. */
async function writeTree(directory: TreeNode, spool: FileHandle, sink: ByteSink): Promise<number> {
  const written = new Map<NodeFacts, string>()
  let bytes = 0
  const write = async (chunk: Uint8Array): Promise<void> => {
    bytes += chunk.length
    await sink.write(chunk)
  }
  for (const { name, facts } of walk(directory, '.')) {
    const first = written.get(facts)
    await write(tarHeader(first === undefined ? toFields(name, facts) : toLink(name, first, facts)))
    if (facts.type !== 'directory' && first === undefined) written.set(facts, name)
    if (facts.type !== 'file' || first !== undefined) continue
    await writeContent(facts, spool, sink)
    bytes += facts.size
    await write(tarPadding(facts.size))
  }
  await write(tarEnd)
  return bytes
}

const types = {
  file: 'file',
  symlink: 'symlink',
  char: 'character',
  block: 'block',
  directory: 'directory',
  fifo: 'fifo',
} as const

function toFields(name: string, facts: NodeFacts): TarHeaderFields {
  const { mode, uid, gid, size, mtimeSeconds, mtimeNanoseconds, linkName, major, minor, xattrs } = facts
  const type = types[facts.type]
  return {
    name: Buffer.from(name, 'latin1'),
    type,
    mode,
    uid,
    gid,
    size,
    mtimeNs: BigInt(mtimeSeconds) * 1_000_000_000n + BigInt(mtimeNanoseconds),
    ...(type === 'symlink' && { linkName: Buffer.from(linkName, 'latin1') }),
    ...((type === 'character' || type === 'block') && { device: { major, minor } }),
    xattrs: [...(xattrs ?? [])],
  }
}

function toLink(name: string, target: string, facts: NodeFacts): TarHeaderFields {
  return { ...toFields(name, facts), type: 'hardlink', size: 0, linkName: Buffer.from(target, 'latin1'), xattrs: [] }
}
