import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import type { LookupFunction } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Agent } from 'undici'
import { descriptorOf, digestOf } from '../../../test/servers/push.ts'
import {
  type Answer,
  type Exchange,
  type ScriptedServer,
  startScriptedServer,
} from '../../../test/servers/scripted-server.ts'
import { type ErrorCode, isWindlassError, type WindlassError } from '../../errors.ts'
import { parseDigest } from '../../oci/digest.ts'
import { parseReference } from '../../oci/reference.ts'
import type { Source } from '../place.ts'
import { type Credential, noCredentials } from './credentials.ts'
import { openRegistry } from './registry.ts'
import type { RegistryOptions } from './repository.ts'

const signal = new AbortController().signal
const type = 'application/vnd.oci.image.manifest.v1+json'
const manifest = JSON.stringify({ schemaVersion: 2, mediaType: type, layers: [] })
const manifestLine = 'GET /v2/team/app/manifests/v1'
const manifestAnswer: Answer = { headers: { 'content-type': type }, body: manifest }
const bytes = randomBytes(300_000)
const layer = descriptorOf(bytes, 'application/vnd.oci.image.layer.v1.tar')
const blobLine = `GET /v2/team/app/blobs/${layer.digest}`
const ann: Credential = { username: 'ann', password: 'hunter2' }
const basicOfAnn = `Basic ${Buffer.from('ann:hunter2').toString('base64')}`

function open(server: ScriptedServer, credential?: Credential, options: Partial<RegistryOptions> = {}): Source {
  const credentials = credential === undefined ? noCredentials : { find: async () => credential }
  return openRegistry(parseReference(`${server.host}/team/app`), { credentials, ...options })
}

async function readAll(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(stream))
}

async function failure(promise: Promise<unknown>, code: ErrorCode): Promise<WindlassError> {
  const error = await promise.then(
    () => assert.fail(`no error; wanted ${code}`),
    (reason: unknown) => reason,
  )
  assert.ok(isWindlassError(error), String(error))
  assert.equal(error.code, code, error.message)
  assert.doesNotMatch(`${error.message} ${JSON.stringify(error.facts)} ${error.hint}`, /hunter2|secret-token|[\n\x1b?]/)
  return error
}

/** Resolves `v1` at a server that answers it as given. */
async function resolveWith(answer: Answer, options: Partial<RegistryOptions> = {}) {
  await using server = await startScriptedServer([{ on: manifestLine, answer }])
  await using source = open(server, undefined, options)
  return await source.resolve({ tag: 'v1' }, signal)
}

/** Reads the blob from `offset` at a server that answers as given. */
async function readWith(answer: Answer, offset = 0, options: Partial<RegistryOptions> = {}) {
  await using server = await startScriptedServer([{ on: blobLine, answer }])
  await using source = open(server, undefined, options)
  const blob = await source.openBlob(layer, { offset, signal })
  return { offset: blob.offset, bytes: await readAll(blob.bytes) }
}

