import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isWindlassError } from '../../errors.ts'
import type { Credential } from './credentials.ts'
import { openDockerCredentials } from './docker-credentials.ts'

let directory: string
const signal = new AbortController().signal
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-credentials-'))
})
after(() => rm(directory, { recursive: true, force: true }))

const auth = Buffer.from('ann:s3:cret').toString('base64')
const ann: Credential = { username: 'ann', password: 's3:cret' }

async function find(config: unknown, host: string, helperMs?: number): Promise<Credential | undefined> {
  await writeFile(join(directory, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config))
  const env = { PATH: `${directory}:${process.env['PATH']}`, HELPER_DIRECTORY: directory }
  const source = await openDockerCredentials({ configDirectory: directory, env, ...(helperMs && { helperMs }) })
  return source.find(host, signal)
}

async function writeHelper(name: string, script: string): Promise<void> {
  const path = join(directory, `docker-credential-${name}`)
  await writeFile(path, `#!/bin/sh\n${script}\n`)
  await chmod(path, 0o755)
}

test('an entry is found under every spelling of its host, and only under its host', async () => {
  for (const key of ['reg.test:5000', 'https://reg.test:5000', 'http://reg.test:5000/v2/', 'reg.test:5000/v1/']) {
    assert.deepEqual(await find({ auths: { [key]: { auth } } }, 'reg.test:5000'), ann)
  }
  for (const key of ['reg.test', 'other.reg.test:5000', 'reg.test:50000', '__proto__']) {
    assert.equal(await find({ auths: { [key]: { auth } } }, 'reg.test:5000'), undefined)
  }
})

test('docker.io is found under the key of Docker Hub', async () => {
  for (const key of ['https://index.docker.io/v1/', 'docker.io', 'registry-1.docker.io']) {
    assert.deepEqual(await find({ auths: { [key]: { auth } } }, 'docker.io'), ann)
  }
})

test('every kind of entry is read, and an empty one is none', async () => {
  const entries: [object | null, Credential | undefined][] = [
    [
      { username: 'u', password: 'p' },
      { username: 'u', password: 'p' },
    ],
    [{ auth, identitytoken: 'idt' }, { identityToken: 'idt' }],
    [{ registrytoken: 'rt' }, { registryToken: 'rt' }],
    [{ auth: Buffer.from('a:b\0\0').toString('base64') }, { username: 'a', password: 'b' }],
    [{}, undefined],
    [null, undefined],
  ]
  for (const [entry, expected] of entries)
    assert.deepEqual(await find({ auths: { 'r.test': entry } }, 'r.test'), expected)
})

test('a missing file means no credentials, and DOCKER_AUTH_CONFIG goes before the file', async () => {
  const missing = await openDockerCredentials({ configDirectory: join(directory, 'missing') })
  assert.equal(await missing.find('r.test', signal), undefined)
  await writeFile(join(directory, 'config.json'), JSON.stringify({ auths: { 'r.test': { auth }, 'q.test': { auth } } }))
  const authConfig = JSON.stringify({ auths: { 'r.test': { registrytoken: 'x' } } })
  const source = await openDockerCredentials({ configDirectory: directory, authConfig })
  assert.deepEqual(await source.find('r.test', signal), { registryToken: 'x' })
  assert.deepEqual(await source.find('q.test', signal), ann)
})

test('a malformed file is refused by name and never quoted', async () => {
  const secret = 'aHVudGVyMg'
  const bad = [`{"auths":${secret}`, `["${secret}"]`, `{"auths":"${secret}"}`, `{"auths":{"r.test":"${secret}"}}`]
  const entry = JSON.stringify({ auths: { 'r.test': { auth: secret } } })
  for (const text of [...bad, entry, `{"credsStore":{"${secret}":1}}`]) {
    await assert.rejects(find(text, 'r.test'), error => {
      assert.ok(isWindlassError(error, 'FAILED'))
      assert.match(error.message, /config\.json/)
      assert.doesNotMatch(`${error.message} ${error.hint} ${error.cause}`, /aHVudGVyMg|hunter2/)
      return true
    })
  }
})

test('the helper of a host is asked, by stdin, before the store and the file', async () => {
  const answer = 'printf \'{"ServerURL":"x","Username":"%s","Secret":"%s"}\' "$1" "$(cat)"'
  await writeHelper('one', answer)
  await writeHelper('two', 'echo "credentials not found in native keychain"; exit 1')
  const auths = { 'r.test': { auth }, 'https://index.docker.io/v1/': {} }
  const config = { credHelpers: { 'r.test': 'one' }, credsStore: 'two', auths }
  assert.deepEqual(await find(config, 'r.test'), { username: 'get', password: 'r.test' })
  assert.deepEqual(await find({ ...config, credHelpers: {} }, 'r.test'), ann)
  assert.deepEqual(await find({ credsStore: 'one', auths }, 'docker.io'), {
    username: 'get',
    password: 'https://index.docker.io/v1/',
  })
})

test('the user name <token> marks an identity token', async () => {
  await writeHelper('tok', 'cat >/dev/null; echo \'{"Username":"<token>","Secret":"abc"}\'')
  assert.deepEqual(await find({ credsStore: 'tok' }, 'r.test'), { identityToken: 'abc' })
})

test('a helper that hangs is ended with all it started', async () => {
  await writeHelper('hang', 'sleep 60 & echo $! > "$HELPER_DIRECTORY/child"; wait')
  const started = performance.now()
  await assert.rejects(find({ credsStore: 'hang' }, 'r.test', 300), {
    code: 'FAILED',
    message: /no answer within 300 ms/,
  })
  assert.ok(performance.now() - started < 50_000)
  const pid = (await readFile(join(directory, 'child'), 'utf8')).trim()
  await sleep(50)
  const isGone = !existsSync(`/proc/${pid}`) || (await readFile(`/proc/${pid}/stat`, 'utf8')).includes(') Z ')
  assert.ok(isGone, `process ${pid} is still there`)
})

test('a helper that fails, is missing, floods or talks nonsense is a clear error without what it said', async () => {
  await writeHelper('bad', 'echo hunter2; exit 3')
  await writeHelper('nonsense', 'echo hunter2')
  await writeHelper('flood', 'yes hunter2')
  for (const [credsStore, message] of [
    ['bad', /docker-credential-bad: it ended with status 3/],
    ['nonsense', /its answer is not JSON/],
    ['flood', /more than 65536 bytes/],
    ['missing', /docker-credential-missing: not found/],
    ['../evil', /name in the configuration is not plain/],
  ] as const) {
    await assert.rejects(find({ credsStore }, 'r.test'), error => {
      assert.ok(isWindlassError(error, 'FAILED'))
      assert.match(error.message, message)
      assert.doesNotMatch(`${error.message} ${error.cause}`, /hunter2/)
      return true
    })
  }
})
