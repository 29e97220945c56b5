import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ErrorCode, isWindlassError } from '../../errors.ts'
import { parseDigest } from '../../oci/digest.ts'
import { DockerClient } from './client.ts'
import { loadArchive, recordDigest } from './images.ts'

/** A daemon of the test's own: what it answers to POST. */
type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void

let directory: string
let server: http.Server
let answer: Answer
let apiVersion: string
const { signal } = new AbortController()
const timeouts = { connectMs: 30_000, answerMs: 30_000, uploadIdleMs: 1500, applyIdleMs: 1500, recordMs: 1500 }
const digest = parseDigest(`sha256:${'1'.repeat(64)}`)

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-client-'))
  apiVersion = '1.41'
  server = http.createServer((request, response) => {
    response.on('error', () => {})
    request.on('error', () => {})
    if (request.url !== '/_ping') return answer(request, response)
    response.writeHead(200, apiVersion === '' ? {} : { 'api-version': apiVersion }).end('OK')
  })
  await new Promise<void>(resolve => server.listen(join(directory, 's'), resolve))
})
afterEach(async () => {
  server.closeAllConnections()
  server.close()
  await rm(directory, { recursive: true, force: true })
})

const connect = (env = {}) =>
  DockerClient.connect({ kind: 'unix', path: join(directory, 's') }, { env, timeouts, signal })

async function* archive(pieces = 4): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < pieces; at++) yield Buffer.alloc(1024 * 1024)
}

async function load(pieces?: number): Promise<string[]> {
  using client = await connect()
  const said: string[] = []
  await loadArchive(client, archive(pieces), { signal, onMessage: ({ status, stream }) => said.push(status || stream) })
  return said
}

const fails = (code: ErrorCode, text: RegExp) => (error: unknown) =>
  isWindlassError(error, code) && text.test(error.message)

test('an archive is sent whole, and what the daemon says is told', async () => {
  let size = 0
  answer = async (request, response) => {
    for await (const chunk of request) size += chunk.length
    response.write('{"status":"Loading layer","progressDetail":{"current":1},"id":"abc"}\r\n{"stream":')
    await sleep(20)
    response.end('"Loaded image: a\\n"}\r\n')
  }
  assert.deepEqual(await load(), ['Loading layer', 'Loaded image: a\n'])
  assert.equal(size, 4 * 1024 * 1024)
})

test('an error in the stream of a 200 is an error, in the words of the daemon', async () => {
  answer = async (request, response) => {
    for await (const _ of request);
    response.end('{"errorDetail":{"message":"invalid tar header"},"error":"invalid tar header"}\r\n')
  }
  await assert.rejects(load(), fails('FAILED', /docker says "invalid tar header"/))
})

test('a full disk in the stream is told as such', async () => {
  answer = async (request, response) => {
    for await (const _ of request);
    response.end('{"errorDetail":{"message":"write /x: no space left on device"}}\r\n')
  }
  await assert.rejects(load(), fails('NO_SPACE', /no space left/))
})

test('a daemon that refuses while the archive is still on its way is heard', async () => {
  answer = (request, response) => {
    response.writeHead(500, { 'content-type': 'application/json', connection: 'close' })
    response.end('{"message":"not today"}')
    setTimeout(() => request.destroy(), 50)
  }
  await assert.rejects(load(64), fails('FAILED', /docker says "not today"/))
})

test('a daemon that takes nothing any more is not waited for for ever', async () => {
  answer = request => request.pause()
  await assert.rejects(load(64), fails('STALLED', /docker takes nothing for 1.5 s/))
})

test('a daemon that falls silent while it unpacks is not waited for for ever', async () => {
  answer = async (request, response) => {
    for await (const _ of request);
    response.write('{"status":"Loading layer","id":"abc"}\r\n')
  }
  await assert.rejects(load(), fails('STALLED', /docker says nothing for 1.5 s/))
})