describe('manifests', () => {
  test('all manifest types are asked for, and the type and digest come back', async () => {
    await using server = await startScriptedServer([{ on: manifestLine, answer: manifestAnswer }])
    await using source = open(server)
    const { descriptor } = await source.resolve({ tag: 'v1' }, signal)
    assert.deepEqual(descriptor, descriptorOf(manifest, type))
    assert.match(String(server.seen[0]?.headers['accept']), /oci\.image\.index.*docker\.distribution\.manifest\.v2/)
  })

  test('the document names its own type where the server does not know it', async () => {
    const { descriptor } = await resolveWith({
      body: manifest,
      headers: { 'content-type': 'text/plain; charset=utf-8' },
    })
    assert.equal(descriptor.mediaType, type)
  })

  test('one that is too large is cut off, whether announced or not', async () => {
    const body = ' '.repeat(4 * 1024 * 1024 + 1)
    await failure(resolveWith({ body }), 'LIMIT_EXCEEDED')
    await failure(resolveWith({ body, headers: { 'transfer-encoding': 'chunked' } }), 'LIMIT_EXCEEDED')
    await failure(resolveWith({ headers: { 'content-length': '9999999999' }, ending: 'silence' }), 'LIMIT_EXCEEDED')
  })

  test('bytes other than the digest asked for, or stated, are refused', async () => {
    const wrong = digestOf('something else')
    await using server = await startScriptedServer([
      { on: `GET /v2/team/app/manifests/${wrong}`, answer: manifestAnswer },
      {
        on: manifestLine,
        answer: { body: manifest, headers: { 'docker-content-digest': wrong, 'content-type': type } },
      },
    ])
    await using source = open(server)
    const error = await failure(source.resolve({ tag: 'v1', digest: wrong }, signal), 'DIGEST_MISMATCH')
    assert.equal(error.facts['actual'], digestOf(manifest))
    await failure(source.resolve({ tag: 'v1' }, signal), 'DIGEST_MISMATCH')
    const descriptor = { mediaType: type, digest: wrong, size: manifest.length }
    await failure(source.readDocument(descriptor, { sizeMax: 1000, signal }), 'DIGEST_MISMATCH')
  })

  test('a sha512 digest is verified as such', async () => {
    const sha512 = parseDigest(`sha512:${createHash('sha512').update(manifest).digest('hex')}`)
    await using server = await startScriptedServer([
      { on: `GET /v2/team/app/manifests/${sha512}`, answer: manifestAnswer },
    ])
    await using source = open(server)
    assert.equal((await source.resolve({ digest: sha512 }, signal)).descriptor.digest, sha512)
  })

  test('a signed schema 1 manifest, whose stated digest is not that of its bytes, is passed on for its type to be refused', async () => {
    const schema1 = 'application/vnd.docker.distribution.manifest.v1+prettyjws'
    const headers = { 'content-type': schema1, 'docker-content-digest': digestOf('payload') }
    assert.equal((await resolveWith({ body: '{}', headers })).descriptor.mediaType, schema1)
  })

  test('a document larger than allowed, or longer than its descriptor, is refused', async () => {
    const short = { mediaType: type, digest: digestOf(manifest), size: 10 }
    await using server = await startScriptedServer([
      { on: `GET /v2/team/app/manifests/${short.digest}`, answer: manifestAnswer },
    ])
    await using source = open(server)
    await failure(source.readDocument(short, { sizeMax: 5, signal }), 'LIMIT_EXCEEDED')
    assert.equal(server.seen.length, 0)
    await failure(source.readDocument(short, { sizeMax: 1000, signal }), 'LIMIT_EXCEEDED')
  })

  test('an answer that trickles is bounded as a whole', async () => {
    const answer: Answer = { body: '{', headers: { 'content-length': '100' }, ending: 'silence' }
    const error = await failure(resolveWith(answer, { timeouts: { documentMs: 200 } }), 'STALLED')
    assert.match(error.message, /127\.0\.0\.1:\d+ was too slow/)
  })
})

