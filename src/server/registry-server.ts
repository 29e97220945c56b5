import { createReadStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { WindlassError, wrapError } from '../errors.ts'
import { getManifest, putManifest } from './manifests.ts'
import { type Reply, refuse, replyJson } from './reply.ts'
import { parseRange, parseRoute, type Route } from './route.ts'
import { Storage } from './storage.ts'
import { Uploads } from './uploads.ts'

export interface RegistryServerOptions {
  /** The directory of its blobs and tags; made if missing. One server at a time. */
  readonly directory: string
  /** Default 127.0.0.1: there are no passwords, and whoever can connect can push. */
  readonly host?: string
  /** Default 0: any free port. */
  readonly port?: number
}

export interface RegistryServer extends AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly url: string
  /** `127.0.0.1:PORT`, the domain for references. */
  readonly host: string
  readonly port: number
  /** Stops listening and ends what is under way. */
  close(): Promise<void>
}

/** A connection on which nothing moves for so long belongs to nobody. */
const idleMs = 60_000
/** Pieces in which blobs are read from disk: fewer turns of the event loop, bounded memory for each request. */
const pieceBytes = 1024 * 1024

/**
 * A registry on plain http (OCI distribution-spec 1.1): pull, push and the list of tags, without delete. Blobs are shared by all
 * repositories and verified before they can be read.
 * @throws WindlassError PERMISSION, NO_SPACE or FAILED if the directory cannot be made or the port is taken
 */
export async function serveRegistry(options: RegistryServerOptions): Promise<RegistryServer> {
  const { directory, host = '127.0.0.1', port = 0 } = options
  const doing = `Cannot serve a registry from ${directory} on ${host}:${port}`
  try {
    await mkdir(directory, { recursive: true })
    const storage = new Storage(directory)
    const handler = new Handler(storage)
    const server = createServer({ requestTimeout: 0 }, (request, response) => void handler.serve(request, response))
    server.timeout = idleMs
    await listen(server, host, port)
    return makeServer(server, host)
  } catch (error) {
    throw wrapError(error, doing)
  }
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen(port, host, resolve)
  await promise
  server.off('error', reject)
}

function makeServer(server: Server, address: string): RegistryServer {
  const { port } = server.address() as AddressInfo
  const host = `${address.includes(':') ? `[${address}]` : address}:${port}`
  const close = async () => {
    const closed = new Promise(resolve => server.close(resolve))
    server.closeAllConnections()
    await closed
  }
  return { url: `http://${host}`, host, port, close, [Symbol.asyncDispose]: close }
}

class Handler {
  readonly #storage: Storage
  readonly #uploads: Uploads

  constructor(storage: Storage) {
    this.#storage = storage
    this.#uploads = new Uploads(storage)
  }

