/** A daemon that falls silent, at each thing that it is asked: it is named and given up, and nothing of the delivery outlives a cancel. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { PullEvent } from '../../src/copy/events.ts'
import { type DockerRoute, intoDocker } from '../../src/copy/into-docker.ts'
import { type PullOptions, type PullPatience, pull } from '../../src/copy/pull.ts'
import { isWindlassError } from '../../src/errors.ts'
import { noCredentials } from '../../src/places/registry/credentials.ts'
import { makeNoise, type ServedImage, serveImage } from './image.ts'

const layers = [makeNoise('one', 24_000_000), makeNoise('two', 3_000_000)]
let image: ServedImage
before(async () => {
  image = await serveImage(layers)
})
after(() => image?.[Symbol.asyncDispose]())

/** What the daemon does with the images that it is given. */
type Take = (request: http.IncomingMessage, response: http.ServerResponse) => Promise<void>

const graphDriver = { ServerVersion: '20.10.24', Driver: 'overlay2', DriverStatus: [] as string[][] }
const snapshotter = {
  ...graphDriver,
  Driver: 'overlayfs',
  DriverStatus: [['driver-type', 'io.containerd.snapshotter.v1']],
}

interface TestDaemon extends AsyncDisposable {
  readonly server: http.Server
  readonly endpoint: { readonly kind: 'unix'; readonly path: string }
  /** Of the delivery, beside what it asks for. */
  readonly choices: Pick<PullOptions, 'root' | 'platform' | 'credentials'>
}

async function startDaemon(take: Take, info: typeof graphDriver = graphDriver): Promise<TestDaemon> {
  const directory = await mkdtemp(join(tmpdir(), 'windlass-silent-'))
  const path = join(directory, 's')
  const server = http.createServer((request, response) => {
    request.on('error', () => {})
    response.on('error', () => {})
    const path = request.url?.replace(/^\/v[\d.]+/, '') ?? ''
    if (path === '/_ping') return response.writeHead(200, { 'api-version': '1.41' }).end('OK')
    if (path === '/info') return response.end(JSON.stringify(info))
    if (path.startsWith('/images/json')) return response.end('[]')
    if (request.method === 'POST') return void take(request, response).catch(() => response.destroy())
    return response.writeHead(404).end('{"message":"no such image"}')
  })
  await new Promise<void>(resolve => server.listen(path, resolve))
  return {
    server,
    endpoint: { kind: 'unix', path },
    choices: { root: join(directory, 'store'), platform: 'linux/amd64', credentials: noCredentials },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** Asks for what docker's own pull asks for. @param read takes the body of a layer */
async function pullFromUs(url: string, read: (body: http.IncomingMessage) => Promise<void>): Promise<void> {
  const query = new URL(url, 'http://docker').searchParams
  const [, host, path] = /^([^/]+)\/(.*)$/.exec(query.get('fromImage') ?? '') ?? []
  const base = `http://${host}/v2/${path}`
  const manifest = await (await fetch(`${base}/manifests/${query.get('tag')}`)).json()
  await Promise.all(
    (manifest as { layers: { digest: string }[] }).layers.map(async ({ digest }) => {
      const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>()
      http.get(`${base}/blobs/${digest}`, resolve).on('error', reject)
      await read(await promise)
    }),
  )
}

const drain = async (body: http.IncomingMessage) => {
  for await (const _ of body);
}
const never = new Promise<never>(() => {})

const silences: Readonly<Record<string, { route: DockerRoute; take: Take; says: RegExp }>> = {
  'in the middle of a layer that it pulls': {
    route: 'registry',
    take: async ({ url = '' }, response) => {
      response.write('{"status":"Pulling"}\n')
      await pullFromUs(url, async body => {
        for await (const _ of body) await never
      })
    },
    says: /layer 1: engine \(docker at .*\) has moved nothing for/,
  },
  'when it has pulled all layers': {
    route: 'registry',
    take: async ({ url = '' }, response) => {
      response.write('{"status":"Pulling"}\n')
      await pullFromUs(url, drain)
    },
    says: /the image: engine \(docker at .*\) has moved nothing for/,
  },
  'in the middle of an archive that it loads': {
    route: 'load',
    take: async request => {
      for await (const _ of request) await never
    },
    says: /the image: engine \(docker at .*\) has moved nothing for/,
  },
  'when it has the whole archive': {
    route: 'load',
    take: async (request, response) => {
      await drain(request)
      response.write('{"status":"Loading layer","id":"x"}\n')
    },
    says: /the image: engine \(docker at .*\) has moved nothing for/,
  },
}

interface Delivery {
  readonly route: DockerRoute
  readonly patience: PullPatience
  readonly signal?: AbortSignal
}

function deliver({ endpoint, choices }: TestDaemon, { route, patience, signal }: Delivery) {
  const into = intoDocker({ endpoint, env: {}, route })
  return pull(image.reference, { ...choices, into, patience, ...(signal && { signal }) })
}

describe('a daemon', { concurrency: 3 }, () => {
  for (const [when, { route, take, says }] of Object.entries(silences)) {
    test(`that falls silent ${when} is named and given up`, async () => {
      await using daemon = await startDaemon(take)
      const run = deliver(daemon, { route, patience: { engineMs: 1500, blame: { processIdleMs: 2500 } } })
      const events: PullEvent[] = []
      for await (const event of run) events.push(event)
      await assert.rejects(run.result, error => {
        assert.ok(isWindlassError(error, 'STALLED'), String(error))
        assert.match(error.message, says)
        return true
      })
      const stalls = events.filter(event => event.type === 'stall')
      assert.deepEqual(new Set(stalls.map(({ stage }) => stage)), new Set(['engine']))
    })

    test(`that falls silent ${when} does not keep what is cancelled`, async () => {
      const taken = Promise.withResolvers<void>()
      await using daemon = await startDaemon(async (request, response) => {
        taken.resolve()
        await take(request, response)
      })
      const stop = new AbortController()
      const run = deliver(daemon, { route, patience: { engineMs: 60_000 }, signal: stop.signal })
      await taken.promise
      await sleep(500)
      stop.abort()
      await assert.rejects(run.result, error => isWindlassError(error, 'CANCELLED'))
    })
  }

  test('that keeps its images in containerd unpacks in silence, and is not accused of it', async () => {
    const unpack: Take = async (request, response) => {
      await drain(request)
      await sleep(5000)
      response.end('{"errorDetail":{"message":"it was only slow"},"error":"it was only slow"}')
    }
    await using daemon = await startDaemon(unpack, snapshotter)
    const run = deliver(daemon, { route: 'load', patience: { blame: { processIdleMs: 2500 } } })
    const events: PullEvent[] = []
    for await (const event of run) events.push(event)
    await assert.rejects(run.result, /it was only slow/)
    assert.deepEqual(
      events.filter(({ type }) => type === 'stall'),
      [],
    )
  })

  test('that begins an answer and does not end it is given up', async () => {
    await using daemon = await startDaemon(() => never)
    const { server, endpoint, choices } = daemon
    server.removeAllListeners('request')
    server.on('request', (request, response) => {
      if (request.url === '/_ping') response.writeHead(200, { 'api-version': '1.41' }).end('OK')
      else response.write('{"ServerVersion"')
    })
    const into = intoDocker({ endpoint, env: {}, timeouts: { answerMs: 500 } })
    await assert.rejects(pull(image.reference, { ...choices, into }).result, error => {
      assert.ok(isWindlassError(error, 'STALLED'), String(error))
      assert.match(error.message, /Cannot ask docker at .* what it is: no answer within 0\.5 s/)
      return true
    })
  })
})
