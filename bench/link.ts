/** A link with a long round trip, and a bounded rate for each connection: a TCP proxy on loopback. */
import { createServer, connect as openSocket, type Socket } from 'node:net'

export interface Link extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly host: string
}

export interface LinkOptions {
  readonly roundTripMs: number
  /** Of each connection, in each direction. */
  readonly bytesPerSecond: number
}

/** @param target `host:port` */
export async function openLink(target: string, options: LinkOptions): Promise<Link> {
  const [host, port] = target.split(':')
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true, allowHalfOpen: true }, client => {
    const upstream = openSocket({ host: host ?? '', port: Number(port), noDelay: true, allowHalfOpen: true })
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      socket.on('error', () => {})
    }
    // The handshake on loopback costs nothing: its round trip is paid by the first bytes.
    passOn(client, upstream, { ...options, firstMs: options.roundTripMs })
    passOn(upstream, client, { ...options, firstMs: 0 })
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port was given')
  return {
    host: `127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise(done => server.close(done))
    },
  }
}

/** What is on its way, beyond what the rate and the round trip hold: as the window of a sender that is large enough. */
const aheadBytesMin = 256 * 1024

function passOn(from: Socket, to: Socket, options: LinkOptions & { firstMs: number }): void {
  const { roundTripMs, bytesPerSecond, firstMs } = options
  const windowBytes = Math.max(aheadBytesMin, (bytesPerSecond * roundTripMs * 2) / 1000)
  // One timer for all of it: timers of different lengths may fire in another order than they are due.
  const onTheWay: { readonly dueMs: number; readonly deliver: () => void }[] = []
  let sentMs = performance.now() + firstMs
  let pending = 0
  const arrive = (): void => {
    while ((onTheWay[0]?.dueMs ?? Infinity) <= performance.now()) onTheWay.shift()?.deliver()
    if (onTheWay[0] !== undefined) setTimeout(arrive, Math.max(0, onTheWay[0].dueMs - performance.now()))
  }
  const send = (deliver: () => void): void => {
    onTheWay.push({ dueMs: sentMs + roundTripMs / 2, deliver })
    if (onTheWay.length === 1) arrive()
  }
  from.on('data', chunk => {
    sentMs = Math.max(sentMs, performance.now()) + (chunk.length * 1000) / bytesPerSecond
    pending += chunk.length
    if (pending > windowBytes) from.pause()
    send(() => {
      if (to.destroyed) return
      to.write(chunk, () => {
        pending -= chunk.length
        if (pending <= windowBytes) from.resume()
      })
    })
  })
  from.once('end', () => send(() => to.end()))
  // What it has sent still arrives.
  from.once('close', () => send(() => to.destroySoon()))
}
