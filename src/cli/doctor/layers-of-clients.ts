/** Layers from the registry, for a rescue whose engine has let go of the compressed bytes. */
import { fetchLayers } from '../../copy/fetch-layers.ts'
import { openImage } from '../../copy/places.ts'
import { type ClientPull, findClientPulls } from '../../doctor/clients.ts'
import type { FoundEngine } from '../../doctor/engines.ts'
import type { LayerFile } from '../../doctor/rescue/layer-files.ts'
import { formatReference, parseReference } from '../../oci/reference.ts'
import type { HostView } from '../../sys/host-view.ts'
import { makePath } from '../../sys/make-path.ts'
import type { Context } from '../command.ts'
import { plainConnections } from '../connections.ts'
import { writeNote } from '../output.ts'
import { placeOptions } from '../transfer.ts'

interface FetchChoice {
  readonly engine: FoundEngine
  /** The image that the user names; else those that clients of our own user are pulling with this engine. */
  readonly named: string | undefined
  readonly sizeMax: number
  /** Told each time that something has come. */
  readonly moved: (() => void) | undefined
}

export async function fetchFromRegistry(
  context: Context,
  host: HostView,
  { engine, named, sizeMax, moved }: FetchChoice,
): Promise<LayerFile[]> {
  const wanted = listWanted(await findClientPulls(host, engine), named)
  const options = await placeOptions(context, plainConnections)
  makePath(context.root, 0o700)
  const found: LayerFile[] = []
  await using stack = new AsyncDisposableStack() // each takes room on the disk as long as it is open
  for (const { reference, platform } of wanted) {
    await using image = await openImage({ kind: 'docker', reference }, options)
    const { signal, root: directory } = context
    try {
      for await (const layer of fetchLayers(image, { signal, sizeMax, directory, platform, moved })) {
        const name = `${image.source.name}/${reference.path} ${layer.digest}`
        if (found.some(other => other.digest === layer.digest)) await layer[Symbol.asyncDispose]()
        else found.push({ ...stack.use(layer), name, position: undefined, isFetched: true })
      }
    } catch (error) {
      if (named !== undefined || context.signal.aborted) throw error
      writeNote(context, `  ${(error as Error).message}`) // it may be another engine's, or its layers are here already
    }
  }
  stack.move()
  return found
}

type Wanted = Pick<ClientPull, 'reference' | 'platform'>

/** What clients pull, each once. An image that the user names is had for the platforms that clients ask for, if they pull that one. */
export function listWanted(pulls: readonly ClientPull[], named: string | undefined): readonly Wanted[] {
  const image = named === undefined ? undefined : parseReference(named)
  const isWanted = ({ reference, isOfMany }: ClientPull) =>
    !isOfMany && (image === undefined || formatReference(reference) === formatReference(image))
  const found = pulls.filter(isWanted).map(({ reference, platform }) => ({ reference, platform }))
  if (image !== undefined && found.length === 0) return [{ reference: image, platform: undefined }]
  const keyOf = ({ reference, platform }: Wanted) => `${formatReference(reference)} ${platform}`
  return [...new Map(found.map(one => [keyOf(one), one])).values()]
}
