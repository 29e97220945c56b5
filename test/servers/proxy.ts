import { createServer, type IncomingMessage, type RequestListener, request as sendRequest } from 'node:http'
import { createServer as createTlsServer, type ServerOptions } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'

export interface Proxy extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly host: string
  /** `CONNECT host:port`, `GET http://…`, in order. */
  readonly seen: string[]
  /** Proxy-Authorization of each. */
  readonly authorizations: (string | undefined)[]
}

/**
 * A proxy on loopback that takes every name for this machine, so that a test may use names that nobody resolves.
 * @param answer a status that it answers everything with, or `mute` for none
 */
export async function startProxy(answer?: number | 'mute', tls?: ServerOptions): Promise<Proxy> {
  const seen: string[] = []
  const authorizations: (string | undefined)[] = []
  const sockets = new Set<Socket>()
  const note = (incoming: IncomingMessage): void => {
    seen.push(`${incoming.method} ${incoming.url}`)
    authorizations.push(incoming.headers['proxy-authorization'])
  }
  const listener: RequestListener = (incoming, response) => {
    note(incoming)
    if (answer === 'mute') return
    if (answer !== undefined) return void response.writeHead(answer).end()
    const { port, pathname, search } = new URL(incoming.url ?? '')
    const headers = { ...incoming.headers }
    delete headers['proxy-authorization']
    const outgoing = sendRequest({ host: '127.0.0.1', port, path: pathname + search, headers }, upstream => {
      response.writeHead(upstream.statusCode ?? 502, upstream.headers)
      upstream.pipe(response)
    })
    outgoing.on('error', () => response.destroy()).end()
  }
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener)
  server.on('connection', socket => {
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
  })
  server.on('connect', (incoming: IncomingMessage, client: Socket) => {
    note(incoming)
    if (answer === 'mute') return
    if (answer !== undefined) return void client.end(`HTTP/1.1 ${answer} No\r\ncontent-length: 0\r\n\r\n`)
    const upstream = connect(Number(incoming.url?.split(':').at(-1)), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connected\r\n\r\n')
      upstream.pipe(client).pipe(upstream)
    })
    sockets.add(upstream)
    upstream.on('error', () => client.destroy()).on('close', () => client.destroy())
    client.on('close', () => upstream.destroy())
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    authorizations,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise(resolve => server.close(resolve))
    },
  }
}
