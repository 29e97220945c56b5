import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { digestOf } from './push.ts'

/** A step of a push, by what the registry is asked for. */
export type UploadPhase = 'look' | 'start' | 'chunk' | 'status' | 'finish' | 'manifest'

export interface UploadExchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Bytes of the upload that are here. */
  readonly received: () => number
  /** Takes the body, or its first bytes, as a healthy registry would, with a pause after each piece; resolves when they are here. */
  take(bytesMax?: number, pauseMs?: number): Promise<void>
  /** Goes on as a healthy registry. */
  well(): Promise<void>
}

/** What a registry does instead of answering well, once. */
export type UploadFault = (exchange: UploadExchange) => void | Promise<void>

export interface UploadRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly host: string
  /** `phase`, with its Content-Range and Authorization if there are any, in order. */
  readonly seen: string[]
  readonly blobs: ReadonlyMap<string, Buffer>
  readonly manifests: ReadonlyMap<string, Buffer>
  /** Most bytes of one request's body. */
  readonly bodyMax: number
}

/** A registry on a free port of 127.0.0.1 that takes pushes into memory, and fails as told: the faults of a phase are used up one by one. */
export async function startUploadRegistry(
  faults: Partial<Record<UploadPhase, readonly UploadFault[]>> = {},
  { chunkMin }: { chunkMin?: number } = {},
): Promise<UploadRegistry> {
  const left = new Map(Object.entries(faults).map(([phase, list]) => [phase, [...list]]))
  const uploads = new Map<string, Buffer>()
  const blobs = new Map<string, Buffer>()
  const manifests = new Map<string, Buffer>()
  const seen: string[] = []
  let bodyMax = 0
  let count = 0
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    response.on('error', () => {})
    const { method = '', url = '' } = request
    const [path = '', query] = url.split('?', 2)
    const id = /\/uploads\/(.+)$/.exec(path)?.[1] ?? ''
    const phase = phaseOf(method, path)
    if (phase === undefined) return void response.writeHead(200).end()
    const range = request.headers['content-range']
    seen.push([phase, range, request.headers.authorization].filter(text => text !== undefined).join(' '))
    const name = path.slice(path.lastIndexOf('/') + 1)
    let taken = 0
    const take = async (bytesMax = Number.POSITIVE_INFINITY, pauseMs = 0): Promise<void> => {
      for await (const chunk of request as AsyncIterable<Buffer>) {
        const piece = chunk.subarray(0, bytesMax - taken)
        taken += piece.length
        bodyMax = Math.max(bodyMax, taken)
        uploads.set(id, Buffer.concat([uploads.get(id) ?? Buffer.alloc(0), piece]))
        if (taken >= bytesMax) return
        if (pauseMs > 0) await sleep(pauseMs)
      }
    }
    const received = (): number => uploads.get(id)?.length ?? 0
    const location = `/v2/app/blobs/uploads/${id}`
    const well = async (): Promise<void> => {
      if (phase === 'look') return void response.writeHead(blobs.has(name) ? 200 : 404).end()
      if (phase === 'start') {
        uploads.set(`${++count}`, Buffer.alloc(0))
        const min = chunkMin === undefined ? {} : { 'oci-chunk-min-length': `${chunkMin}` }
        return void response.writeHead(202, { location: `/v2/app/blobs/uploads/${count}`, ...min }).end()
      }
      if (phase === 'manifest') {
        const bytes = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>))
        manifests.set(name, bytes)
        return void response.writeHead(201, { 'docker-content-digest': digestOf(bytes) }).end()
      }
      if (!uploads.has(id)) return void response.writeHead(404).end()
      if (phase === 'status')
        return void response.writeHead(204, { location, range: `0-${Math.max(received() - 1, 0)}` }).end()
      if (range !== undefined && Number(range.split('-', 1)[0]) !== received())
        return void response.writeHead(416, { location, range: `0-${received() - 1}` }).end()
      await take()
      if (phase === 'chunk') return void response.writeHead(202, { location, range: `0-${received() - 1}` }).end()
      const digest = new URLSearchParams(query).get('digest') ?? ''
      const bytes = uploads.get(id) ?? Buffer.alloc(0)
      uploads.delete(id)
      if (digestOf(bytes) !== digest) {
        const errors = [{ code: 'DIGEST_INVALID', message: 'provided digest did not match uploaded content' }]
        return void response.writeHead(400).end(JSON.stringify({ errors }))
      }
      blobs.set(digest, bytes)
      response.writeHead(201, { location: `/v2/app/blobs/${digest}`, 'docker-content-digest': digest }).end()
    }
    const fault = left.get(phase)?.shift()
    if (fault === undefined) return await well()
    await fault({ request, response, received, take, well })
  }
  const server = createServer((request, response) => void answer(request, response).catch(() => response.destroy()))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    blobs,
    manifests,
    get bodyMax() {
      return bodyMax
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

function phaseOf(method: string, path: string): UploadPhase | undefined {
  if (path.includes('/manifests/')) return 'manifest'
  if (method === 'HEAD') return 'look'
  if (method === 'POST') return 'start'
  if (method === 'PATCH') return 'chunk'
  if (method === 'PUT') return 'finish'
  return path.includes('/uploads/') ? 'status' : undefined
}

/** Breaks the connection (RST) after so many bytes of the body. */
export function breaksAfter(bytes: number): UploadFault {
  return async ({ request, take }) => {
    await take(bytes)
    request.socket.resetAndDestroy()
  }
}

/** Does what is asked, and breaks before it says so. */
export function breaksBeforeAnswer(): UploadFault {
  return async exchange => {
    const { response, request } = exchange
    response.writeHead = () => response
    response.end = () => response
    await exchange.well()
    request.socket.resetAndDestroy()
  }
}

/** Takes the request, or its first bytes, and says nothing more. */
export function fallsSilent(bytes?: number): UploadFault {
  return async ({ take }) => {
    if (bytes !== undefined) await take(bytes)
  }
}

/** Takes the body and answers so. */
export function answers(status: number, headers: Readonly<Record<string, string>> = {}, text = ''): UploadFault {
  return async ({ request, response }) => {
    for await (const _ of request as AsyncIterable<Buffer>);
    response.writeHead(status, headers).end(text)
  }
}