describe('blobs', () => {
  test('the rest is asked for by Range, undisguised by compression', async () => {
    await using server = await startScriptedServer([
      {
        on: blobLine,
        with: { range: 'bytes=100-', 'accept-encoding': 'identity' },
        answer: { status: 206, headers: { 'content-range': 'bytes 100-299999/300000' }, body: bytes.subarray(100) },
      },
    ])
    await using source = open(server)
    const blob = await source.openBlob(layer, { offset: 100, signal })
    assert.equal(blob.offset, 100)
    assert.ok((await readAll(blob.bytes)).equals(bytes.subarray(100)))
  })

  test('a server that ignores the range starts at 0 and says so', async () => {
    const blob = await readWith({ body: bytes }, 100)
    assert.equal(blob.offset, 0)
    assert.ok(blob.bytes.equals(bytes))
  })

  test('a server that cannot satisfy the range is asked for all', async () => {
    await using server = await startScriptedServer([
      { on: blobLine, with: { range: 'bytes=100-' }, answer: { status: 416 } },
      { on: blobLine, with: { range: undefined }, answer: { body: bytes } },
    ])
    await using source = open(server)
    const blob = await source.openBlob(layer, { offset: 100, signal })
    assert.equal(blob.offset, 0)
    assert.ok((await readAll(blob.bytes)).equals(bytes))
  })

  test('another range than the one asked for is refused', async () => {
    for (const range of [
      'bytes 99-299999/300000',
      'bytes 0-299999/300000',
      'bytes 100-299998/300000',
      'bytes 100-299999/300001',
      'bytes 100-299999/*',
      'lines 100-299999/300000',
      '',
    ]) {
      const answer: Answer = { status: 206, headers: { 'content-range': range }, body: bytes.subarray(100) }
      await failure(readWith(answer, 100), 'PROTOCOL')
    }
  })

  test('a length or encoding that cannot be right is refused before the first byte', async () => {
    await failure(readWith({ body: bytes.subarray(1) }), 'CORRUPT')
    await failure(readWith({ body: bytes, headers: { 'content-encoding': 'gzip' } }), 'PROTOCOL')
  })

  test('more than the descriptor promises is cut off', async () => {
    const body = Buffer.concat([bytes, Buffer.from('x')])
    await failure(readWith({ body, headers: { 'transfer-encoding': 'chunked' } }), 'CORRUPT')
  })

  test('a connection that breaks, or an end that comes early, is a retryable NETWORK error with the position', async () => {
    const body = bytes.subarray(0, 1000)
    const cut = await failure(readWith({ body, headers: { 'content-length': '300000' }, ending: 'cut' }), 'NETWORK')
    assert.match(cut.message, /lost 127\.0\.0\.1:\d+ after 1000 of 300000 bytes/)
    assert.ok(cut.retryable)
    const early = await failure(readWith({ body, headers: { 'transfer-encoding': 'chunked' } }), 'NETWORK')
    assert.equal(early.facts['bytesDone'], 1000)
  })

  test('silence is found, before the headers and in the body', async () => {
    const body = bytes.subarray(0, 1000)
    const silent: Answer = { body, headers: { 'content-length': '300000' }, ending: 'silence' }
    const stalled = await failure(readWith(silent, 0, { timeouts: { idleMs: 200 } }), 'STALLED')
    assert.match(stalled.message, /went silent after 1000 of 300000 bytes/)
    await failure(readWith({ ending: 'mute' }, 0, { timeouts: { headersMs: 200 } }), 'STALLED')
  })

  test('a slow reader is not taken for a silent server', async () => {
    const large = randomBytes(8 * 1024 * 1024)
    const big = descriptorOf(large, layer.mediaType)
    await using server = await startScriptedServer([
      { on: `GET /v2/team/app/blobs/${big.digest}`, answer: { body: large } },
    ])
    await using source = open(server, undefined, { timeouts: { idleMs: 200 } })
    const blob = await source.openBlob(big, { offset: 0, signal })
    let size = 0
    for await (const chunk of blob.bytes) {
      if (size === 0) await new Promise(resolve => setTimeout(resolve, 700))
      size += chunk.byteLength
    }
    assert.equal(size, big.size)
  })

  test('cancelling ends a silent body at once', async () => {
    const answer: Answer = { body: bytes.subarray(0, 10), headers: { 'content-length': '300000' }, ending: 'silence' }
    await using server = await startScriptedServer([{ on: blobLine, answer }])
    await using source = open(server)
    const controller = new AbortController()
    const blob = await source.openBlob(layer, { offset: 0, signal: controller.signal })
    setTimeout(() => controller.abort(), 50)
    await failure(readAll(blob.bytes), 'CANCELLED')
  })
})

