/** Registries with real faults, tried as an engine with such settings would reach them. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { mkdirSync, mkdtempSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { codesOf, makeEngine } from '../../../test/checked.ts'
import { startImage } from '../../../test/servers/faulty-image.ts'
import { mute, refuses, trickle, wholeAlways } from '../../../test/servers/faulty-registry.ts'
import { startProxy } from '../../../test/servers/proxy.ts'
import { descriptorOf } from '../../../test/servers/push.ts'
import { startScriptedServer } from '../../../test/servers/scripted-server.ts'
import { makeCertificate } from '../../../test/testbed/certificate.ts'
import { parseReference } from '../../oci/reference.ts'
import { type CredentialSource, noCredentials } from '../../places/registry/credentials.ts'
import { openDockerCredentials } from '../../places/registry/docker-credentials.ts'
import { LiveHost } from '../../sys/host-view.ts'
import { network } from '../catalogue/network.ts'
import type { Engine } from '../engines.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { allChecks } from './all.ts'
import { listItems } from './items.ts'
import { withoutExplained } from './order.ts'
import { type ChecksResult, runChecks } from './run.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-registries-'))
after(() => rmSync(directory, { recursive: true }))
const tls = makeCertificate(directory)

interface VisitOptions {
  readonly engine?: Engine
  readonly others?: readonly Engine[]
  readonly credentials?: CredentialSource
}

/** What the checks of registries find at an image, or at a registry alone. */
async function visit(name: string, options: VisitOptions = {}): Promise<ChecksResult> {
  const { engine = makeEngine(process.pid), others = [], credentials = noCredentials } = options
  const engines = [...others, engine]
  const reference = name.includes('/') ? parseReference(name) : undefined
  const host = new LiveHost()
  const signal = AbortSignal.timeout(60_000)
  const registry = { host: name.split('/')[0] ?? '', reference, credentials }
  const items = await listItems(host, engines, { registry, signal })
  const checks = allChecks.filter(check => check.of === 'registry')
  const context = { host, engines, table: new Map(), signal, mayTry: false, verdictOf: async () => undefined }
  return await runChecks(checks, items, context)
}

const isAccusing = ({ severity }: Finding) => severity === 'problem' || severity === 'warning'

const find = ({ findings }: ChecksResult, code: string): Finding | undefined => findings.find(one => one.code === code)

/** An engine in a root of its own, with these files in it. */
function engineWith(files: Readonly<Record<string, string>>, more: Partial<Engine> = {}): Engine {
  const rootPrefix = mkdtempSync(join(directory, 'root-'))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(rootPrefix, path, '..'), { recursive: true })
    writeFileSync(join(rootPrefix, path), text)
  }
  return makeEngine(process.pid, { rootPrefix, ...more })
}

