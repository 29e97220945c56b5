/** Lets a bounded number in at a time, in the order they came. */
export class Gate {
  #free: number
  readonly #queue: (() => void)[] = []

  constructor(slots: number) {
    this.#free = slots
  }

  /** Resolves when there is a slot; dispose what it gives to leave. */
  async enter(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted()
    if (this.#free > 0) this.#free--
    else await this.#wait(signal)
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
    else next()
  }

  #wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const admit = (): void => {
        signal.removeEventListener('abort', abort)
        resolve()
      }
      const abort = (): void => {
        this.#queue.splice(this.#queue.indexOf(admit), 1)
        reject(signal.reason)
      }
      signal.addEventListener('abort', abort, { once: true })
      this.#queue.push(admit)
    })
  }
}
