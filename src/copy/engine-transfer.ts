import { isWindlassError, type WindlassError } from '../errors.ts'
import type { StageMeter } from '../flow/stage.ts'
import type { Digest } from '../oci/digest.ts'
import type { DockerClient } from '../places/docker/client.ts'
import type { DeliveryContext } from './destination.ts'
import type { LayerPull } from './pull-layer.ts'
import { type LayersContext, pullLayers } from './pull-layers.ts'
import type { ResolvedImage } from './resolve.ts'
import { watchEngine } from './watch-engine.ts'

/** One image on its way into one engine, which takes the layers while others are still fetched. */
export interface Transfer {
  readonly image: ResolvedImage
  readonly context: DeliveryContext
  /** The layers that the engine has, by chain ID. */
  readonly present: ReadonlySet<Digest>
}

export interface DockerTransfer extends Transfer {
  readonly client: DockerClient
  /** The tag that it is to have, as docker prints it; none for an image that is known by its digest only. */
  readonly name: string | undefined
  /** It says nothing while it unpacks what it loads, as dockers do that keep their images in containerd: silence means nothing then. */
  readonly unpacksInSilence: boolean
}

export interface Transferred {
  readonly pulls: readonly LayerPull[]
  /** Layers that went over. */
  readonly sent: number
}

/** The engine said that it will not have the image by this route: it cannot reach us, or may not. Another one may do. */
export interface Refused {
  readonly refused: WindlassError
}

/** What an engine said, if that is why the transfer failed; throws what else went wrong. */
export function asRefusal(error: unknown): Refused {
  if (isWindlassError(error, 'FAILED') && error.facts['engine'] !== undefined) return { refused: error }
  throw error
}

interface Hooks extends Pick<LayersContext, 'emit' | 'onStart' | 'engine'> {
  /** How the engine is called. */
  readonly name: string
  /** The layers could not be had: whoever waits for one is to be told. */
  readonly onFailed?: (error: unknown) => void
}

/**
 * Fetches the layers, and sends them meanwhile. The first of both that fails ends the other; what the user or a layer says counts most.
 * @param send ends with the signal; its meter is active while the engine owes us something, and counts what shows that it moves
 */
export async function sendWhile(
  { image, context, present }: Transfer,
  { onFailed, name, ...hooks }: Hooks,
  send: (stop: AbortSignal, meter: StageMeter, fetched: Promise<unknown>) => Promise<void>,
): Promise<readonly LayerPull[]> {
  const stop = new AbortController()
  using watched = watchEngine(context, name)
  const { meter } = watched
  const signal = AbortSignal.any([context.signal, stop.signal, watched.signal])
  const pulling = pullLayers(image, { ...context, ...hooks, signal, engineLayers: present })
  const isStopped = (): boolean => stop.signal.aborted || watched.signal.aborted
  let isOurs = false
  pulling.catch(error => {
    isOurs = !isStopped()
    onFailed?.(error)
    stop.abort(error)
  })
  const sending = send(signal, meter, pulling)
  sending.catch(error => stop.abort(error))
  const [pulls, sent] = await Promise.allSettled([pulling, sending])
  context.signal.throwIfAborted()
  watched.signal.throwIfAborted()
  if (pulls.status === 'rejected' && isOurs) throw pulls.reason
  if (sent.status === 'rejected') throw sent.reason
  if (pulls.status === 'rejected') throw pulls.reason
  return pulls.value
}
