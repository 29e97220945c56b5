import { lookup } from 'node:dns/promises'
import { Socket } from 'node:net'
import type { buildConnector as Connector } from 'undici'
import { openTcpSocket } from '../../sys/libc.ts'
import { buildConnector } from './undici.ts'

/**
 * Connections in which neither side sends larger segments: what passes so and not otherwise is held up by a path that drops large packets and does not say
 * so. 536 is what every path takes (RFC 9293, section 3.7.1).
 */
export function connectInSmallSegments(options: Connector.BuildOptions, segmentMax: number): Connector.connector {
  const secure = buildConnector(options)
  return (target, callback) => {
    const isSecure = target.protocol === 'https:'
    const port = Number(target.port || (isSecure ? 443 : 80))
    openSmall(target.hostname, port, segmentMax, options.timeout ?? 10_000).then(
      socket => (isSecure ? secure({ ...target, httpSocket: socket }, callback) : callback(null, socket)),
      error => callback(error, null),
    )
  }
}

async function openSmall(hostname: string, port: number, segmentMax: number, timeoutMs: number): Promise<Socket> {
  const { address, family } = await lookup(hostname.replace(/^\[(.*)\]$/, '$1'))
  const fd = openTcpSocket(family === 6 ? 6 : 4, segmentMax)
  const socket = new Socket({ fd, readable: true, writable: true })
  const { promise, resolve, reject } = Promise.withResolvers<Socket>()
  const timer = setTimeout(() => socket.destroy(new Error(`no connection in ${timeoutMs / 1000} s`)), timeoutMs)
  socket.once('error', reject)
  socket.connect({ host: address, port }, () => resolve(socket))
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    socket.removeListener('error', reject)
    socket.on('error', () => {}) // whoever uses it listens, too
  }
}
