import { randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { wrapError } from '../../errors.ts'
import type { Digest } from '../../oci/digest.ts'
import type { Document } from '../place.ts'

/** More than any engine opens at once; a stranger's connections must not use up our descriptors. */
const connectionsMax = 64
/** How long a connection may take to show that it is the engine's: engines ask as soon as they are connected. */
const introductionMs = 10_000
/** What a delivery calls its repository; the rest of the name is random. */
const repositoryPrefix = 'windlass-delivery'

export interface LoopbackBlob {
  /** If it is known before the end. */
  readonly size?: number
  /** The bytes as they come; called once for each answer that has them. */
  readonly read: () => AsyncIterable<Uint8Array>
}

export interface LoopbackImage {
  /** Served under their digests, the first one also under the tag `latest`. */
  readonly documents: readonly Document[]
  /** A blob of the image, undefined for another. Where its bytes end with an error, so does the answer: cut off, so that it cannot be taken for whole. */
  readonly openBlob: (digest: Digest) => LoopbackBlob | undefined
  /** Who does not give it gets nothing. For an engine that shows the name to other users of the host. */
  readonly login?: LoopbackLogin
}

/** For HTTP's basic authentication. */
export interface LoopbackLogin {
  readonly user: string
  readonly password: string
}

/** One that nobody can guess. */
export function makeLogin(): LoopbackLogin {
  return { user: 'windlass', password: randomBytes(16).toString('hex') }
}

/** As a header, and a file of docker's or podman's, has it, without the scheme. */
export function formatLogin({ user, password }: LoopbackLogin): string {
  return Buffer.from(`${user}:${password}`).toString('base64')
}

/**
 * A registry of one image for an engine of this host, on a port of loopback, where engines speak plain http. Its repository has a name that nobody can
 * guess, since every user of the host can reach the port, and pages in browsers, too. An engine that does not keep the name to itself logs in.
 */
export class LoopbackRegistry implements AsyncDisposable {
  /** `127.0.0.1:PORT/windlass-delivery/…` */
  readonly repository: string
  readonly #server: Server
  readonly #connections: Connections
  readonly #image: LoopbackImage
  readonly #path: string

  private constructor(server: Server, connections: Connections, image: LoopbackImage, path: string) {
    const { port } = server.address() as AddressInfo
    this.repository = `127.0.0.1:${port}/${path}`
    this.#server = server
    this.#connections = connections
    this.#image = image
    this.#path = path
    server.on('request', (request, response) => void this.#serve(request, response))
  }

  /**
   * @param patienceMs how long a connection may take to show that it is the engine's
   * @throws WindlassError if no port can be had
   */
  static async open(image: LoopbackImage, patienceMs = introductionMs): Promise<LoopbackRegistry> {
    const server = createServer({ requestTimeout: 0 })
    const connections = new Connections(patienceMs)
    server.on('connection', socket => connections.add(socket))
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
    try {
      await promise
    } catch (error) {
      throw wrapError(error, 'Cannot serve the image on 127.0.0.1')
    }
    return new LoopbackRegistry(server, connections, image, `${repositoryPrefix}/${randomBytes(16).toString('hex')}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise(resolve => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {}) // the engine has gone
    try {
      if (request.method !== 'GET' && request.method !== 'HEAD') return void response.writeHead(405).end()
      if (!this.#isAllowed(request.headers.authorization))
        return void response.writeHead(401, { 'www-authenticate': 'Basic realm="windlass"' }).end()
      await this.#answer(request, response)
    } catch {
      response.destroy()
    }
  }

  #isAllowed(given = ''): boolean {
    const { login } = this.#image
    if (login === undefined) return true
    const [own, other] = [`Basic ${formatLogin(login)}`, given].map(text => Buffer.from(text))
    return own !== undefined && other !== undefined && own.length === other.length && timingSafeEqual(own, other)
  }

  async #answer({ url = '', method, socket }: IncomingMessage, response: ServerResponse): Promise<void> {
    const isHead = method === 'HEAD'
    if (this.#image.login !== undefined) this.#connections.know(socket)
    if (/^\/v2\/?$/.test(url)) return void response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    const [, path, kind, name = ''] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/?]+)$/.exec(url) ?? []
    if (path !== this.#path) return void response.writeHead(404).end()
    this.#connections.know(socket)
    if (kind === 'manifests') return sendDocument(response, this.#findDocument(name), isHead)
    const blob = this.#image.openBlob(name as Digest)
    if (blob === undefined) return void response.writeHead(404).end()
    const { size } = blob
    const headers = { 'content-type': 'application/octet-stream', 'docker-content-digest': name }
    response.writeHead(200, size === undefined ? headers : { ...headers, 'content-length': `${size}` })
    if (isHead) return void response.end()
    await sendBytes(response, blob.read())
  }

  #findDocument(name: string): Document | undefined {
    const { documents } = this.#image
    return name === 'latest' ? documents[0] : documents.find(({ descriptor }) => descriptor.digest === name)
  }
}

/** Any user of the host may connect: those who have shown that they are the engine, by the name or the password, keep their places before all others. */
class Connections {
  readonly #patienceMs: number
  /** The oldest first. */
  readonly #strangers = new Map<Socket, NodeJS.Timeout>()
  readonly #known = new Set<Socket>()

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs
  }

  add(socket: Socket): void {
    if (this.#strangers.size + this.#known.size >= connectionsMax) {
      const [oldest] = this.#strangers.keys()
      if (oldest === undefined) return void socket.destroy()
      this.#forget(oldest)
      oldest.destroy()
    }
    const timer = setTimeout(() => socket.destroy(), this.#patienceMs)
    this.#strangers.set(socket, timer)
    socket.once('close', () => this.#forget(socket))
  }

  know(socket: Socket): void {
    if (!this.#strangers.has(socket)) return
    this.#forget(socket)
    this.#known.add(socket)
  }

  #forget(socket: Socket): void {
    clearTimeout(this.#strangers.get(socket))
    this.#strangers.delete(socket)
    this.#known.delete(socket)
  }
}

/** True for the name that a delivery gave an image on its way: one that died may have left it. */
export function isDeliveryName(name: string): boolean {
  return new RegExp(`^127\\.0\\.0\\.1:\\d+/${repositoryPrefix}/[0-9a-f]{32}[:@]`).test(name)
}

function sendDocument(response: ServerResponse, document: Document | undefined, isHead: boolean): void {
  if (document === undefined) return void response.writeHead(404).end()
  const { descriptor, bytes } = document
  response.writeHead(200, {
    'content-type': descriptor.mediaType,
    'content-length': `${bytes.length}`,
    'docker-content-digest': descriptor.digest,
  })
  response.end(isHead ? undefined : bytes)
}

/** Each chunk is on its way before the next one is asked for: it may be used again then. */
async function sendBytes(response: ServerResponse, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const { promise: closed, reject } = Promise.withResolvers<never>()
  response.once('close', () => reject(new Error('the engine has closed the connection')))
  closed.catch(() => {})
  response.flushHeaders()
  for await (const chunk of bytes) {
    const { promise: sent, resolve } = Promise.withResolvers<void>()
    response.write(chunk, () => resolve())
    await Promise.race([sent, closed])
  }
  response.end()
}