describe('redirects', () => {
  test('another origin gets neither Authorization nor an answer to its own challenge', async () => {
    await using store = await startScriptedServer([
      { on: 'GET /data?signature=1', with: { authorization: undefined, cookie: undefined }, answer: { body: bytes } },
      {
        on: 'GET /asks?signature=1',
        with: { authorization: undefined },
        answer: { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } },
      },
    ])
    const to = (path: string): Answer => ({ status: 307, headers: { location: `${store.url}${path}?signature=1` } })
    await using server = await startScriptedServer([
      { on: blobLine, with: { authorization: basicOfAnn }, times: 1, answer: to('/data') },
      { on: blobLine, with: { authorization: basicOfAnn }, answer: to('/asks') },
      { on: blobLine, answer: { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } } },
    ])
    await using source = open(server, ann)
    const blob = await source.openBlob(layer, { offset: 0, signal })
    assert.ok((await readAll(blob.bytes)).equals(bytes))
    const error = await failure(source.openBlob(layer, { offset: 0, signal }), 'DENIED')
    assert.match(error.message, new RegExp(store.host))
    assert.doesNotMatch(error.hint ?? '', /stored credentials/)
  })

  test('the range goes along, and the way back to the registry has access again', async () => {
    const range = { range: 'bytes=5-' }
    await using server = await startScriptedServer([
      { on: 'GET /other', with: { authorization: basicOfAnn, ...range }, answer: { body: bytes } },
      { on: blobLine, with: { authorization: basicOfAnn }, answer: { status: 302, headers: { location: '/other' } } },
      { on: blobLine, answer: { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } } },
    ])
    await using source = open(server, ann)
    assert.equal((await source.openBlob(layer, { offset: 5, signal })).offset, 0)
  })

  test('a loop, no Location, and what is not http are refused', async () => {
    await using server = await startScriptedServer([
      { on: blobLine, times: 6, answer: { status: 302, headers: { location: blobLine.slice(4) } } },
    ])
    await using source = open(server)
    await failure(source.openBlob(layer, { offset: 0, signal }), 'PROTOCOL')
    await failure(readWith({ status: 302 }), 'PROTOCOL')
    await failure(readWith({ status: 302, headers: { location: 'file:///etc/passwd' } }), 'PROTOCOL')
    const error = await failure(
      readWith({ status: 302, headers: { location: 'ftp://u:hunter2@h/?hunter2' } }),
      'PROTOCOL',
    )
    assert.ok(error.message.length > 0)
  })
})

describe('https', () => {
  test('is spoken where the server does, trusts the extra authority only, and is never left by a redirect', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'windlass-tls-'))
    try {
      const tls = await makeCertificate(directory)
      await using plain = await startScriptedServer([])
      await using server = await startScriptedServer(
        [
          { on: manifestLine, answer: manifestAnswer },
          { on: blobLine, answer: { status: 302, headers: { location: `${plain.url}/data?secret-token` } } },
        ],
        tls,
      )
      await using source = open(server, undefined, { caFile: join(directory, 'cert.pem') })
      assert.equal((await source.resolve({ tag: 'v1' }, signal)).descriptor.digest, digestOf(manifest))
      const error = await failure(source.openBlob(layer, { offset: 0, signal }), 'PROTOCOL')
      assert.match(error.message, /from https to plain http/)
      assert.equal(plain.seen.length, 0)
      await using stranger = open(server)
      await failure(stranger.resolve({ tag: 'v1' }, signal), 'TLS')
    } finally {
      await rm(directory, { recursive: true })
    }
  })

  test('a host that is not on loopback never gets plain http', async () => {
    await using server = await startScriptedServer([])
    await using source = open(server, undefined, { plainHttp: () => false })
    // A server that hears TLS answers in plain text, or closes the connection before that is read.
    const refusal = source.resolve({ tag: 'v1' }, signal)
    await assert.rejects(refusal, error => isWindlassError(error, 'TLS') || isWindlassError(error, 'NETWORK'))
    assert.equal(server.seen.length, 0)
  })
})

