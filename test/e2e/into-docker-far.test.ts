/** Into a docker that is reached by TLS with certificates of both sides, by ssh, and by what docker's own contexts say. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { run, runScript } from '../testbed/command.ts'
import { startDocker, type TestDocker } from '../testbed/dockerd.ts'
import type { ImageName } from '../testbed/images.ts'
import { plantSpies, type Spies } from '../testbed/spies.ts'
import { findPort, startSshd, type TestSshd } from '../testbed/sshd.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'
import { windlassFor } from '../testbed/windlass.ts'

let bed: Testbed
let docker: TestDocker
let spies: Spies
let ssh: TestSshd
let certificates: string
let tcp: string

before(async () => {
  bed = await openTestbed()
  certificates = await mkdtemp(join(tmpdir(), 'windlass-certificates-'))
  await runScript(makeCertificates, [certificates])
  spies = await plantSpies(join(bed.root, '../spies'), ['unpigz', 'pigz', 'igzip'])
  tcp = `tcp://127.0.0.1:${await findPort()}`
  const files = ['--tlscacert', 'ca.pem', '--tlscert', 'server.pem', '--tlskey', 'server-key.pem']
  const paths = files.map(word => (word.endsWith('.pem') ? join(certificates, word) : word))
  const flags = ['-H', tcp, '--tlsverify', ...paths]
  docker = await startDocker(await bed.makeDirectory('docker'), spies.directory, [], flags)
  ssh = await startSshd()
})
after(async () => {
  spies?.[Symbol.dispose]()
  await ssh?.[Symbol.asyncDispose]()
  await docker?.[Symbol.asyncDispose]()
  await rm(certificates, { recursive: true, force: true })
  await bed?.[Symbol.asyncDispose]()
})

/** An authority, and what it signed for the daemon and for its user; and a stranger's certificate for the same user. */
const makeCertificates = `
  cd "$1"; exec 2>/dev/null
  authority() { openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$1" -keyout "$1-key.pem" -out "$1.pem"; }
  sign() {
    openssl req -newkey rsa:2048 -nodes -subj "/CN=$3" -keyout "$2-key.pem" -out "$2.csr"
    printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=%s\\n' "$4" >ext
    openssl x509 -req -in "$2.csr" -CA "$1.pem" -CAkey "$1-key.pem" -CAcreateserial -days 2 -extfile ext -out "$2.pem"
  }
  authority ca; authority stranger
  sign ca server 127.0.0.1 serverAuth
  sign ca user user clientAuth
  sign stranger false user clientAuth
  for who in user false; do
    mkdir "$who"; cp ca.pem "$who/ca.pem"; cp "$who.pem" "$who/cert.pem"; cp "$who-key.pem" "$who/key.pem"
  done`

async function pullInto(image: ImageName, env: Record<string, string>) {
  return await windlassFor(bed.root, env).try('pull', '--into', 'docker', '--progress', 'plain', bed.refer(image))
}

async function assertPullsInto(image: ImageName, env: Record<string, string>): Promise<string> {
  const { status, stderr } = await pullInto(image, env)
  assert.equal(status, 0, stderr)
  const [found] = JSON.parse(await docker.docker(['image', 'inspect', bed.refer(image)]))
  assert.equal(found.RepoDigests.length, 1)
  await docker.docker(['rmi', '-f', bed.refer(image)])
  assert.deepEqual(await spies.started(), [])
  return stderr
}

test('by TLS, with certificates of both sides', async () => {
  const env = { DOCKER_HOST: tcp, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: join(certificates, 'user') }
  const stderr = await assertPullsInto('multi', env)
  assert.match(stderr, /Delivered into docker at tcp:\/\/127\.0\.0\.1:\d+ by load/)
})

test('a certificate that the daemon does not trust, none, and plain text are refused and said so', async () => {
  const strange = { DOCKER_HOST: tcp, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: join(certificates, 'false') }
  const none = { DOCKER_HOST: tcp, DOCKER_TLS: '1', DOCKER_CERT_PATH: '/nonexistent' }
  for (const env of [strange, none, { DOCKER_HOST: tcp }]) {
    const { status, stderr } = await pullInto('multi', env)
    assert.ok(status === 4 || status === 8, stderr)
    assert.match(stderr, /Cannot reach docker at tcp:\/\/127\.0\.0\.1:\d+: .*(certificate|alert|no docker daemon)/i)
  }
})

test('by ssh, with nothing but docker on the other side', async () => {
  const PATH = `${ssh.programs}:${process.env['PATH']}`
  const stderr = await assertPullsInto('odd', { DOCKER_HOST: `ssh://${ssh.address}${docker.socket}`, PATH })
  assert.match(stderr, /Delivered into docker at ssh:\/\/127\.0\.0\.1:\d+ by load/)
})

test('an ssh that does not let us in says why', async () => {
  const PATH = `${ssh.programs}:${process.env['PATH']}`
  const { status, stderr } = await pullInto('odd', {
    DOCKER_HOST: `ssh://nobody-at-all@${ssh.address.split('@')[1]}`,
    PATH,
  })
  assert.equal(status, 8, stderr)
  assert.match(stderr, /Permission denied/)
})

test("by docker's own contexts: the one that is in use, and the one that is named", async () => {
  const config = await bed.makeDirectory('config')
  const use = (...args: string[]) => run('docker', ['--config', config, 'context', ...args])
  await use('create', 'near', '--docker', `host=unix://${docker.socket}`)
  const files = ['ca', 'cert', 'key'].map(name => `${name}=${join(certificates, 'user', `${name}.pem`)}`)
  await use('create', 'far', '--docker', [`host=${tcp}`, ...files].join(','))
  await use('use', 'near')
  const near = await assertPullsInto('multi', { DOCKER_CONFIG: config })
  assert.match(near, /Delivered into docker at unix:.* by registry/)
  const far = await assertPullsInto('multi', { DOCKER_CONFIG: config, DOCKER_CONTEXT: 'far' })
  assert.match(far, /Delivered into docker at tcp:.* by load/)
})

test('a route that needs our loopback is refused for a docker elsewhere', async () => {
  const env = { DOCKER_HOST: tcp, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: join(certificates, 'user') }
  const args = ['pull', '--into', 'docker', '--route', 'registry', bed.refer('multi')]
  const { status, stderr } = await windlassFor(bed.root, env).try(...args)
  assert.equal(status, 1, stderr)
  assert.match(stderr, /Cannot use route registry: .* may be on another host/)
})
