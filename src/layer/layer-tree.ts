import { WindlassError } from '../errors.ts'
import { defaultTarLimits, type EntryType, showName, type TarEntry } from '../tar/entry.ts'
import { aufsLinks, baseName, cleanName, parentName, parseWhiteout } from './names.ts'

/** What a layer says of one file. Hard links to the same file share one object. */
export interface NodeFacts {
  readonly type: Exclude<EntryType, 'link'>
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Length of a file; 0 for all else. */
  readonly size: number
  readonly mtimeSeconds: number
  readonly mtimeNanoseconds: number
  readonly linkName: string
  readonly major: number
  readonly minor: number
  readonly xattrs: ReadonlyMap<string, Uint8Array> | undefined
  /** Where the file's content is in its layer: the name of its entry. */
  readonly name: string
  /** SHA-256 of the content, if it was asked for. */
  readonly hash: string | undefined
  /** Where the content was written down, if it was asked for. */
  spooledAt: number | undefined
  /** The layer that it is from, for whoever lays trees over each other. */
  layer: number
}

/**
 * A name in a tree. With children it is a directory, and without facts one that no entry describes; with neither it is a whiteout, which
 * hides what is below.
 */
export interface TreeNode {
  facts: NodeFacts | undefined
  readonly children: Map<string, TreeNode> | undefined
  /** Of a directory: nothing of the layers below shows in it. */
  isOpaque: boolean
}

/** A directory that nothing describes gets this, as it does when it is unpacked. */
export const impliedFacts: NodeFacts = {
  type: 'directory',
  mode: 0o755,
  uid: 0,
  gid: 0,
  size: 0,
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
  linkName: '',
  major: 0,
  minor: 0,
  xattrs: undefined,
  name: '',
  hash: undefined,
  spooledAt: undefined,
  layer: 0,
}

/** As in Linux, path_resolution(7). */
const symlinksMax = 40

export function emptyDirectory(facts?: NodeFacts): TreeNode {
  return { facts, children: new Map(), isOpaque: false }
}

export function isWhiteout({ facts, children }: TreeNode): boolean {
  return facts === undefined && children === undefined
}

/**
 * The tree of one layer as overlayfs would be given it (`apply.ts` makes the same on a disk): entries in the order of the tar, a later one in the place
 * of an earlier one, whiteouts kept for the layers below.
 */
export class LayerTree {
  readonly root = emptyDirectory()
  readonly #impliedMax: number
  /** aufs' files with several names, which only hard links lead to. */
  readonly #aufsLinks = new Map<string, NodeFacts>()
  #implied = 0

  constructor({ impliedMax } = defaultTarLimits) {
    this.#impliedMax = impliedMax
  }

  /**
   * @param read called for a file whose content counts: what else is known of it then
   * @throws WindlassError CORRUPT, LIMIT_EXCEEDED
   */
  add(entry: TarEntry, read: (name: string) => Pick<NodeFacts, 'hash' | 'spooledAt'>): void {
    const name = cleanName(entry.name)
    const whiteout = parseWhiteout(name)
    if (whiteout.kind === 'metadata') return this.#keepLinked(name, entry, read)
    if (whiteout.kind === 'opaque') this.#directory(parentName(name)).isOpaque = true
    else if (whiteout.kind === 'whiteout') this.#whiteOut(this.#directory(parentName(name)), whiteout.hidden)
    else if (entry.type === 'directory') this.#addDirectory(name, toFacts(entry, name, nothingRead))
    else if (name === '') throw corrupt(entry.name, 'the root of a layer must be a directory')
    else if (entry.type === 'link') this.#addLink(name, entry)
    else {
      if (entry.type === 'symlink' && entry.linkName === '') throw corrupt(entry.name, 'a symlink without a target')
      const siblings = this.#childrenOf(name)
      const more = entry.type === 'file' ? read(name) : nothingRead
      siblings.set(baseName(name), { facts: toFacts(entry, name, more), children: undefined, isOpaque: false })
    }
  }

