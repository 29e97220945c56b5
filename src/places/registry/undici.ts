/**
 * The part of undici that registries need. Its index also loads fetch, WebSocket, caches and mocks, which takes as long as all of windlass
 * together; and what is CommonJS comes sooner by require than by import.
 */
import { createRequire } from 'node:module'

type Undici = typeof import('undici')

const require = createRequire(import.meta.url)
const Dispatcher = require('undici/lib/dispatcher/dispatcher') as Undici['Dispatcher']
// As the index does, for all methods.
Object.assign(Dispatcher.prototype, { request: require('undici/lib/api/api-request') })

export const Agent = require('undici/lib/dispatcher/agent') as Undici['Agent']
export const Pool = require('undici/lib/dispatcher/pool') as Undici['Pool']
export const buildConnector = require('undici/lib/core/connect') as Undici['buildConnector']
/** Few have a proxy. It asks its connections for tunnels. */
export function loadProxyAgent(): Undici['ProxyAgent'] {
  Object.assign(Dispatcher.prototype, { connect: require('undici/lib/api/api-connect') })
  return require('undici/lib/dispatcher/proxy-agent')
}