describe('hosts that are not on loopback', () => {
  let directory: string
  let tls: { key: string; cert: string }
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'windlass-tls-'))
    tls = await makeCertificate(directory)
  })
  after(() => rm(directory, { recursive: true }))

  /** A source of registry.one.test; every name leads to this machine, and each `answer` knows the port. */
  async function resolveAtOne(
    answer: (port: string) => Exchange[],
    options = (_port: string): Partial<RegistryOptions> => ({}),
  ) {
    await using server = await startScriptedServer([], tls)
    const port = server.host.split(':')[1] ?? ''
    server.add(...answer(port))
    const lookup: LookupFunction = (_name, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }])
    const dispatcher = new Agent({ connect: { ca: tls.cert, lookup } })
    const credentials = { find: async () => ann }
    await using source = openRegistry(parseReference(`registry.one.test:${port}/team/app`), {
      credentials,
      dispatcher,
      ...options(port),
    })
    try {
      return await source.resolve({ tag: 'v1' }, signal)
    } finally {
      await dispatcher.destroy()
    }
  }

  function tokenFrom(realm: string, with_: Record<string, string | undefined>, account = ''): Exchange[] {
    const header = `Bearer realm="${realm}",scope="s"`
    return [
      { on: manifestLine, with: { authorization: 'Bearer secret-token' }, answer: manifestAnswer },
      { on: manifestLine, answer: { status: 401, headers: { 'www-authenticate': header } } },
      { on: `GET /token?scope=s${account}`, with: with_, answer: { body: '{"token":"secret-token"}' } },
    ]
  }

  test('a token service of the same owner gets the password, a stranger does not, unless it is trusted by name', async () => {
    const stranger = (port: string) => `https://auth.two.test:${port}/token`
    await resolveAtOne(port =>
      tokenFrom(`https://auth.one.test:${port}/token`, { authorization: basicOfAnn }, '&account=ann'),
    )
    await resolveAtOne(port => tokenFrom(stranger(port), { authorization: undefined }))
    await resolveAtOne(
      port => tokenFrom(stranger(port), { authorization: basicOfAnn }, '&account=ann'),
      port => ({ trustedRealms: [`auth.two.test:${port}`] }),
    )
  })

  test('a refusal says that the password was withheld', async () => {
    const refuseAll = (port: string) => tokenFrom(`https://auth.two.test:${port}/token`, {}).slice(1)
    const error = await failure(resolveAtOne(refuseAll), 'DENIED')
    assert.match(error.hint ?? '', /not sent to the token service at auth\.two\.test/)
  })

  test('a token service on plain http, or on this machine, is not asked', async () => {
    for (const realm of ['http://registry.one.test/token', 'https://localhost/token', 'http://127.0.0.1/token']) {
      await failure(
        resolveAtOne(() => tokenFrom(realm, {}).slice(1, 2)),
        'PROTOCOL',
      )
    }
  })

  test('a redirect into this machine is refused', async () => {
    const redirect = (port: string): Exchange[] => [
      { on: manifestLine, answer: { status: 302, headers: { location: `https://127.0.0.1:${port}/x` } } },
    ]
    const error = await failure(resolveAtOne(redirect), 'PROTOCOL')
    assert.match(error.message, /this machine's own/)
  })
})

async function makeCertificate(directory: string): Promise<{ key: string; cert: string }> {
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  const subject = ['-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:*.one.test,DNS:*.two.test']
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  execFileSync('openssl', ['req', '-x509', ...curve, '-keyout', key, '-out', cert, '-days', '2', ...subject], {
    stdio: 'ignore',
  })
  return { key: await readFile(key, 'utf8'), cert: await readFile(cert, 'utf8') }
}

