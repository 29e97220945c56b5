/** One connection, made and closed: whether something listens there, and whether anything answers. */
import { connect } from 'node:net'

export interface Connected {
  /** `refused` for any quick answer that is none; `silent` where nothing came in time. */
  readonly outcome: 'connected' | 'refused' | 'silent'
  readonly tookMs: number
}

/** Never throws. @param address of either family */
export function tryConnection(
  address: string,
  port: number,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Connected> {
  const start = performance.now()
  const { promise, resolve } = Promise.withResolvers<Connected>()
  const socket = connect({ host: address, port })
  const end = (outcome: Connected['outcome']) => {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
    socket.destroy()
    resolve({ outcome, tookMs: performance.now() - start })
  }
  const stop = () => end('silent')
  const timer = setTimeout(stop, timeoutMs)
  signal.addEventListener('abort', stop, { once: true })
  socket.once('connect', () => end('connected'))
  socket.on('error', ({ code }: NodeJS.ErrnoException) => end(code === 'ETIMEDOUT' ? 'silent' : 'refused'))
  return promise
}
