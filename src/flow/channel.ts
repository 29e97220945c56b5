/** A queue of events from one writer to one reader: the writer never waits, the reader gets all that was written, then the end. */
export class Channel<T> implements AsyncIterable<T> {
  #items: T[] = []
  readonly #latest = new Map<string, number>()
  #closed = false
  #wake: (() => void) | undefined

  push(item: T): void {
    if (this.#closed) return
    this.#items.push(item)
    this.#wake?.()
  }

  /** As `push`, but takes the place of an item of the same key that nobody has read yet: the reader wants the newest only. */
  replace(key: string, item: T): void {
    const at = this.#latest.get(key)
    if (at !== undefined) this.#items[at] = item
    else {
      this.#latest.set(key, this.#items.length)
      this.push(item)
    }
  }

  close(): void {
    this.#closed = true
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, void> {
    while (true) {
      const items = this.#items
      this.#items = []
      this.#latest.clear()
      yield* items
      if (this.#items.length > 0) continue
      if (this.#closed) return
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
      this.#wake = undefined
    }
  }
}