describe('access', () => {
  const scope = 'repository:team/app:pull'
  const tokenQuery = `service=reg&scope=${encodeURIComponent(scope)}`

  function challenge(realm: string): Answer {
    const header = `Bearer realm="${realm}",service="reg",scope="${scope}"`
    return { status: 401, headers: { 'www-authenticate': header } }
  }

  function guarded(server: ScriptedServer, token: string, realm = `${server.url}/token`): Exchange[] {
    return [
      { on: manifestLine, with: { authorization: `Bearer ${token}` }, answer: manifestAnswer },
      { on: blobLine, with: { authorization: `Bearer ${token}` }, answer: { body: bytes } },
      { on: manifestLine, answer: challenge(realm) },
      { on: blobLine, answer: challenge(realm) },
    ]
  }

  test('an anonymous token is fetched once and used for all that follows', async () => {
    await using server = await startScriptedServer()
    server.add(...guarded(server, 'secret-token'), {
      on: `GET /token?${tokenQuery}`,
      with: { authorization: undefined },
      times: 1,
      answer: { body: '{"token":"secret-token","expires_in":300}' },
    })
    await using source = open(server)
    await source.resolve({ tag: 'v1' }, signal)
    await Promise.all([1, 2, 3].map(async () => readAll((await source.openBlob(layer, { offset: 0, signal })).bytes)))
    assert.equal(server.seen.length, 6)
  })

  test('several refusals at once fetch one token', async () => {
    await using server = await startScriptedServer()
    const token: Exchange = {
      on: `GET /token?${tokenQuery}`,
      times: 1,
      answer: { body: '{"access_token":"secret-token"}' },
    }
    server.add(...guarded(server, 'secret-token'), token)
    await using source = open(server)
    await Promise.all([1, 2, 3].map(() => source.resolve({ tag: 'v1' }, signal)))
  })

  test('a password goes to the token service by Basic, an identity token by POST', async () => {
    await using server = await startScriptedServer()
    server.add(
      ...guarded(server, 'secret-token'),
      {
        on: `GET /token?${tokenQuery}&account=ann`,
        with: { authorization: basicOfAnn },
        answer: { body: '{"token":"secret-token"}' },
      },
      { on: 'POST /token', with: { authorization: undefined }, answer: { body: '{"access_token":"secret-token"}' } },
    )
    await using byPassword = open(server, ann)
    await byPassword.resolve({ tag: 'v1' }, signal)
    await using byIdentity = open(server, { identityToken: 'hunter2' })
    await byIdentity.resolve({ tag: 'v1' }, signal)
    const posted = new URLSearchParams(server.seen.find(({ on }) => on === 'POST /token')?.body)
    assert.deepEqual(Object.fromEntries(posted), {
      grant_type: 'refresh_token',
      service: 'reg',
      scope,
      client_id: 'windlass',
      refresh_token: 'hunter2',
    })
    await using byToken = open(server, { registryToken: 'secret-token' })
    await byToken.resolve({ tag: 'v1' }, signal)
  })

  test('a token that is refused half-way is renewed once, then it is DENIED', async () => {
    await using server = await startScriptedServer()
    let count = 0
    server.add(
      { on: manifestLine, with: { authorization: 'Bearer t1' }, answer: manifestAnswer },
      { on: blobLine, with: { authorization: 'Bearer t2' }, times: 1, answer: { body: bytes } },
      { on: manifestLine, answer: challenge(`${server.url}/token`) },
      { on: blobLine, answer: challenge(`${server.url}/token`) },
      { on: `GET /token?${tokenQuery}`, answer: () => ({ body: JSON.stringify({ token: `t${++count}` }) }) },
    )
    await using source = open(server)
    await source.resolve({ tag: 'v1' }, signal)
    await readAll((await source.openBlob(layer, { offset: 0, signal })).bytes)
    await failure(source.openBlob(layer, { offset: 0, signal }), 'DENIED')
    assert.equal(count, 3)
  })

  test('a refusal that comes after another request has renewed the token uses that one', async () => {
    await using server = await startScriptedServer()
    let count = 0
    const answerLate = { ...challenge(`${server.url}/token`), delayMs: 100 }
    server.add(
      { on: manifestLine, with: { authorization: 'Bearer t1' }, answer: manifestAnswer },
      { on: blobLine, with: { authorization: 'Bearer t1' }, times: 1, answer: challenge(`${server.url}/token`) },
      { on: blobLine, with: { authorization: 'Bearer t1' }, times: 1, answer: answerLate },
      { on: blobLine, with: { authorization: 'Bearer t2' }, answer: { body: bytes } },
      { on: manifestLine, answer: challenge(`${server.url}/token`) },
      { on: `GET /token?${tokenQuery}`, answer: () => ({ body: JSON.stringify({ token: `t${++count}` }) }) },
    )
    await using source = open(server)
    await source.resolve({ tag: 'v1' }, signal)
    await Promise.all([1, 2].map(async () => readAll((await source.openBlob(layer, { offset: 0, signal })).bytes)))
    assert.equal(count, 2)
  })

  test('a wrong password is sent once, not again and again', async () => {
    await using server = await startScriptedServer([
      { on: manifestLine, answer: { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } } },
    ])
    await using source = open(server, ann)
    await failure(source.resolve({ tag: 'v1' }, signal), 'DENIED')
    await failure(source.resolve({ tag: 'v1' }, signal), 'DENIED')
    assert.deepEqual(
      server.seen.map(({ headers }) => headers['authorization']),
      [undefined, basicOfAnn, basicOfAnn],
    )
  })

  test('an expired token is renewed before it is refused', async () => {
    await using server = await startScriptedServer()
    let count = 0
    server.add(
      { on: manifestLine, with: { authorization: undefined }, times: 1, answer: challenge(`${server.url}/token`) },
      { on: manifestLine, with: { authorization: 'Bearer t1' }, times: 1, answer: manifestAnswer },
      { on: manifestLine, with: { authorization: 'Bearer t2' }, times: 1, answer: manifestAnswer },
      { on: `GET /token?${tokenQuery}`, answer: () => ({ body: `{"token":"t${++count}","expires_in":0.1}` }) },
    )
    await using source = open(server)
    await source.resolve({ tag: 'v1' }, signal)
    await new Promise(resolve => setTimeout(resolve, 120))
    await source.resolve({ tag: 'v1' }, signal)
  })

  test('a realm that is no http address is PROTOCOL', async () => {
    await using server = await startScriptedServer()
    server.add(
      { on: manifestLine, times: 1, answer: challenge('') },
      { on: manifestLine, answer: challenge('file:///x') },
    )
    await using source = open(server, ann)
    await failure(source.resolve({ tag: 'v1' }, signal), 'PROTOCOL')
    await failure(source.resolve({ tag: 'v1' }, signal), 'PROTOCOL')
  })

  test('a token service that redirects to another origin does not take the password along', async () => {
    await using other = await startScriptedServer([
      { on: 'GET /t', with: { authorization: undefined }, answer: { body: '{"token":"secret-token"}' } },
    ])
    await using server = await startScriptedServer()
    server.add(...guarded(server, 'secret-token'), {
      on: `GET /token?${tokenQuery}&account=ann`,
      with: { authorization: basicOfAnn },
      answer: { status: 302, headers: { location: `${other.url}/t` } },
    })
    await using source = open(server, ann)
    await source.resolve({ tag: 'v1' }, signal)
  })

  test('what a token service answers badly is told apart', async () => {
    const cases: [Answer, ErrorCode][] = [
      [{ status: 401, body: '{"errors":[{"message":"who are you"}]}' }, 'DENIED'],
      [{ status: 400, body: '{"error":"invalid_grant"}' }, 'DENIED'],
      [{ status: 503, headers: { 'retry-after': '2' } }, 'NETWORK'],
      [{ status: 429 }, 'RATE_LIMITED'],
      [{ body: '{"token":"a b"}' }, 'PROTOCOL'],
      [{ body: '{"token":"a\\r\\nx: y"}' }, 'PROTOCOL'],
      [{ body: JSON.stringify({ token: 'x'.repeat(16 * 1024 + 1) }) }, 'PROTOCOL'],
      [{ body: '{}' }, 'PROTOCOL'],
      [{ body: 'null' }, 'PROTOCOL'],
      [{ body: '<html>' }, 'PROTOCOL'],
      [{ body: 'x'.repeat(1024 * 1024 + 1) }, 'LIMIT_EXCEEDED'],
    ]
    for (const [answer, code] of cases) {
      await using server = await startScriptedServer()
      server.add(...guarded(server, 'secret-token'), { on: `GET /token?${tokenQuery}&account=ann`, answer })
      await using source = open(server, ann)
      const error = await failure(source.resolve({ tag: 'v1' }, signal), code)
      assert.match(error.message, /token/)
    }
  })

  test('a broken credential store does not stop a public image, and is named when access is denied', async () => {
    const { WindlassError } = await import('../../errors.ts')
    const broken = {
      find: () => Promise.reject(new WindlassError('FAILED', 'Cannot get credentials: helper is gone')),
    }
    await using server = await startScriptedServer()
    const answer: Answer = { body: '{"token":"secret-token"}' }
    server.add(...guarded(server, 'secret-token'), { on: `GET /token?${tokenQuery}`, times: 1, answer })
    server.add({ on: `GET /token?${tokenQuery}`, answer: { body: '{"token":"useless"}' } })
    await using source = open(server, undefined, { credentials: broken })
    await source.resolve({ tag: 'v1' }, signal)
    await using denied = open(server, undefined, { credentials: broken })
    const error = await failure(denied.resolve({ tag: 'v1' }, signal), 'DENIED')
    assert.match(error.hint ?? '', /helper is gone/)
  })
})

