/** How registries are reached: through proxies, by certificates, or not at all. Pulls with the real program, each with a deadline. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { pull } from '../../src/copy/pull.ts'
import { isWindlassError } from '../../src/errors.ts'
import { noCredentials } from '../../src/places/registry/credentials.ts'
import { parseProxies } from '../../src/places/registry/proxy.ts'
import { layers, startImage } from '../servers/faulty-image.ts'
import { type Fault, well } from '../servers/faulty-registry.ts'
import { startProxy } from '../servers/proxy.ts'
import { makeCertificate } from '../testbed/certificate.ts'
import { windlassProgram } from '../testbed/windlass.ts'

const row = { timeout: 40_000 }
const directory = mkdtempSync(join(tmpdir(), 'windlass-reach-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const { keyFile, certFile, ...tls } = makeCertificate(directory)
const mutual = { ...tls, ca: tls.cert, requestCert: true }
let runs = 0

interface Run {
  readonly status: number | null
  readonly stderr: string
}

/** Pulls with the program, in a home and a store of its own. */
async function run(
  reference: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Run> {
  const { PATH = '' } = process.env
  const root = join(directory, `store-${runs++}`)
  const fixed = ['--root', root, 'pull', '--platform', 'linux/amd64']
  const child = spawn(windlassProgram, [...fixed, ...args, reference], {
    env: { PATH, HOME: join(directory, 'home'), ...env },
    stdio: 'pipe',
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', text => (stderr += text))
  child.stdout.resume()
  const timer = setTimeout(() => child.kill('SIGKILL'), 30_000)
  const [status] = await once(child, 'close')
  clearTimeout(timer)
  return { status, stderr }
}

const portOf = (host: string): string => host.split(':')[1] ?? ''
/** A name that only the proxy knows. */
const hidden = ({ host }: { host: string }): string => `registry.test:${portOf(host)}/team/app:v1`

describe('through a proxy', { concurrency: 4 }, () => {
  test('https goes by CONNECT, with the password of the address, which the registry never sees', row, async () => {
    const seen: (string | undefined)[] = []
    const always: Fault = exchange => {
      seen.push(exchange.request.headers['proxy-authorization'])
      return well()(exchange)
    }
    await using registry = await startImage({ tls, always })
    await using proxy = await startProxy()
    const { status, stderr } = await run(hidden(registry), ['--tls-ca', certFile], {
      HTTPS_PROXY: `http://ann:s%40cret@${proxy.host}`,
    })
    assert.equal(status, 0, stderr)
    assert.ok(
      proxy.seen.length > 0 && proxy.seen.every(line => line === `CONNECT registry.test:${portOf(registry.host)}`),
    )
    const wanted = `Basic ${Buffer.from('ann:s@cret').toString('base64')}`
    assert.ok(proxy.authorizations.every(header => header === wanted))
    assert.equal(seen.length, layers.length + 1)
    assert.ok(seen.every(header => header === undefined))
    assert.ok(!stderr.includes('cret'))
  })

  for (const variables of [['http_proxy'], ['HTTP_PROXY', 'HTTPS_PROXY']]) {
    test(`a registry of plain http is reached by ${variables.join(' and ')}`, row, async () => {
      await using registry = await startImage()
      await using proxy = await startProxy()
      const env = Object.fromEntries(variables.map(name => [name, proxy.host]))
      const { status, stderr } = await run(hidden(registry), ['--insecure-registry', 'registry.test'], env)
      assert.equal(status, 0, stderr)
      assert.ok(proxy.seen.some(line => line.startsWith(`GET http://registry.test:${portOf(registry.host)}/v2/`)))
    })
  }

  for (const status of [407, 403]) {
    test(`one that answers ${status} is named, and not asked again`, row, async () => {
      await using registry = await startImage({ tls })
      await using proxy = await startProxy(status)
      const refused = await run(hidden(registry), ['--tls-ca', certFile], { HTTPS_PROXY: proxy.host })
      assert.equal(refused.status, 3, refused.stderr)
      assert.match(refused.stderr, new RegExp(`proxy ${proxy.host} refuses it: .*${status}`))
      assert.equal(proxy.seen.length, 1)
    })
  }

  test('one that speaks https itself has to prove who it is', row, async () => {
    await using registry = await startImage({ tls })
    await using proxy = await startProxy(undefined, tls)
    const env = { HTTPS_PROXY: `https://${proxy.host}` }
    const { status, stderr } = await run(hidden(registry), ['--tls-ca', certFile], env)
    assert.equal(status, 0, stderr)
    assert.ok(proxy.seen.length > 0)
    proxy.seen.length = 0
    const refused = await run(hidden(registry), [], env)
    assert.equal(refused.status, 4, refused.stderr)
    assert.match(refused.stderr, /no TLS with registry\.test:\d+ \(through proxy .*\): self-signed certificate$/m)
    assert.deepEqual(proxy.seen, [])
  })

  test('one that is gone is named', row, async () => {
    const proxy = await startProxy()
    await proxy[Symbol.asyncDispose]()
    const { status, stderr } = await run('registry.test/team/app:v1', [], { https_proxy: proxy.host })
    assert.equal(status, 4, stderr)
    assert.ok(stderr.includes(`registry.test (through proxy ${proxy.host})`), stderr)
  })

  test('one that takes a request and never answers is given up in time, and named', row, async () => {
    await using proxy = await startProxy('mute')
    const startedMs = performance.now()
    const run = pull('registry.test/team/app:v1', {
      root: join(directory, `store-${runs++}`),
      credentials: noCredentials,
      patience: { connectMs: 400, headersMs: 400, pauseMs: 5 },
      connections: { proxy: parseProxies({ HTTPS_PROXY: proxy.host }) },
    })
    const error: unknown = await run.result.catch(reason => reason)
    assert.ok(isWindlassError(error, 'STALLED'), String(error))
    assert.ok(error.message.includes(`registry.test (through proxy ${proxy.host})`), error.message)
    // Each attempt has a connection of its own: none waits for the answer that an earlier one did not get.
    assert.equal(proxy.seen.length, 5)
    assert.ok(performance.now() - startedMs < 15_000)
  })

  test('loopback is reached without, whatever the variables say', row, async () => {
    await using registry = await startImage()
    const env = { HTTP_PROXY: '127.0.0.1:1', HTTPS_PROXY: '127.0.0.1:1' }
    const { status, stderr } = await run(`${registry.host}/team/app:v1`, [], env)
    assert.equal(status, 0, stderr)
  })

  test('a value that is no proxy is wrong usage, and not shown', row, async () => {
    const { status, stderr } = await run('registry.test/team/app:v1', [], {
      HTTPS_PROXY: 'ftp://ann:secret@proxy.test',
    })
    assert.equal(status, 125, stderr)
    assert.match(stderr, /Cannot use the proxy of HTTPS_PROXY/)
    assert.ok(!stderr.includes('secret'))
  })
})

describe('certificates', { concurrency: 4 }, () => {
  test('one that nobody vouches for ends the pull; --tls-ca and --insecure-registry let it pass', row, async () => {
    await using registry = await startImage({ tls })
    const reference = `${registry.host}/team/app:v1`
    const refused = await run(reference, [])
    assert.equal(refused.status, 4, refused.stderr)
    assert.match(refused.stderr, /no TLS with 127\.0\.0\.1:\d+: self-signed certificate$/m)
    for (const args of [
      ['--tls-ca', certFile],
      ['--insecure-registry', registry.host],
      ['--insecure-registry', '127.0.0.0/8'],
    ]) {
      const { status, stderr } = await run(reference, args)
      assert.equal(status, 0, stderr)
    }
    const other = await run(reference, ['--insecure-registry', '127.0.0.1:1'])
    assert.equal(other.status, 4, other.stderr)
  })

  test("docker's certs.d has the authority and what to show", row, async () => {
    await using registry = await startImage({ tls: mutual })
    const reference = `${registry.host}/team/app:v1`
    const refused = await run(reference, ['--tls-ca', certFile])
    assert.equal(refused.status, 4, refused.stderr)
    assert.match(refused.stderr, /hint: .*--cert/)
    const HOME = join(directory, `home-${runs}`)
    const certs = join(HOME, '.config/docker/certs.d', registry.host)
    mkdirSync(certs, { recursive: true })
    for (const [from, to] of [
      [certFile, 'ca.crt'],
      [certFile, 'client.cert'],
      [keyFile, 'client.key'],
    ] as const) {
      cpSync(from, join(certs, to))
    }
    const { status, stderr } = await run(reference, [], { HOME })
    assert.equal(status, 0, stderr)
    rmSync(join(certs, 'client.key'))
    const halved = await run(reference, [], { HOME })
    assert.equal(halved.status, 125, halved.stderr)
    assert.match(halved.stderr, /client\.cert alone: wanted a certificate and its key/)
  })

  test('--cert is shown to the registry, and not where it leads to', row, async () => {
    const shownTo = { registry: 0, store: 0 }
    const isShown = (exchange: Parameters<Fault>[0]): boolean =>
      Object.keys((exchange.request.socket as TLSSocket).getPeerCertificate() ?? {}).length > 0
    const lax = { ...mutual, rejectUnauthorized: false }
    await using store = await startImage({
      tls: lax,
      always: exchange => {
        if (isShown(exchange)) shownTo.store++
        return well()(exchange)
      },
    })
    await using registry = await startImage({
      tls: lax,
      always: exchange => {
        if (isShown(exchange)) shownTo.registry++
        exchange.response.writeHead(307, { location: `https://${store.host}${exchange.request.url}` }).end()
      },
    })
    const args = ['--tls-ca', certFile, '--cert', certFile, '--key', keyFile]
    const { status, stderr } = await run(`${registry.host}/team/app:v1`, args)
    assert.equal(status, 0, stderr)
    assert.deepEqual(shownTo, { registry: layers.length + 1, store: 0 })
    assert.equal(store.requests.length, layers.length + 1)
  })

  test('what cannot be used is told by its name', row, async () => {
    const noPem = join(directory, 'key.txt')
    cpSync('/etc/hostname', noPem)
    for (const [args, status, message] of [
      [['--tls-ca', join(directory, 'absent.pem')], 1, /Cannot read certificates .*absent\.pem/],
      [['--tls-ca', noPem], 125, /Cannot use certificates .*key\.txt: it is not PEM/],
      [['--cert', certFile], 125, /cert\.pem alone: wanted a certificate and its key/],
      [['--cert', certFile, '--key', certFile], 125, /Cannot use certificate .*cert\.pem with key .*cert\.pem: /],
    ] as const) {
      const end = await run('127.0.0.1:1/team/app:v1', args)
      assert.equal(end.status, status, end.stderr)
      assert.match(end.stderr, message)
    }
  })
})
