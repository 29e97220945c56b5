import { impliedFacts, isWhiteout, type NodeFacts, type TreeNode } from './layer-tree.ts'

/** In what two files of one name differ. */
export type Difference = 'type' | 'content' | 'size' | 'mode' | 'owner' | 'target' | 'device' | 'xattrs' | 'time'

/** One name that is not the same in both trees. */
export interface TreeChange {
  /** A byte string, absolute. */
  readonly path: string
  readonly change: 'added' | 'removed' | 'changed'
  readonly before: NodeFacts | undefined
  readonly after: NodeFacts | undefined
  /** Empty for what was added or removed. */
  readonly differences: readonly Difference[]
}

/** All changes from one tree to another, by path. Trees without layers below: a whiteout is nothing. @param times whether times count */
export function* compareTrees(before: TreeNode, after: TreeNode, times: boolean): Generator<TreeChange> {
  yield* comparePair('/', before, after, times)
}

function* comparePair(
  path: string,
  before: TreeNode | undefined,
  after: TreeNode | undefined,
  times: boolean,
): Generator<TreeChange> {
  // Both images have the layers from which it is.
  if (before === after) return
  const [factsBefore, factsAfter] = [factsOf(before), factsOf(after)]
  if (factsBefore === undefined || factsAfter === undefined) {
    const change = factsBefore === undefined ? 'added' : 'removed'
    yield { path, change, before: factsBefore, after: factsAfter, differences: [] }
  } else {
    const differences = compareFacts(factsBefore, factsAfter, times)
    if (differences.length > 0) yield { path, change: 'changed', before: factsBefore, after: factsAfter, differences }
  }
  const [childrenBefore, childrenAfter] = [liveChildren(before), liveChildren(after)]
  const names = new Set([...childrenBefore.keys(), ...childrenAfter.keys()])
  const prefix = path === '/' ? path : `${path}/`
  for (const name of [...names].sort())
    yield* comparePair(`${prefix}${name}`, childrenBefore.get(name), childrenAfter.get(name), times)
}

/** Of an image's tree in which all layers are laid over each other. */
export function factsOf(node: TreeNode | undefined): NodeFacts | undefined {
  return node?.facts ?? (node?.children === undefined ? undefined : impliedFacts)
}

/** What is in a directory, whiteouts left out. */
export function liveChildren(node: TreeNode | undefined): Map<string, TreeNode> {
  return new Map([...(node?.children ?? [])].filter(([, child]) => !isWhiteout(child)))
}

function compareFacts(a: NodeFacts, b: NodeFacts, times: boolean): Difference[] {
  if (a === b) return []
  if (a.type !== b.type) return ['type']
  const differs: Readonly<Record<Exclude<Difference, 'type'>, boolean>> = {
    content: a.hash !== b.hash,
    size: a.size !== b.size,
    mode: a.mode !== b.mode,
    owner: a.uid !== b.uid || a.gid !== b.gid,
    target: a.linkName !== b.linkName,
    device: a.major !== b.major || a.minor !== b.minor,
    xattrs: !sameXattrs(a.xattrs, b.xattrs),
    time: times && (a.mtimeSeconds !== b.mtimeSeconds || a.mtimeNanoseconds !== b.mtimeNanoseconds),
  }
  return (Object.keys(differs) as (keyof typeof differs)[]).filter(key => differs[key])
}

function sameXattrs(a: NodeFacts['xattrs'], b: NodeFacts['xattrs']): boolean {
  if ((a?.size ?? 0) !== (b?.size ?? 0)) return false
  return [...(a ?? [])].every(([name, value]) => {
    const other = b?.get(name)
    return other !== undefined && Buffer.compare(value, other) === 0
  })
}
