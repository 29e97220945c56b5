import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { defer, makeDirectory, makeLayers, never, pullFixture } from '../places/store/fixture.test.ts'
import { Store } from '../places/store/store.ts'
import { serveRegistry } from '../server/registry-server.ts'
import { publishImage } from './demo/publish-image.ts'

const program = fileURLToPath(new URL('../../bin/windlass', import.meta.url))

interface Result {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

interface StartOptions {
  readonly env?: Record<string, string>
  readonly uid?: number
  /** A command that starts windlass in its own place. */
  readonly launcher?: readonly string[]
}

function start(
  args: readonly string[],
  { env = {}, uid, launcher = [] }: StartOptions = {},
): { child: ChildProcess; result: Promise<Result> } {
  const { PATH = '', HOME = '/nonexistent' } = process.env
  const [command = program, ...before] = [...launcher, program]
  const child = spawn(command, [...before, ...args], {
    env: { PATH, HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
    killSignal: 'SIGKILL',
    ...(uid !== undefined && { uid, gid: uid }),
  })
  const text = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', data => (text.stdout += data))
  child.stderr.setEncoding('utf8').on('data', data => (text.stderr += data))
  const result = new Promise<Result>(resolve => child.on('close', status => resolve({ status, ...text })))
  return { child, result }
}

const linux = { os: 'linux', architecture: 'amd64' }

async function startRegistry(t: TestContext) {
  const directory = await makeDirectory(t)
  const server = await serveRegistry({ directory: join(directory, 'registry') })
  defer(t, () => server.close())
  return { server, directory }
}

async function run(...args: string[]): Promise<Result> {
  return await start(args).result
}

describe('a wrong command line ends with 125 and says what is meant', () => {
  for (const [args, message] of [
    [['pul', 'x'], /^windlass: Cannot run "pul": no such command; did you mean pull\?\nhint: /],
    [['pull'], /^windlass: Cannot run pull: REF is missing; usage: windlass pull REF…\n/],
    [['images', '--digest'], /did you mean --digests\?/],
    [['--layers', '3', 'pull'], /--layers/],
    [['pull', '--into', 'nowhere', 'x'], /Cannot pull into "nowhere": there is no such place/],
    [['tag', 'x', 'UPPER'], /Cannot use reference/],
    [['completion', 'csh'], /bash, zsh, fish/],
    [['help', 'nothing'], /no such command/],
    [['images', '--root='], /--root/],
    [[], /^Usage: windlass/],
  ] as const) {
    test(`windlass ${args.join(' ')}`, async () => {
      const { status, stdout, stderr } = await run(...args)
      assert.equal(status, 125)
      assert.equal(stdout, '')
      assert.match(stderr, message)
    })
  }
})

test('help and version go to stdout, and need no store', async () => {
  for (const args of [['--help'], ['help'], ['pull', '--help'], ['help', 'pull'], ['pull', 'x', '-h']]) {
    const { status, stdout, stderr } = await run(...args)
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' }, args.join(' '))
    assert.match(stdout, /^Usage: windlass/)
  }
  for (const args of [['version'], ['--version'], ['images', '--version']]) {
    assert.match((await run(...args)).stdout, /^windlass \d+\.\d+\.\d+ \(node v\d+/)
  }
  assert.match((await run('version', '-q')).stdout, /^\d+\.\d+\.\d+\n$/)
  assert.match(JSON.parse((await run('version', '--json')).stdout).version, /^\d+\.\d+\.\d+$/)
})

test('the launcher gives Node no option with which it compiles its own modules anew at each start', async () => {
  const [, options = ''] = /"\$node" (.+) "\$main"/.exec(await readFile(program, 'utf8')) ?? []
  assert.match(options, /^--/)
  const script = `for (const name of ['crypto', 'tls', 'zlib']) require('node:' + name)
    const { compiledWithCache, compiledWithoutCache } = require('internal/test/binding').internalBinding('builtins').getCacheUsage()
    console.log([...compiledWithCache].length > 10, [...compiledWithoutCache].join())`
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...options.split(' '),
    '--expose-internals',
    '-e',
    script,
  ])
  assert.equal(stdout, 'true \n')
})

test('with --json an error is one line of JSON on stderr', async () => {
  const { status, stdout, stderr } = await run('pull', '--json')
  assert.equal(status, 125)
  assert.equal(stdout, '')
  assert.equal(JSON.parse(stderr).error.code, 'USAGE')
})

test('a reader that goes away is no error to talk about', async () => {
  const { child, result } = start(['--help'])
  child.stdout?.destroy()
  assert.equal((await result).stderr, '')
})

test('a result that cannot be written is a failure', async () => {
  const child = spawn('sh', ['-c', `exec ${program} version >/dev/full`], { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', data => (stderr += data))
  const status = await new Promise(resolve => child.on('close', resolve))
  assert.equal(status, 7)
  assert.match(stderr, /^windlass: Cannot write the result to stdout: .*ENOSPC.*\nhint: .*the file that stdout goes to/)
})

describe('with --progress json, stderr is JSON lines and nothing else', () => {
  const parseLines = (stderr: string) =>
    stderr
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))

  test('when a pull succeeds', async t => {
    const { server, directory } = await startRegistry(t)
    await publishImage([], { url: server.url, name: 'app', tag: 'latest', platform: linux, signal: never })
    const root = join(directory, 'store')
    const { status, stdout, stderr } = await run('--root', root, '--progress', 'json', 'pull', `${server.host}/app`)
    assert.equal(status, 0, stderr)
    assert.match(stdout, /\/app:latest@sha256:[0-9a-f]{64}\n$/)
    const types = parseLines(stderr).map(({ type }) => type)
    assert.deepEqual([types.at(0), types.at(-1)], ['start', 'done'])
  })

  test('when one of several pulls fails', async t => {
    const { server, directory } = await startRegistry(t)
    const references = [`${server.host}/nothing:1`, `${server.host}/nothing:2`]
    const { status, stderr } = await run('pull', '--progress=json', '--root', join(directory, 'store'), ...references)
    assert.equal(status, 2)
    const errors = parseLines(stderr).flatMap(({ error }) => error?.code ?? [])
    assert.deepEqual(errors, ['NOT_FOUND', 'NOT_FOUND'])
  })

  for (const args of [
    ['pull', '--progress', 'json'],
    ['--progress=json', 'pull', '--report', '/dev/null/x.html', '127.0.0.1:1/x'],
  ]) {
    test(`when the command cannot begin: ${args.join(' ')}`, async () => {
      const { stderr } = await run(...args)
      assert.deepEqual(
        parseLines(stderr).map(({ error }) => error.code),
        ['USAGE'],
      )
    })
  }
})

test('a registry that can be none is a wrong reference', async t => {
  const root = join(await makeDirectory(t), 'store')
  const { status, stderr } = await run('--root', root, 'pull', '127.0.0.1:99999/x')
  assert.equal(status, 125)
  assert.match(stderr, /^windlass: Cannot use registry "127\.0\.0\.1:99999": .*65535/m)
})

describe('without root', () => {
  const uid = 65_534

  test('pull has a user namespace, and asks the registry', async t => {
    const { server, directory } = await startRegistry(t)
    await chown(directory, uid, uid)
    const args = ['--root', join(directory, 'store'), 'pull', `${server.host}/nothing`]
    const { status, stderr } = await start(args, { env: { HOME: directory }, uid }).result
    assert.equal(status, 2, stderr)
    assert.match(stderr, /^windlass: Cannot .*nothing/m)
  })

  test('a store of their own can be looked at', async t => {
    const directory = await makeDirectory(t)
    await chown(directory, uid, uid)
    for (const args of [['images'], ['info'], ['version']]) {
      const { status, stderr } = await start(['--root', join(directory, 'store'), ...args], { uid }).result
      assert.deepEqual([status, stderr], [0, ''], args.join(' '))
    }
    const { status } = await start(['--root', join(directory, 'store'), 'inspect', 'nothing'], { uid }).result
    assert.equal(status, 2)
  })
})

describe('compiled code is kept', () => {
  async function runWithCache(t: TestContext, mode: number, owner: number): Promise<string[]> {
    const cache = await mkdtemp(join(tmpdir(), 'windlass-cache-'))
    t.after(() => rm(cache, { recursive: true }))
    const directory = join(cache, 'windlass', 'compiled')
    await mkdir(directory, { recursive: true })
    await chmod(directory, mode)
    await chown(directory, owner, -1)
    const { status } = await start(['version'], { env: { XDG_CACHE_HOME: cache } }).result
    assert.equal(status, 0)
    return await readdir(directory)
  }
  const self = process.geteuid?.() ?? 0

  test('in a directory of this user alone', async t => {
    assert.notDeepEqual(await runWithCache(t, 0o700, self), [])
  })

  test('not where others could put code for this user to run', async t => {
    assert.deepEqual(await runWithCache(t, 0o777, self), [])
    assert.deepEqual(await runWithCache(t, 0o770, self), [])
    if (self === 0) assert.deepEqual(await runWithCache(t, 0o700, 1000), [])
  })
})

describe('with images in the store', () => {
  let root: string
  let directory: string
  const windlass = (...args: string[]) => run('--root', root, ...args)

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'windlass-cli-'))
    root = join(directory, 'store')
    await using store = await Store.open(root)
    await pullFixture(store, 'debian:12', makeLayers(2, 'debian'))
    await pullFixture(store, '127.0.0.1:5000/app/core:2.4', makeLayers(1, 'app'))
  })
  after(() => rm(directory, { recursive: true }))

  test('images lists them as docker does', async () => {
    const { stdout, stderr } = await windlass('images')
    const [header, ...rows] = stdout.trimEnd().split('\n')
    assert.match(header ?? '', /^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE$/)
    assert.equal(stderr, '')
    assert.ok(rows.some(row => /^debian +12 +[0-9a-f]{12} /.test(row)))
    assert.ok(rows.some(row => /^127\.0\.0\.1:5000\/app\/core +2\.4 /.test(row)))
  })

  test('images can be filtered, and told as IDs, names, digests or JSON', async () => {
    assert.match((await windlass('images', '-q', 'debian')).stdout, /^[0-9a-f]{12}\n$/)
    assert.match(
      (await windlass('images', '-q', '--no-trunc', 'docker.io/library/debian:12')).stdout,
      /^sha256:[0-9a-f]{64}\n$/,
    )
    assert.equal((await windlass('images', '-q', 'debian:13')).stdout, '')
    assert.deepEqual((await windlass('images', '--names')).stdout.trim().split('\n').toSorted(), [
      '127.0.0.1:5000/app/core:2.4',
      'debian:12',
    ])
    assert.match((await windlass('images', '--digests', 'debian')).stdout, / sha256:[0-9a-f]{64} /)
    const [image, ...others] = JSON.parse((await windlass('images', '--json', 'debian')).stdout)
    assert.deepEqual(image.names, ['debian:12'])
    assert.equal(others.length, 0)
  })

  test('inspect tells all, in the shape of docker image inspect', async () => {
    const { status, stdout } = await windlass('inspect', 'debian:12')
    assert.equal(status, 0)
    const [image] = JSON.parse(stdout)
    assert.deepEqual(image.RepoTags, ['debian:12'])
    assert.match(image.RepoDigests[0], /^debian@sha256:/)
    assert.equal(image.RootFS.Layers.length, 2)
    assert.equal(image.GraphDriver.Data.UpperDir, image.Layers[1].Directory)
    assert.equal(image.GraphDriver.Data.LowerDir, image.Layers[0].Directory)
    assert.equal(image.Architecture, 'amd64')
  })

  test('an image that is missing is told, with status 2, and does not keep the others from being shown', async () => {
    const { status, stdout, stderr } = await windlass('inspect', 'nothing:here', 'debian:12')
    assert.equal(status, 2)
    assert.equal(JSON.parse(stdout).length, 1)
    assert.match(stderr, /^windlass: Cannot /)
  })

  test('tag gives a name, and rmi takes it away', async () => {
    assert.equal((await windlass('tag', 'debian:12', 'other:1')).status, 0)
    assert.equal(
      JSON.parse((await windlass('tag', 'debian:12', 'other:2', '--json')).stdout).name,
      'docker.io/library/other:2',
    )
    assert.match((await windlass('images', '--names')).stdout, /^other:1$/m)
    assert.equal((await windlass('rmi', 'other:1')).stdout, 'Untagged: other:1\n')
    assert.deepEqual(JSON.parse((await windlass('rmi', 'other:2', '--json')).stdout).untagged, [
      'docker.io/library/other:2',
    ])
    assert.equal((await windlass('rmi', 'other:1')).status, 2)
  })

  test('WINDLASS_ROOT names the store, and --root goes before it', async () => {
    const environment = start(['images', '--names'], { env: { WINDLASS_ROOT: root } })
    assert.match((await environment.result).stdout, /debian:12/)
    const option = start(['images', '--names', '--root', join(directory, 'other')], { env: { WINDLASS_ROOT: root } })
    assert.equal((await option.result).stdout, '')
  })

  test('gc frees nothing of them', async () => {
    assert.equal(JSON.parse((await windlass('gc', '--json')).stdout).layers, 0)
    assert.match((await windlass('images', '--names')).stdout, /debian:12/)
  })

  test('info tells about the store', async () => {
    assert.match((await windlass('info')).stdout, /^Images: 2\n.*^Storage Driver: overlay2$/ms)
    assert.equal(JSON.parse((await windlass('info', '--json')).stdout).images, 2)
  })

  test('verify ends with 0 on a sound store, with 6 and the finding on a damaged one', async () => {
    const sound = await windlass('verify')
    assert.deepEqual([sound.status, sound.stdout], [0, ''])
    const { digest } = JSON.parse((await windlass('images', '--json', 'debian')).stdout)[0]
    await writeFile(join(root, 'blobs', ...digest.split(':')), 'damaged')
    const damaged = await windlass('verify')
    assert.equal(damaged.status, 6)
    assert.ok(damaged.stdout.includes(digest))
    assert.equal(JSON.parse((await windlass('verify', '--json')).stdout).findings.length > 0, true)
    assert.deepEqual([(await windlass('verify', '-q')).status, (await windlass('verify', '-q')).stdout], [6, ''])
  })
})

