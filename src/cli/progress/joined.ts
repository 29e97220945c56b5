import type { PullEvent } from '../../copy/events.ts'

export type JoinedEvent = PullEvent & { readonly source: string }

/** Makes one stream of the events of several operations that run at a time: the layers of all of them, each with a number of its own. */
export class JoinedEvents {
  readonly #numbers = new Map<string, Map<number, number>>()
  #next = 0

  /** The events to show for one of an operation's. `source` tells the operation. */
  take(source: string, event: PullEvent): JoinedEvent[] {
    if (event.type === 'start' || event.type === 'delivery' || event.type === 'done') return []
    if (event.type === 'resolved') {
      this.#numbers.delete(source)
      return event.layers.map(({ digest, size }, at) => {
        return { type: 'layer', layer: this.#number(source, at), digest, size, phase: 'waiting', source }
      })
    }
    const layer = event.layer === undefined ? {} : { layer: this.#number(source, event.layer) }
    if (event.type === 'warning' || event.type === 'notice')
      return [{ ...event, ...layer, source, message: `${source}: ${event.message}` }]
    return [{ ...event, ...layer, source }]
  }

  #number(source: string, layer: number): number {
    const numbers = this.#numbers.get(source) ?? new Map<number, number>()
    this.#numbers.set(source, numbers)
    const known = numbers.get(layer)
    if (known !== undefined) return known
    const number = this.#next++
    numbers.set(layer, number)
    return number
  }
}