test('an archive that fails ends the upload, and its own error is told', async () => {
  let ended = ''
  answer = request => {
    request.on('close', () => {
      ended = request.complete ? 'complete' : 'cut'
    })
    request.resume()
  }
  using client = await connect()
  const failing = (async function* () {
    yield Buffer.alloc(100)
    await sleep(20)
    throw new Error('the layer is wrong')
  })()
  await assert.rejects(loadArchive(client, failing, { signal }), /the layer is wrong/)
  for (let at = 0; at < 3000 && ended === ''; at++) await sleep(20)
  assert.equal(ended, 'cut')
})

test('a recording ends at the first sign of a layer that would be fetched', async () => {
  let closed = false
  answer = (_request, response) => {
    response.on('close', () => {
      closed = true
    })
    response.write(
      '{"status":"Pulling from app","id":"latest"}\r\n{"status":"Pulling fs layer","progressDetail":{},"id":"abc"}\r\n',
    )
  }
  using client = await connect()
  const options = { repository: 'host/app', digest, platform: undefined, auth: undefined, signal }
  await assert.rejects(recordDigest(client, options), fails('FAILED', /would fetch a layer/))
  for (let at = 0; at < 3000 && !closed; at++) await sleep(20)
  assert.ok(closed)
})

test('a recording that finds every layer goes to its end; one without end is given up', async () => {
  answer = (_request, response) =>
    void response.end('{"status":"Already exists","id":"abc"}\r\n{"status":"Digest: sha256:1"}\r\n')
  using client = await connect()
  const options = { repository: 'host/app', digest, platform: undefined, auth: undefined, signal }
  await recordDigest(client, options)
  answer = (_request, response) => void response.write('{"status":"Already exists","id":"abc"}\r\n')
  await assert.rejects(recordDigest(client, options), fails('STALLED', /not done within 1.5 s/))
})

test('what is no docker, or too old a one, is refused', async () => {
  apiVersion = ''
  await assert.rejects(connect(), fails('ENGINE_UNREACHABLE', /is no docker daemon/))
  apiVersion = '1.39'
  await assert.rejects(connect(), fails('UNSUPPORTED', /it speaks API 1.39; wanted 1.40 or newer/))
})

test('a newer daemon is spoken to in the newest version that is known, and DOCKER_API_VERSION decides', async () => {
  const paths: string[] = []
  answer = (request, response) => {
    paths.push(request.url ?? '')
    response.end('{}')
  }
  apiVersion = '1.99'
  for (const env of [{}, { DOCKER_API_VERSION: '1.42' }]) {
    using client = await connect(env)
    await client.getJson({ path: '/info', signal, doing: 'Cannot ask' })
  }
  assert.deepEqual(paths, ['/v1.47/info', '/v1.42/info'])
})

test('a socket that is not there says so', async () => {
  const missing = DockerClient.connect({ kind: 'unix', path: '/nonexistent/s' }, { env: {}, timeouts, signal })
  await assert.rejects(missing, fails('ENGINE_UNREACHABLE', /docker at unix:\/\/\/nonexistent\/s/))
})

test('ssh is a connection like any other', async () => {
  const script = `process.stdin.pipe(require('net').connect('${join(directory, 's')}')).pipe(process.stdout)`
  const { mkdir, writeFile } = await import('node:fs/promises')
  await mkdir(join(directory, 'bin'))
  const program = `#!/bin/sh\necho "$@" >'${directory}/args'\nexec '${process.execPath}' -e "${script}"\n`
  await writeFile(join(directory, 'bin/ssh'), program, { mode: 0o755 })
  const env = { PATH: `${join(directory, 'bin')}:/usr/bin:/bin` }
  answer = async (request, response) => {
    for await (const _ of request);
    response.end('{"stream":"Loaded image: a\\n"}\r\n')
  }
  const endpoint = { kind: 'ssh', host: 'node-7', user: 'ops' } as const
  using client = await DockerClient.connect(endpoint, { env, timeouts: { ...timeouts, connectMs: 10_000 }, signal })
  await loadArchive(client, archive(), { signal })
  const { readFile } = await import('node:fs/promises')
  assert.match(await readFile(join(directory, 'args'), 'utf8'), /-l ops -- node-7 docker system dial-stdio$/m)
})