  #keepLinked(name: string, entry: TarEntry, read: (name: string) => Pick<NodeFacts, 'hash' | 'spooledAt'>): void {
    if (entry.type === 'file' && parentName(name) === aufsLinks)
      this.#aufsLinks.set(name, toFacts(entry, name, read(name)))
  }

  #whiteOut(directory: TreeNode, hidden: string): void {
    const children = directory.children as Map<string, TreeNode>
    const there = children.get(hidden)
    if (there === undefined) children.set(hidden, { facts: undefined, children: undefined, isOpaque: false })
    else if (there.children !== undefined) {
      there.isOpaque = true
      there.facts ??= impliedFacts
    }
  }

  #addDirectory(name: string, facts: NodeFacts): void {
    if (name === '') {
      this.root.facts = facts
      return
    }
    const siblings = this.#childrenOf(name)
    const there = siblings.get(baseName(name))
    if (there?.children !== undefined) there.facts = facts
    // What was there, a whiteout or a file, hid a directory below; so must this.
    else siblings.set(baseName(name), { facts, children: new Map(), isOpaque: there !== undefined })
  }

  #addLink(name: string, entry: TarEntry): void {
    const target = cleanName(entry.linkName)
    const kept = this.#aufsLinks.get(target)
    const found = kept === undefined ? this.#find(target) : { facts: kept, children: undefined }
    if (found?.facts === undefined || found.children !== undefined) {
      const why = found?.children === undefined ? 'does not exist in this layer' : 'is a directory'
      throw corrupt(entry.name, `the target ${showName(entry.linkName)} of this hard link ${why}`)
    }
    this.#childrenOf(name).set(baseName(name), { facts: found.facts, children: undefined, isOpaque: false })
  }

  /** A name, symlinks on the way to it followed. */
  #find(name: string): TreeNode | undefined {
    const found = follow(this.root, parentName(name))
    return found.kind === 'directory' ? found.node.children?.get(baseName(name)) : undefined
  }

  #childrenOf(name: string): Map<string, TreeNode> {
    return this.#directory(parentName(name)).children as Map<string, TreeNode>
  }

  /** The directory of that name, made with its missing parents; symlinks of this layer are followed. */
  #directory(name: string): TreeNode {
    let way = name
    for (let left = symlinksMax; left > 0; left--) {
      const found = follow(this.root, way)
      if (found.kind === 'directory') return found.node
      if (found.kind !== 'none') break
      // No way leads back out of what is missing.
      if (found.rest.includes('..')) break
      if (found.isDangling) way = cleanName(found.path)
      else this.#imply(found)
    }
    throw new WindlassError(
      'CORRUPT',
      `Cannot unpack into ${showName(name)}: it is not a directory, yet entries stand in it`,
    )
  }

  #imply({ parent, rest, isWhiteout: isHiding }: Missing): void {
    let at = parent
    for (const [index, part] of rest.entries()) {
      if (++this.#implied > this.#impliedMax) throw tooManyImplied(this.#impliedMax)
      const isHidden = index === 0 && isHiding
      const made: TreeNode = { facts: isHidden ? impliedFacts : undefined, children: new Map(), isOpaque: isHidden }
      at.children?.set(part, made)
      at = made
    }
  }
}

const nothingRead = { hash: undefined, spooledAt: undefined }

function toFacts(entry: TarEntry, name: string, more: Pick<NodeFacts, 'hash' | 'spooledAt'>): NodeFacts {
  const { type, mode, uid, gid, fileSize, mtimeSeconds, mtimeNanoseconds, linkName, major, minor, xattrs } = entry
  const kind = type === 'link' ? 'file' : type
  return {
    type: kind,
    mode: kind === 'symlink' ? 0o777 : mode,
    uid,
    gid,
    size: kind === 'file' ? fileSize : 0,
    mtimeSeconds,
    mtimeNanoseconds,
    linkName: kind === 'symlink' ? linkName : '',
    major,
    minor,
    xattrs,
    name,
    layer: 0,
    ...more,
  }
}

interface Missing {
  readonly kind: 'none'
  /** The last directory that is there, and the parts that are not. */
  readonly parent: TreeNode
  readonly rest: readonly string[]
  /** The first of them is hidden here, whatever the layers below have. */
  readonly isWhiteout: boolean
  /** Nothing of the layers below shows where it would be. */
  readonly isSealed: boolean
  /** A symlink led to where nothing is. */
  readonly isDangling: boolean
  /** The way to what is missing, without symlinks. */
  readonly path: string
}

/** Where a name leads in a tree. */
export type Found =
  | { readonly kind: 'directory'; readonly node: TreeNode; readonly path: string; readonly isSealed: boolean }
  /** Something that is no directory; with `rest` if more of the name comes after it. */
  | { readonly kind: 'other'; readonly node: TreeNode; readonly path: string; readonly rest: readonly string[] }
  | { readonly kind: 'circle' }
  | Missing

