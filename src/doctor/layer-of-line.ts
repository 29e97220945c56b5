/** Which layer a pipeline works on, which pulls wait for it, and who asked for them: what files, counters and the engine itself prove, and no more. */
import type { HostView } from '../sys/host-view.ts'
import { findClientPulls } from './clients.ts'
import { type FoundEngine, holdSocketOf } from './engines.ts'
import type { PullGoroutines } from './goroutines.ts'
import type { LayerUse } from './images-of-layer.ts'
import { slackBytes } from './lines.ts'
import { type LayerDescriptor, listLayerDescriptors } from './rescue/layer-files.ts'
import type { LineWatch } from './sample.ts'

/** What was found of the layer of one line. */
export interface LayerOfLine {
  readonly evidence: readonly string[]
  readonly facts: Readonly<Record<string, string>>
}

export interface LayerContext {
  /** All lines of the same engine, this one among them. */
  readonly lines: readonly LineWatch[]
  readonly counts: PullGoroutines | undefined
  readonly signal: AbortSignal
}

export async function describeLayer(host: HostView, watch: LineWatch, context: LayerContext): Promise<LayerOfLine> {
  const { engine, target } = watch.line
  const found = await findLayer(host, watch, context.lines)
  const digest = typeof found === 'object' ? await readDigest(host, engine, found) : undefined
  const uses = digest === undefined ? [] : await findUses(host, engine, digest, context.signal)
  const images = [...new Set(uses.flatMap(({ repositories, images }) => (images.length > 0 ? images : repositories)))]
  const clients = [...new Set((await findClientPulls(host, engine)).map(({ text }) => text))].join(', ')
  const evidence = [
    ...(typeof found === 'object' ? [describeFile(found, digest)] : found === 'none' ? [] : [several]),
    ...uses.map(describeUse),
    ...(target === undefined ? [] : [`it is unpacked into ${target}`]),
    ...describeWaiting(context),
    ...(clients === '' ? [] : [`clients on this host that wait for a pull of this engine: ${clients}`]),
  ]
  const facts = {
    ...(typeof found === 'object' && { layerFile: found.target }),
    ...(digest !== undefined && { layer: digest }),
    ...(images.length > 0 && { images: images.join(', ') }),
    ...(clients !== '' && { clients }),
  }
  return { evidence, facts }
}

/** @returns the file that the engine feeds this decompressor from; `several` where more than one file, or more than one decompressor, fits */
async function findLayer(
  host: HostView,
  watch: LineWatch,
  lines: readonly LineWatch[],
): Promise<LayerDescriptor | 'none' | 'several'> {
  const { engine } = watch.line
  const feeds = (file: LayerDescriptor, line: LineWatch) => mayFeed(host, engine, file, line)
  const candidates = await filter(listLayerDescriptors(host, engine), file => feeds(file, watch))
  const [only] = candidates
  if (only === undefined) return 'none'
  const others = await filter(lines, async line => line !== watch && (await feeds(only, line)))
  return candidates.length > 1 || others.length > 0 ? 'several' : only
}

/** The engine stands in the file where the decompressor has got to; where it reads from places of its own choice, the file must at least be as long. */
async function mayFeed(
  host: HostView,
  engine: FoundEngine,
  file: LayerDescriptor,
  { looks }: LineWatch,
): Promise<boolean> {
  const stage = looks.at(-1)?.sample.stages.find(({ kind }) => kind === 'decompress')
  if (stage === undefined) return false
  const handed = stage.bytesIn + (stage.inputBytes ?? 0)
  const { position = 0 } = file
  if (engine.kind === 'dockerd') return position > 0 && Math.abs(position - handed) <= slackBytes
  const facts = await host.disk.file(`/proc/${engine.process.pid}/fd/${file.fd}`)
  return facts === undefined || facts.size + slackBytes >= handed
}

async function filter<T>(values: readonly T[], isWanted: (value: T) => Promise<boolean>): Promise<T[]> {
  const wanted = await Promise.all(values.map(isWanted))
  return values.filter((_, at) => wanted[at])
}

/** dockerd's file has a name of chance: its bytes tell what it is, since it unpacks nothing that has not come whole. */
async function readDigest(host: HostView, engine: FoundEngine, file: LayerDescriptor): Promise<string | undefined> {
  if (file.digest !== undefined || engine.kind !== 'dockerd') return file.digest
  return await host.disk.digest?.(`/proc/${engine.process.pid}/fd/${file.fd}`)
}

function describeFile({ target, position = 0 }: LayerDescriptor, digest: string | undefined): string {
  const read = position === 0 ? '' : `, of which the engine has read ${position.toLocaleString('en-US')} bytes`
  if (digest === undefined) return `it decompresses the layer in ${target}${read}`
  // The first twelve digits are what docker and podman show.
  return `it decompresses layer ${digest} (${digest.slice(7, 19)}), from ${target}${read}`
}

const several =
  'which layer it decompresses cannot be known: more than one file of the engine, or more than one decompressor, fits'

async function findUses(
  host: HostView,
  engine: FoundEngine,
  digest: string,
  signal: AbortSignal,
): Promise<readonly LayerUse[]> {
  if (engine.kind !== 'containerd' || host.network === undefined) return []
  const { findImagesOfLayer } = await import('./images-of-layer.ts')
  const sockets = await Promise.all(engine.sockets.map(socket => holdSocketOf(host, engine, socket)))
  await using held = new AsyncDisposableStack()
  const places = sockets.flatMap(socket => (socket === undefined ? [] : [held.use(socket).place]))
  return await findImagesOfLayer(places, digest, signal)
}

function describeUse({ namespace, repositories, images }: LayerUse): string {
  const origin = repositories.length === 0 ? '' : ` comes from ${repositories.join(', ')}`
  const names = images.length === 0 ? 'no image has it yet' : `is part of ${images.join(', ')}`
  return `in namespace ${namespace} that layer${origin === '' ? ' ' : `${origin}, and `}${names}`
}

/** While nothing else is unpacked or downloaded, all who wait for layers wait for this one. */
function describeWaiting({ counts, lines }: LayerContext): string[] {
  if (counts === undefined || counts.waiting === 0) return []
  const { waiting, unpacking, downloading } = counts
  const pulls = waiting === 1 ? '1 pull waits' : `${waiting} pulls wait`
  return unpacking === 1 && downloading === 0 && lines.length === 1
    ? [`${pulls} for it: the engine unpacks this layer alone, and downloads none (its goroutines)`]
    : [
        `${pulls} for layers, of which ${unpacking} are unpacked and ${downloading} downloaded (its goroutines): who waits for which they do not tell`,
      ]
}
