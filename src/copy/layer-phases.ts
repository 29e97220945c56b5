import type { EngineMessage } from '../places/docker/messages.ts'
import type { PullEvent } from './events.ts'
import type { ResolvedImage } from './resolve.ts'

/** Tells what docker does with each layer as that layer's phases. It names a layer by the first digits of its diffId. */
export class LayerPhases {
  readonly #image: ResolvedImage
  readonly #emit: (event: PullEvent) => void
  readonly #open = new Set<number>()
  readonly #complete = new Set<number>()
  #last: number | undefined

  constructor(image: ResolvedImage, emit: (event: PullEvent) => void) {
    this.#image = image
    this.#emit = emit
  }

  readonly emit = (event: PullEvent): void => {
    const isFetched = event.type === 'layer' && event.phase === 'done' && !this.#complete.has(event.layer)
    if (isFetched) this.#open.add(event.layer)
    this.#emit(isFetched ? { ...event, phase: 'delivering' } : event)
  }

  /** `docker load` takes one layer after the other. */
  readonly handleLoad = (message: EngineMessage): void => {
    const at = this.#find(message)
    if (at < 0 || at === this.#last) return
    if (this.#last !== undefined) this.#done(this.#last)
    this.#last = at
  }

  /** A pull of docker's own says when it has a layer; it may be done before we know that it has all. */
  readonly handlePull = (message: EngineMessage): void => {
    if (!/^(Pull complete|Already exists)/.test(message.status)) return
    const at = this.#find(message)
    this.#complete.add(at)
    this.#done(at)
  }

  finish(): void {
    for (const at of [...this.#open]) this.#done(at)
  }

  #find({ id }: EngineMessage): number {
    return id === '' ? -1 : this.#image.layers.findIndex(({ diffId }) => diffId.includes(`:${id}`))
  }

  #done(at: number): void {
    const layer = this.#image.layers[at]
    if (layer === undefined || !this.#open.delete(at)) return
    const { digest, size } = layer.descriptor
    this.#emit({ type: 'layer', layer: at, digest, size, phase: 'done' })
  }
}