/** Follows a name from the root of a tree, symlinks too, as a process whose root it is would: nothing leads out of it. */
export function follow(root: TreeNode, name: string): Found {
  const walk = new Walk(root)
  let todo = name.split('/')
  let symlinks = 0
  // How many of the parts come from a symlink.
  let borrowed = 0
  while (todo.length > 0) {
    const [part = '', ...rest] = todo
    const isBorrowed = borrowed > 0
    if (isBorrowed) borrowed--
    todo = rest
    const node = walk.step(part)
    if (node === 'stepped') continue
    if (node === undefined || isWhiteout(node)) {
      const { isSealed, here: parent } = walk
      const parts = [part, ...rest]
      const missing = { parent, rest: parts, isWhiteout: node !== undefined, isSealed, isDangling: isBorrowed }
      return { kind: 'none', ...missing, path: walk.join(...parts) }
    }
    if (node.facts?.type !== 'symlink') return { kind: 'other', node, path: walk.join(part), rest }
    if (++symlinks > symlinksMax) return { kind: 'circle' }
    const { linkName } = node.facts
    if (linkName.startsWith('/')) walk.restart()
    const target = linkName.split('/')
    borrowed += target.length
    todo = [...target, ...rest]
  }
  return { kind: 'directory', node: walk.here, path: walk.join(), isSealed: walk.isSealed }
}

/** The directories from the root to where a walk has come. */
class Walk {
  readonly #root: TreeNode
  #path: { readonly part: string; readonly node: TreeNode }[] = []

  constructor(root: TreeNode) {
    this.#root = root
  }

  get here(): TreeNode {
    return this.#path.at(-1)?.node ?? this.#root
  }

  get isSealed(): boolean {
    return this.#root.isOpaque || this.#path.some(({ node }) => node.isOpaque)
  }

  join(...more: string[]): string {
    return [...this.#path.map(({ part }) => part), ...more].join('/')
  }

  restart(): void {
    this.#path = []
  }

  /** Goes on to a directory; what else is there, if anything, is given back. */
  step(part: string): 'stepped' | TreeNode | undefined {
    if (part === '' || part === '.') return 'stepped'
    if (part === '..') {
      this.#path.pop()
      return 'stepped'
    }
    const node = this.here.children?.get(part)
    if (node?.children === undefined) return node
    this.#path.push({ part, node })
    return 'stepped'
  }
}

/**
 * Lays the tree of a lower layer, or of several, under one of upper layers, which is changed; parts of the lower one become parts of it.
 */
export function mergeBelow(upper: TreeNode, lower: TreeNode): void {
  upper.facts ??= lower.facts
  if (upper.isOpaque) return
  const { children } = upper
  for (const [name, below] of lower.children ?? []) {
    const above = children?.get(name)
    if (above === undefined) children?.set(name, below)
    else if (above.children === undefined) continue
    else if (below.children !== undefined) mergeBelow(above, below)
    // What is no directory hides those of the layers below it, also where a layer above has one again.
    else above.isOpaque = true
  }
  upper.isOpaque = lower.isOpaque
}

/** A node of a list in which parents come before children: a tree nests too deep to be handed from one thread to another. */
export interface FlatNode extends Pick<TreeNode, 'facts' | 'isOpaque'> {
  readonly name: string
  /** The parent's place in the list; -1 for the root. */
  readonly parent: number
  readonly isDirectory: boolean
}

export function flattenTree(root: TreeNode): FlatNode[] {
  const list: FlatNode[] = []
  const todo = [{ name: '', parent: -1, node: root }]
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const { name, parent, node } = next
    const { facts, children, isOpaque } = node
    const at = list.push({ name, parent, facts, isOpaque, isDirectory: children !== undefined }) - 1
    for (const [part, child] of children ?? []) todo.push({ name: part, parent: at, node: child })
  }
  return list
}

/** @param list of `flattenTree` */
export function unflattenTree(list: readonly FlatNode[]): TreeNode {
  const nodes: TreeNode[] = []
  for (const { name, parent, facts, isOpaque, isDirectory } of list) {
    const node: TreeNode = { facts, children: isDirectory ? new Map() : undefined, isOpaque }
    nodes.push(node)
    nodes[parent]?.children?.set(name, node)
  }
  return nodes[0] ?? emptyDirectory()
}

function tooManyImplied(max: number): WindlassError {
  const message = `Cannot read layer: it makes more than ${max} directories that it does not describe`
  return new WindlassError('LIMIT_EXCEEDED', message)
}

function corrupt(name: string, why: string): WindlassError {
  return new WindlassError('CORRUPT', `Cannot read entry ${showName(name)}: ${why}`)
}
