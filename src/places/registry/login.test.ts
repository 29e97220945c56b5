import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startDockerRegistry } from '../../../test/servers/docker-registry.ts'
import { isWindlassError } from '../../errors.ts'
import { openDockerCredentials } from './docker-credentials.ts'
import { checkLogin, removeLogin, saveLogin } from './login.ts'

const signal = AbortSignal.timeout(60_000)
const login = { username: 'ci', password: 'se:cret' }

async function withDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'windlass-login-'))
  try {
    await use(directory)
  } finally {
    await rm(directory, { recursive: true })
  }
}

test('a registry is asked whether it takes a login', async () => {
  await using registry = await startDockerRegistry({ password: true })
  const find = (password: string) => ({ credentials: { find: async () => ({ username: 'test', password }) } })
  await checkLogin(registry.host, find('secret'), signal)
  await assert.rejects(checkLogin(registry.host, find('wrong'), signal), error => isWindlassError(error, 'DENIED'))
})

test('a login is kept beside what is there, for its owner alone, and found again; then it is forgotten', () =>
  withDirectory(async directory => {
    const path = join(directory, 'config.json')
    await writeFile(
      path,
      JSON.stringify({ psFormat: 'x', auths: { 'https://h:5000/v2/': { auth: 'b2xkOm9sZA==' }, other: {} } }),
    )
    await saveLogin(directory, 'h:5000', login)
    const config = JSON.parse(await readFile(path, 'utf8'))
    assert.deepEqual([config.psFormat, Object.keys(config.auths)], ['x', ['other', 'h:5000']])
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    const credentials = await openDockerCredentials({ configDirectory: directory })
    assert.deepEqual(await credentials.find('h:5000', signal), login)
    assert.equal(await removeLogin(directory, 'h:5000'), path)
    assert.equal(await removeLogin(directory, 'h:5000'), undefined)
    assert.deepEqual(JSON.parse(await readFile(path, 'utf8')).auths, { other: {} })
  }))

test('Docker Hub is kept under the name that docker looks for, and a link stays a link', () =>
  withDirectory(async directory => {
    await writeFile(join(directory, 'real.json'), '{}')
    await symlink('real.json', join(directory, 'config.json'))
    await saveLogin(directory, 'docker.io', login)
    const config = JSON.parse(await readFile(join(directory, 'real.json'), 'utf8'))
    assert.deepEqual(Object.keys(config.auths), ['https://index.docker.io/v1/'])
  }))

test('a file that is not docker’s, or whose logins a helper keeps, is left as it is', () =>
  withDirectory(async directory => {
    for (const [text, code] of [
      ['[1]', 'FAILED'],
      ['no', 'FAILED'],
      ['{"credsStore":"pass"}', 'UNSUPPORTED'],
      ['{"credHelpers":{"h":"pass"}}', 'UNSUPPORTED'],
    ] as const) {
      await writeFile(join(directory, 'config.json'), text)
      await assert.rejects(saveLogin(directory, 'h', login), error => isWindlassError(error, code))
      assert.equal(await readFile(join(directory, 'config.json'), 'utf8'), text)
    }
  }))