describe('statuses', () => {
  test('each has its code, and says when to come back', async () => {
    const cases: [number, ErrorCode][] = [
      [401, 'DENIED'],
      [403, 'DENIED'],
      [404, 'NOT_FOUND'],
      [408, 'NETWORK'],
      [400, 'PROTOCOL'],
      [204, 'PROTOCOL'],
      [500, 'NETWORK'],
      [503, 'NETWORK'],
      [429, 'RATE_LIMITED'],
    ]
    for (const [status, code] of cases) {
      const error = await failure(resolveWith({ status, headers: { 'retry-after': '7' } }), code)
      assert.equal(error.facts['status'], status)
      assert.equal(error.facts['retryAfterMs'], 7000)
    }
    const later = new Date(Date.now() + 60_000).toUTCString()
    const error = await failure(resolveWith({ status: 429, headers: { 'retry-after': later } }), 'RATE_LIMITED')
    assert.ok(Number(error.facts['retryAfterMs']) > 50_000)
  })

  test('the registry’s own words are shown, cleaned', async () => {
    const message = 'bad\u001b[31m name\nsee https://x.test/a?sig=hunter2 \u202e!'
    const body = JSON.stringify({ errors: [{ code: 'NAME_INVALID', message }, { code: 'DENIED' }, null] })
    const error = await failure(resolveWith({ status: 400, body }), 'PROTOCOL')
    assert.match(error.message, /answered 400 \(bad \[31m name see https:\/\/x\.test\/a !; DENIED\)$/)
    const tooLong = JSON.stringify({ errors: [{ message: 'hello' }], pad: 'x'.repeat(70_000) })
    for (const useless of ['<html>', '[]', '{"errors":{}}', tooLong, '{"errors":[{"message":{}}]}']) {
      const plain = await failure(resolveWith({ status: 400, body: useless }), 'PROTOCOL')
      assert.match(plain.message, /answered 400$/)
    }
  })

  test('an error whose text never comes is not waited for', async () => {
    const answer: Answer = { status: 500, body: '{', headers: { 'content-length': '50' }, ending: 'silence' }
    const started = performance.now()
    await failure(resolveWith(answer), 'NETWORK')
    assert.ok(performance.now() - started < 60_000)
  })
})