describe('the doctor tries', { concurrency: 6 }, () => {
  test('a registry that is well: all is read, with figures, and nobody is accused', async () => {
    await using registry = await startImage()
    const seen = await visit(`${registry.host}/team/app:v1`)
    assert.deepEqual(codesOf(seen.findings), ['REGISTRY_ANSWERS', 'IMAGE_READABLE', 'REGISTRY_SPEED'])
    assert.match(find(seen, 'IMAGE_READABLE')?.evidence[0] ?? '', /3 layers, 1,2\d\d,\d\d\d bytes/)
  })

  test('one whose credentials a program should give, which does not answer: that is told, and nothing is asked with less', async () => {
    await using registry = await startImage()
    const [config, programs] = [mkdtempSync(join(directory, 'docker-')), mkdtempSync(join(directory, 'bin-'))]
    const find = async (script: string) => {
      writeFileSync(join(programs, 'docker-credential-slow'), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
      writeFileSync(join(config, 'config.json'), JSON.stringify({ credHelpers: { [registry.host]: 'slow' } }))
      const credentials = await openDockerCredentials({
        configDirectory: config,
        env: { PATH: `${programs}:/usr/bin:/bin` },
      })
      return codesOf((await visit(`${registry.host}/team/app:v1`, { credentials })).findings)
    }
    assert.deepEqual(await find('sleep 30'), ['REGISTRY_ANSWERS', 'CREDENTIAL_HELPER_SILENT'])
    assert.deepEqual(await find('exit 3'), ['REGISTRY_ANSWERS', 'CREDENTIALS_UNREADABLE'])
    const well = ['REGISTRY_ANSWERS', 'IMAGE_READABLE', 'REGISTRY_SPEED']
    assert.deepEqual(await find('echo "credentials not found in native keychain"; exit 1'), well)
  })

  test('one that sends the whole layer where a part was asked for', async () => {
    await using registry = await startImage({ always: wholeAlways() })
    const seen = await visit(`${registry.host}/team/app:v1`)
    assert.equal(find(seen, 'REGISTRY_WITHOUT_RANGES')?.severity, 'warning')
  })

  test('one whose clock is two hours behind, and one that is half a minute ahead', async () => {
    const at = (ms: number) => ({ date: new Date(Date.now() + ms).toUTCString() })
    await using behind = await startImage(at(-7_200_000))
    const skewed = find(await visit(behind.host), 'CLOCK_SKEWED')
    assert.ok(Math.abs(Number(skewed?.facts['skewMs']) - 7_200_000) < 10_000)
    await using ahead = await startImage(at(30_000))
    assert.equal(find(await visit(ahead.host), 'CLOCK_SKEWED'), undefined)
  })

  test('one that sends a few bytes a second is slow, not silent', async () => {
    await using registry = await startImage({ always: trickle(2000, 100) })
    const seen = await visit(`${registry.host}/team/app:v1`)
    assert.ok(Number(find(seen, 'REGISTRY_SLOW')?.facts['bytesPerSecond']) < 65_536)
    assert.equal(find(seen, 'REGISTRY_SILENT'), undefined)
  })

  test('one that takes the request for a layer and sends nothing: silent, and no black hole, which small segments would cure', async () => {
    await using registry = await startImage({ always: mute() })
    const seen = await visit(`${registry.host}/team/app:v1`)
    assert.ok(find(seen, 'REGISTRY_SILENT'))
    assert.equal(find(seen, 'MTU_BLACK_HOLE'), undefined)
  })

  test('one that fails for layers is unreadable', async () => {
    await using registry = await startImage({ always: refuses(500) })
    assert.match(find(await visit(`${registry.host}/team/app:v1`), 'IMAGE_UNREADABLE')?.evidence[0] ?? '', /500/)
  })

  test('one without that image: the layers are not asked for', async () => {
    await using registry = await startImage()
    const seen = await visit(`${registry.host}/team/app:v2`)
    assert.ok(find(seen, 'IMAGE_MISSING'))
    const skipped = seen.skipped.map(({ check, because }) => [check, because.split(' ')[0]])
    assert.deepEqual(skipped, [
      ['registry-download', 'IMAGE_MISSING'],
      ['zstd-layers', 'IMAGE_MISSING'],
    ])
  })

  test('one that wants a password: denied without, readable with that of the user', async () => {
    await using registry = await startImage({ password: true })
    const name = `${registry.host}/team/app:v1`
    assert.ok(find(await visit(name), 'REGISTRY_DENIES'))
    const credentials: CredentialSource = { find: async () => ({ username: 'ann', password: 'secret' }) }
    const seen = await visit(name, { credentials })
    assert.ok(find(seen, 'IMAGE_READABLE'))
    assert.doesNotMatch(JSON.stringify(seen), /secret/)
  })

  test('nobody listens: unreachable, and nothing more is tried', async () => {
    const seen = await visit('127.0.0.1:1')
    assert.deepEqual(codesOf(seen.findings), ['REGISTRY_UNREACHABLE'])
  })

  test('a web server that is no registry', async () => {
    await using server = await startScriptedServer([{ on: 'GET /v2/', answer: { status: 404, body: '<html>' } }])
    assert.deepEqual(codesOf((await visit(server.host)).findings), ['REGISTRY_STRANGE'])
  })

  test('a certificate of nobody: refused, unless it stands in certs.d in the root of the engine, or the host is named insecure', async () => {
    await using registry = await startImage({ tls })
    const stranger = engineWith({})
    assert.deepEqual(codesOf((await visit(registry.host, { engine: stranger })).findings), ['REGISTRY_TLS'])
    const trusting = engineWith({ [`etc/docker/certs.d/${registry.host}/ca.crt`]: tls.cert })
    assert.deepEqual(codesOf((await visit(registry.host, { engine: trusting })).findings), ['REGISTRY_ANSWERS'])
    const file = JSON.stringify({ 'insecure-registries': ['127.0.0.0/8'] })
    const careless = engineWith({ 'etc/docker/daemon.json': file })
    assert.deepEqual(codesOf((await visit(registry.host, { engine: careless })).findings), ['REGISTRY_ANSWERS'])
  })

  test('a certificate of nobody before containerd, whose configuration is not read, is a note', async () => {
    await using registry = await startImage({ tls })
    const found = async (kind: 'containerd' | 'dockerd') =>
      find(await visit(registry.host, { engine: { ...engineWith({}), kind } }), 'REGISTRY_TLS')
    assert.equal((await found('dockerd'))?.severity, 'problem')
    const told = await found('containerd')
    assert.equal(told?.severity, 'note')
    assert.match(told?.evidence[0] ?? '', /hosts\.toml/)
  })

  test('what dockerd says of itself counts more than its file, which may wait for a restart', async () => {
    await using registry = await startImage({ tls })
    const engine = engineWith({ 'etc/docker/daemon.json': JSON.stringify({ 'insecure-registries': ['127.0.0.0/8'] }) })
    const { rootPrefix } = engine
    const socket = join(rootPrefix, 's')
    const config = { InsecureRegistryCIDRs: [], IndexConfigs: {}, Mirrors: [] }
    await using _server = await serveInfo(socket, { RegistryConfig: config })
    const seen = await visit(registry.host, { engine: { ...engine, sockets: ['/s'] } })
    assert.deepEqual(codesOf(seen.findings), ['REGISTRY_TLS'])
  })

  test('podman: what registries.conf names as insecure need not prove who it is', async () => {
    await using registry = await startImage({ tls })
    const text = `unqualified-search-registries = []\n[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n[[registry.mirror]]\nlocation="x"\n`
    const engine = engineWith({ 'etc/containers/registries.conf': text }, { kind: 'podman' })
    assert.deepEqual(codesOf((await visit(registry.host, { engine })).findings), ['REGISTRY_ANSWERS'])
  })

  test('the proxy of the running process is used, of its file before that, and named without its password', async () => {
    await using registry = await startImage({ tls })
    await using proxy = await startProxy()
    const [, port = ''] = registry.host.split(':')
    const name = `registry.test:${port}`
    const environment = new Map([['HTTPS_PROXY', `http://ann:secret@${proxy.host}`]])
    const trust = { [`etc/docker/certs.d/${name}/ca.crt`]: tls.cert }
    const seen = await visit(name, { engine: engineWith(trust, { environment }) })
    assert.deepEqual(codesOf(seen.findings), ['REGISTRY_ANSWERS'])
    assert.match(seen.findings[0]?.evidence[0] ?? '', new RegExp(`through the proxy ${proxy.host}`))
    assert.equal(proxy.seen[0], `CONNECT ${name}`)
    assert.doesNotMatch(JSON.stringify(seen), /secret/)
    await using refusing = await startProxy(407)
    const file = JSON.stringify({ proxies: { 'https-proxy': `http://${refusing.host}` } })
    const both = engineWith({ ...trust, 'etc/docker/daemon.json': file }, { environment })
    assert.deepEqual(codesOf((await visit(name, { engine: both })).findings), ['PROXY_REFUSES'])
  })

  test('a proxy that is no address', async () => {
    const environment = new Map([['HTTPS_PROXY', 'socks5://127.0.0.1:1080']])
    const seen = await visit('registry.test:5000', {
      engine: engineWith({ 'etc/hosts': '127.0.0.1 registry.test' }, { environment }),
    })
    assert.ok(find(seen, 'PROXY_INVALID'))
  })

  test('the mirrors of docker are tried for Docker Hub, by the settings of the daemon', async () => {
    const file = JSON.stringify({ 'registry-mirrors': ['http://127.0.0.1:1/'] })
    const host = new LiveHost()
    const registry = { host: 'registry-1.docker.io', reference: parseReference('debian'), credentials: noCredentials }
    const engines = [engineWith({ 'etc/docker/daemon.json': file })]
    const items = await listItems(host, engines, { registry, signal: AbortSignal.timeout(1000) })
    const visits = items.filter(({ kind }) => kind === 'registry').map(({ key }) => key.split(' ')[0])
    assert.deepEqual(visits, ['registry-1.docker.io', '127.0.0.1:1'])
  })

  test('zstd layers and a docker that cannot read them', async () => {
    const config = Buffer.from(
      JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } }),
    )
    const manifestType = 'application/vnd.oci.image.manifest.v1+json'
    const manifest = {
      ...{
        schemaVersion: 2,
        mediaType: manifestType,
        config: descriptorOf(config, 'application/vnd.oci.image.config.v1+json'),
      },
      layers: [descriptorOf(Buffer.from('x'), 'application/vnd.oci.image.layer.v1.tar+zstd')],
    }
    await using registry = await startImage()
    registry.tag('zstd', manifestType, Buffer.from(JSON.stringify(manifest)))
    const name = `${registry.host}/team/app:zstd`
    const old = await visit(name, { engine: makeEngine(process.pid, { version: '20.10.24' }) })
    assert.equal(find(old, 'ZSTD_UNSUPPORTED')?.severity, 'problem')
    assert.match(find(old, 'ZSTD_UNSUPPORTED')?.evidence[0] ?? '', /1 of 1 layers/)
    const fresh = await visit(name, { engine: makeEngine(process.pid, { version: '23.0.1' }) })
    assert.equal(find(fresh, 'ZSTD_UNSUPPORTED'), undefined)
  })

  test('nothing is sent where an engine of somebody else would have it sent, and that is told', {
    skip: process.getuid?.() !== 0,
  }, async () => {
    await using registry = await startImage({ tls })
    await using proxy = await startProxy()
    await using theirs = await startProxy(401)
    const name = `registry.test:${registry.host.split(':')[1]}`
    const through = ({ host }: typeof proxy) =>
      new Map(['HTTP_PROXY', 'HTTPS_PROXY'].map(key => [key, `http://${host}`]))
    const trust = { [`etc/docker/certs.d/${name}/ca.crt`]: tls.cert }
    const child = spawn('sleep', ['60'], { uid: 65_534, stdio: 'ignore' })
    try {
      const stranger = makeEngine(child.pid ?? assert.fail(), {
        args: ['dockerd', '--insecure-registry', name],
        environment: through(theirs),
      })
      const engine = engineWith(trust, { environment: through(proxy) })
      const credentials = { find: async () => ({ username: 'root', password: 'secret' }) }
      const { findings } = await visit(`${name}/team/app:v1`, { engine, others: [stranger], credentials })
      assert.deepEqual(theirs.seen, [])
      assert.equal(proxy.seen[0], `CONNECT ${name}`)
      const about = findings.filter(({ subject }) => subject.startsWith(`dockerd ${child.pid} `))
      assert.deepEqual(codesOf(about), ['NETWORK_UNSEEN'])
      assert.match(
        about[0]?.evidence[0] ?? '',
        /neither of root nor our own.*sudo -u '#65534' windlass doctor --image \S+\/team\/app:v1 asks/,
      )
    } finally {
      child.kill('SIGKILL')
    }
  })

  test('where no engine is followed, what is found without settings is no problem', {
    skip: process.getuid?.() !== 0,
  }, async () => {
    const child = spawn('sleep', ['60'], { uid: 65_534, stdio: 'ignore' })
    try {
      const engine = makeEngine(child.pid ?? assert.fail())
      const seen = await visit('127.0.0.1:1', { engine })
      assert.deepEqual(codesOf(seen.findings).toSorted(), ['NETWORK_UNSEEN', 'REGISTRY_UNREACHABLE'])
      const { severity, evidence, subject } = find(seen, 'REGISTRY_UNREACHABLE') ?? assert.fail()
      assert.deepEqual([severity, subject], ['note', '127.0.0.1:1'])
      assert.equal(evidence[0], 'it was tried without the settings of the engines here')
      // Beside one that is followed it is.
      const beside = await visit('127.0.0.1:1', { others: [engine] })
      assert.equal(find(beside, 'REGISTRY_UNREACHABLE')?.severity, 'problem')
    } finally {
      child.kill('SIGKILL')
    }
  })

  test('without the settings of an engine, what they decide is in doubt, and nothing else', async () => {
    const engine = makeEngine(process.pid, { isOpen: false })
    const severities = async (name: string, options: VisitOptions = {}) => {
      const { findings } = await visit(name, { ...options, engine })
      return findings.filter(({ severity }) => severity !== 'ok').map(({ code, severity }) => `${code} ${severity}`)
    }
    await using closed = await startImage({ password: true })
    assert.deepEqual(await severities(`${closed.host}/team/app:v1`), ['REGISTRY_DENIES problem'])
    await using broken = await startImage({ always: refuses(500) })
    assert.deepEqual(await severities(`${broken.host}/team/app:v2`), ['IMAGE_MISSING problem'])
    assert.deepEqual(await severities(`${broken.host}/team/app:v1`), ['IMAGE_UNREADABLE note'])
    await using whole = await startImage({ always: wholeAlways() })
    assert.deepEqual(await severities(`${whole.host}/team/app:v1`), ['REGISTRY_WITHOUT_RANGES warning'])
    await using strange = await startImage({ tls })
    assert.deepEqual(await severities(strange.host), ['REGISTRY_TLS note'])
  })

  test('of all that may be wrong with a registry it is said whether the settings of an engine decide it', async () => {
    const registry = { host: '127.0.0.1:1', reference: undefined, credentials: noCredentials }
    const signal = AbortSignal.timeout(5000)
    const items = await listItems(new LiveHost(), [makeEngine(process.pid, { isOpen: false })], { registry, signal })
    const item = items.find(({ kind }) => kind === 'registry') ?? assert.fail()
    const codes = Object.keys(network) as (keyof typeof network)[]
    const findings = codes.map(code => makeFinding(code, 'x')).filter(isAccusing)
    const told = withoutExplained([], [{ check: 'x', item, findings }])
    const [sure, doubted] = [codesOf(told.filter(isAccusing)), codesOf(told.filter(one => !isAccusing(one)))]
    assert.deepEqual(doubted.toSorted(), [
      ...['CONNECTION_UNANSWERED', 'IMAGE_UNREADABLE', 'NAME_SERVERS_SILENT', 'NAME_SERVER_SILENT', 'NAME_UNKNOWN'],
      ...['PROXY_INVALID', 'PROXY_REFUSES', 'REGISTRY_SILENT', 'REGISTRY_SLOW', 'REGISTRY_STRANGE', 'REGISTRY_TLS'],
      'REGISTRY_UNREACHABLE',
    ])
    assert.deepEqual(sure.toSorted(), [
      ...['CLOCK_SKEWED', 'CREDENTIALS_UNREADABLE', 'CREDENTIAL_HELPER_SILENT', 'IMAGE_MISSING', 'IPV6_BLACK_HOLE'],
      ...['MTU_BLACK_HOLE', 'REGISTRY_DENIES', 'REGISTRY_WITHOUT_RANGES'],
    ])
  })

  test('a daemon of root with mounts of its own: a registry alone is asked by its settings, without a certificate, and an image is not', {
    skip: process.getuid?.() !== 0,
  }, async () => {
    await using registry = await startImage({ tls })
    await using proxy = await startProxy()
    const name = `registry.test:${registry.host.split(':')[1]}`
    const environment = new Map(['HTTP_PROXY', 'HTTPS_PROXY'].map(key => [key, `http://${proxy.host}`]))
    const child = spawn('unshare', ['--mount', 'sleep', '60'], { stdio: 'ignore' })
    try {
      const pid = child.pid ?? assert.fail()
      while (readlinkSync(`/proc/${pid}/ns/mnt`) === readlinkSync('/proc/self/ns/mnt')) await sleep(5)
      const engine = (...args: string[]) => makeEngine(pid, { args: ['dockerd', ...args], environment })
      const insecure = await visit(name, { engine: engine('--insecure-registry', name) })
      assert.deepEqual(codesOf(insecure.findings), ['REGISTRY_ANSWERS'])
      assert.equal(proxy.seen[0], `CONNECT ${name}`)
      const trusting = find(await visit(name, { engine: engine() }), 'REGISTRY_TLS')
      assert.equal(trusting?.severity, 'note')
      assert.match(trusting?.evidence[0] ?? '', /^it has mounts of its own/)
      const sent = proxy.seen.length
      const image = await visit(`${name}/team/app:v1`, { engine: engine('--insecure-registry', name) })
      const unseen = find(image, 'NETWORK_UNSEEN')?.evidence[0] ?? ''
      assert.ok(
        unseen.includes(`--registry ${name} asks without any`) && unseen.includes(`nsenter -t ${pid} -m`),
        unseen,
      )
      assert.equal(proxy.seen.length, sent)
      assert.equal(find(image, 'NAME_UNKNOWN')?.severity ?? 'note', 'note')
    } finally {
      child.kill('SIGKILL')
    }
  })

  test('an engine in another network is not judged by what passes here', async () => {
    const engine = makeEngine(process.pid)
    const host = new LiveHost()
    const link = host.link.bind(host)
    host.link = path => (path === `/proc/${process.pid}/ns/net` ? 'net:[1]' : link(path))
    const signal = AbortSignal.timeout(5000)
    const reference = parseReference('127.0.0.1:1/team/app:v1')
    const registry = { host: '127.0.0.1:1', reference, credentials: noCredentials }
    const items = await listItems(host, [engine], { registry, signal })
    const context = {
      host,
      engines: [engine],
      table: new Map(),
      signal,
      mayTry: false,
      verdictOf: async () => undefined,
    }
    const { findings, skipped } = await runChecks(
      allChecks.filter(({ of }) => of === 'registry'),
      items,
      context,
    )
    assert.deepEqual(codesOf(findings), ['NETWORK_UNSEEN'])
    const how = `nsenter -t ${process.pid} -n windlass doctor --registry 127.0.0.1:1`
    assert.ok(findings[0]?.evidence[0]?.includes(how))
    for (const left of ['registry-reach', 'registry-image', 'registry-download'])
      assert.ok(
        skipped.some(({ check }) => check === left),
        left,
      )
  })

  test('the name is asked of the servers in the engine’s own resolv.conf: found, unknown, and servers that are silent', async () => {
    using knowing = await startNames('registry.test')
    using ignorant = await startNames(undefined)
    using silent = await startNames(undefined, true)
    const look = async (...servers: string[]) => {
      const text = servers.map(server => `nameserver ${server}\n`).join('')
      const { findings } = await visit('registry.test:1', { engine: engineWith({ 'etc/resolv.conf': text }) })
      return findings.filter(({ code }) => code.startsWith('NAME_'))
    }
    const [found, unknown, allSilent, firstSilent] = await Promise.all([
      look(knowing.server),
      look(ignorant.server),
      look(silent.server),
      look(silent.server, knowing.server),
    ])
    assert.deepEqual(codesOf(found), ['NAME_FOUND'])
    assert.match(found[0]?.evidence[0] ?? '', /says 127\.0\.0\.1/)
    assert.deepEqual(codesOf(unknown), ['NAME_UNKNOWN'])
    assert.deepEqual(codesOf(allSilent), ['NAME_SERVERS_SILENT'])
    assert.deepEqual(codesOf(firstSilent), ['NAME_SERVER_SILENT'])
    assert.ok(ignorant.asked() > 0 && silent.asked() > 0)
  })
})

