import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { findOrigin, isPlainHttpAllowed, openConnections } from './connection.ts'
import { defaultTimeouts } from './limits.ts'

test('a registry may do without TLS by its name alone, whatever that name resolves to', async () => {
  const server = createServer((_, response) => response.end()).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  const options = { plainHttp: isPlainHttpAllowed, connectMs: 5_000, signal: AbortSignal.timeout(20_000) }
  const originOf = async (host: string): Promise<string> => {
    const connections = openConnections(host, defaultTimeouts, {})
    try {
      return (await findOrigin(host, connections, options)).origin
    } finally {
      await connections.dispatcher.destroy()
    }
  }
  // 127.1 and 2130706433 are other spellings of the address, which the parser of URLs reads as it.
  for (const host of ['127.0.0.1', '127.1', '2130706433', 'localhost'])
    assert.match(await originOf(`${host}:${port}`), /^http:/, host)
  // 0.0.0.0 leads to this machine, too, and the last is resolved to it by whoever holds the name.
  for (const host of ['0.0.0.0', 'localhost.example', '127.0.0.1.example'])
    assert.equal(await originOf(`${host}:${port}`), `https://${host}:${port}`)
  server.close()
  server.closeAllConnections()
})
