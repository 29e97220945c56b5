import { Channel } from '../flow/channel.ts'
import { compareTrees, type TreeChange } from '../layer/compare-trees.ts'
import { emptyDirectory, mergeBelow, type TreeNode } from '../layer/layer-tree.ts'
import type { PullEvent } from './events.ts'
import { ImageLayers, type ReadImageOptions } from './image-layers.ts'
import type { OpenedSource } from './places.ts'
import { settle, tell } from './pull.ts'
import type { Emit } from './pull-layers.ts'

export interface DiffOptions extends ReadImageOptions {
  /** Whether the times of files count as differences. */
  readonly times?: boolean
}

/** A comparison under way; the changes come by path, each when it is asked for. */
export interface DiffRun extends AsyncIterable<PullEvent> {
  readonly result: Promise<Iterable<TreeChange>>
}

/**
 * Compares the files of two images, as who mounts them sees them. Nothing is unpacked: each layer flows through a thread once, those that both have
 * at their base only once. Memory goes by the number of files. The caller closes the sources.
 */
export function diffImages(before: OpenedSource, after: OpenedSource, options: DiffOptions): DiffRun {
  const events = new Channel<PullEvent>()
  return settle(
    events,
    runDiff([before, after], options, event => tell(events, event)),
    'Cannot compare images',
    options,
  )
}

async function runDiff(
  [before, after]: readonly [OpenedSource, OpenedSource],
  options: DiffOptions,
  emit: Emit,
): Promise<Iterable<TreeChange>> {
  const context = { options, signal: options.signal ?? new AbortController().signal, emit }
  const first = await ImageLayers.open(before, context)
  // What is told of the other image comes later, so that its progress is its own.
  const held: PullEvent[] = []
  let isOpened = false
  const second = await ImageLayers.open(after, {
    ...context,
    emit: event => (isOpened ? emit(event) : held.push(event)),
  })
  const shared = countShared(first, second)
  const top = await readLayers(first, shared, first.count)
  const base = await readLayers(first, 0, shared)
  for (const event of held) emit(event)
  isOpened = true
  for (let at = 0; at < shared; at++) second.skip(at)
  const other = await readLayers(second, shared, second.count)
  mergeBelow(top, base)
  mergeBelow(other, base)
  return { [Symbol.iterator]: () => compareTrees(top, other, options.times === true) }
}

/** Layers at the base of both. */
function countShared({ image: a }: ImageLayers, { image: b }: ImageLayers): number {
  const at = a.layers.findIndex(({ chainId }, index) => chainId !== b.layers[index]?.chainId)
  return at < 0 ? a.layers.length : at
}

/** The layers from `start` up to `end`, laid over each other. */
async function readLayers(layers: ImageLayers, start: number, end: number): Promise<TreeNode> {
  const tree = emptyDirectory()
  for (let at = end - 1; at >= start; at--) mergeBelow(tree, (await layers.read(at, { hashes: true })).root)
  return tree
}