  /** Never throws: whatever goes wrong is answered, or ends the connection. */
  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const url = URL.parse(request.url ?? '', 'http://registry.invalid')
      const route: Route = url === null ? { kind: 'invalid', what: 'path' } : parseRoute(url.pathname)
      const reply = await this.#answer(route, request, url?.searchParams ?? new URLSearchParams())
      await send(reply, request, response)
    } catch (error) {
      if (response.headersSent) response.destroy()
      else await send(failure(error), request, response).catch(() => response.destroy())
    }
  }

  #answer(route: Route, request: IncomingMessage, query: URLSearchParams): Promise<Reply> | Reply {
    const method = request.method === 'HEAD' ? 'GET' : request.method
    const { headers } = request
    switch (route.kind) {
      case 'base':
        return method === 'GET' ? replyJson(200, {}) : unsupported
      case 'tags':
        return method === 'GET' ? this.#listTags(route.name, query) : unsupported
      case 'manifest':
        if (method === 'GET') return getManifest(this.#storage, route.name, route.reference)
        return method === 'PUT' ? putManifest(this.#storage, route, headers['content-type'], request) : unsupported
      case 'blob':
        return method === 'GET' ? this.#getBlob(route, headers.range) : unsupported
      case 'uploads':
        return method === 'POST'
          ? this.#uploads.start({ name: route.name, query, headers, body: request })
          : unsupported
      case 'upload':
        return this.#answerUpload(method, route, { name: route.name, query, headers, body: request })
      case 'invalid':
        return refuseRoute(route.what)
    }
  }

  #answerUpload(
    method: string | undefined,
    { id, name }: { id: string; name: string },
    request: Parameters<Uploads['append']>[1],
  ): Promise<Reply> | Reply {
    if (method === 'GET') return this.#uploads.show(id, name)
    if (method === 'PATCH') return this.#uploads.append(id, request)
    if (method === 'PUT') return this.#uploads.finish(id, request)
    return method === 'DELETE' ? this.#uploads.cancel(id, name) : unsupported
  }

  async #getBlob({ digest }: Extract<Route, { kind: 'blob' }>, rangeHeader: string | undefined): Promise<Reply> {
    const size = await this.#storage.findBlob(digest)
    if (size === undefined) return refuse(404, 'BLOB_UNKNOWN', 'no such blob')
    const range = parseRange(rangeHeader, size)
    if (range === 'unsatisfiable') return { status: 416, headers: { 'content-range': `bytes */${size}` } }
    const { start, end } = range ?? { start: 0, end: size }
    const headers = {
      'content-type': 'application/octet-stream',
      'docker-content-digest': digest,
      'accept-ranges': 'bytes',
      ...(range !== undefined && { 'content-range': `bytes ${start}-${end - 1}/${size}` }),
    }
    return {
      status: range === undefined ? 200 : 206,
      headers,
      body: { path: this.#storage.blobPath(digest), start, end },
    }
  }

  /** OCI distribution-spec, "Listing Tags": `n` of them after `last`. */
  async #listTags(name: string, query: URLSearchParams): Promise<Reply> {
    const tags = await this.#storage.listTags(name)
    if (tags === undefined) return refuse(404, 'NAME_UNKNOWN', 'no such repository')
    const last = query.get('last')
    const rest = last === null ? tags : tags.filter(tag => tag > last)
    const n = /^\d{1,9}$/.test(query.get('n') ?? '') ? Number(query.get('n')) : rest.length
    const page = rest.slice(0, n)
    const reply = replyJson(200, { name, tags: page })
    if (page.length === 0 || page.length === rest.length) return reply
    const next = `</v2/${name}/tags/list?n=${n}&last=${page.at(-1)}>; rel="next"`
    return { ...reply, headers: { ...reply.headers, link: next } }
  }
}

const unsupported: Reply = refuse(405, 'UNSUPPORTED', 'this registry does not do that')

function refuseRoute(what: Extract<Route, { kind: 'invalid' }>['what']): Reply {
  if (what === 'digest') return refuse(400, 'DIGEST_INVALID', 'the digest is not one')
  if (what === 'name') return refuse(400, 'NAME_INVALID', 'the name of the repository is not one')
  if (what === 'reference') return refuse(400, 'MANIFEST_INVALID', 'neither a tag nor a digest')
  return refuse(404, 'UNSUPPORTED', 'no such address')
}

function failure(error: unknown): Reply {
  const { code } = wrapError(error, 'Cannot answer')
  const status = code === 'NO_SPACE' ? 507 : 500
  return replyJson(status, {
    errors: [{ code: 'UNKNOWN', message: new WindlassError(code, 'the registry failed').message }],
  })
}

async function send(reply: Reply, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { status, headers, body } = reply
  const length = body === undefined ? 0 : 'path' in body ? body.end - body.start : body.byteLength
  const lengthHeader = status === 204 ? {} : { 'content-length': String(length) }
  response.writeHead(status, { 'docker-distribution-api-version': 'registry/2.0', ...headers, ...lengthHeader })
  if (request.method === 'HEAD' || body === undefined || length === 0) {
    response.end()
  } else if ('path' in body) {
    const { path, start, end } = body
    await pipeline(createReadStream(path, { start, end: end - 1, highWaterMark: pieceBytes }), response)
  } else {
    response.end(body)
  }
}