describe('a signal', () => {
  /** A pull from a registry that takes the connection and never answers. */
  async function startStuckPull(t: TestContext, launcher: readonly string[] = []) {
    const directory = await mkdtemp(join(tmpdir(), 'windlass-cli-'))
    const server = createServer(socket => socket.on('error', () => {}))
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    assert.ok(typeof address === 'object' && address !== null)
    const connected = new Promise(resolve => server.once('connection', resolve))
    const args = ['--root', join(directory, 'store'), 'pull', `127.0.0.1:${address.port}/a/b:c`]
    const { child, result } = start(args, { launcher })
    t.after(async () => {
      child.kill('SIGKILL')
      server.close()
      await rm(directory, { recursive: true, force: true })
    })
    await Promise.race([connected, result.then(({ stderr }) => assert.fail(stderr))])
    return { child, result }
  }

  for (const [name, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    test(`${name} ends a pull at once with ${status}`, async t => {
      const { child, result } = await startStuckPull(t)
      const before = performance.now()
      child.kill(name)
      const ended = await result
      assert.equal(ended.status, status)
      assert.ok(performance.now() - before < 60_000)
      assert.equal(ended.stdout, '')
      assert.doesNotMatch(ended.stderr, /internal error|\n +at /)
    })
  }

  test('SIGHUP is ignored under nohup, and SIGTERM is not', async t => {
    const { child, result } = await startStuckPull(t, ['nohup'])
    child.kill('SIGHUP')
    const goesOn = await Promise.race([result.then(() => false), sleep(500, true)])
    assert.equal(goesOn, true)
    child.kill('SIGTERM')
    assert.equal((await result).status, 143)
  })
})