/** A name server that knows one name, or none, or never answers. */
async function startNames(known: string | undefined, isSilent = false) {
  const socket = createSocket('udp4')
  let asked = 0
  socket.on('message', (query, from) => {
    asked++
    if (isSilent) return
    const labels = [
      ...query
        .subarray(12)
        .toString('latin1')
        .matchAll(/[\x01-\x3f]([\w-]+)/g),
    ].map(([, label]) => label)
    const isKnown = labels.join('.') === known
    const isFour = query.readUInt16BE(query.length - (query.includes(Buffer.from([0, 0, 41])) ? 15 : 4)) === 1
    const head = Buffer.alloc(12)
    query.copy(head, 0, 0, 2)
    head.writeUInt16BE(isKnown ? 0x8180 : 0x8183, 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(isKnown && isFour ? 1 : 0, 6)
    const end = query.indexOf(0, 12) + 5
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 127, 0, 0, 1])
    socket.send(Buffer.concat([head, query.subarray(12, end), isKnown && isFour ? answer : Buffer.alloc(0)]), from.port)
  })
  await new Promise<void>(resolve => socket.bind(0, '127.0.0.1', resolve))
  const server = `127.0.0.1:${(socket.address() as AddressInfo).port}`
  return { server, asked: () => asked, [Symbol.dispose]: () => void socket.close() }
}

async function serveInfo(socket: string, info: object) {
  const { createServer } = await import('node:http')
  const server = createServer((_, response) => response.end(JSON.stringify(info)))
  await new Promise<void>(resolve => server.listen(socket, resolve))
  return { [Symbol.asyncDispose]: () => new Promise<void>(resolve => void server.close(() => resolve())) }
}
