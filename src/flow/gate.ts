/** Lets a bounded number in at a time: the heaviest that wait first, and among equals in the order they came. */
export class Gate {
  #free: number
  readonly #queue: { readonly weight: number; readonly admit: () => void }[] = []

  constructor(slots: number) {
    this.#free = slots
  }

  /** Resolves when there is a slot; dispose what it gives to leave. */
  async enter(signal: AbortSignal, weight = 0): Promise<Disposable> {
    signal.throwIfAborted()
    if (this.#free > 0) this.#free--
    else await this.#wait(signal, weight)
    let left = false
    return {
      [Symbol.dispose]: () => {
        if (left) return
        left = true
        this.#leave()
      },
    }
  }

  #leave(): void {
    const next = this.#queue.shift()
    if (next === undefined) this.#free++
    else next.admit()
  }

  #wait(signal: AbortSignal, weight: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const admit = (): void => {
        signal.removeEventListener('abort', abort)
        resolve()
      }
      const abort = (): void => {
        this.#queue.splice(this.#queue.indexOf(waiting), 1)
        reject(signal.reason)
      }
      signal.addEventListener('abort', abort, { once: true })
      const waiting = { weight, admit }
      const lighter = this.#queue.findIndex(other => other.weight < weight)
      this.#queue.splice(lighter < 0 ? this.#queue.length : lighter, 0, waiting)
    })
  }
}
