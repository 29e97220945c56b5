/** Passes a stream on; silence for that long ends it with the error. */
export async function* withIdle(
  bytes: AsyncIterable<Uint8Array>,
  ms: number,
  toError: (ms: number) => Error,
): AsyncGenerator<Uint8Array, void, void> {
  const iterator = bytes[Symbol.asyncIterator]()
  try {
    while (true) {
      const { promise: late, reject } = Promise.withResolvers<never>()
      const timer = setTimeout(() => reject(toError(ms)), ms)
      const next = await Promise.race([iterator.next(), late]).finally(() => clearTimeout(timer))
      if (next.done) return
      yield next.value
    }
  } finally {
    void iterator.return?.()
  }
}
