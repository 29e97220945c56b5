/**
 * Asks the source for its next chunk while the consumer still works on this one, so that work in libuv's pool and work in the event loop
 * overlap. Chunks of the source must stay valid after the next one was asked for.
 */
export async function* readAhead<T>(source: AsyncIterable<T>): AsyncGenerator<T, void, void> {
  const iterator = source[Symbol.asyncIterator]()
  let next = iterator.next()
  try {
    while (true) {
      const result = await next
      if (result.done) return
      next = iterator.next()
      // Its failure is reported when it is awaited; until then it must not count as unhandled.
      next.catch(() => {})
      yield result.value
    }
  } finally {
    await next.catch(() => {})
    await iterator.return?.()
  }
}
