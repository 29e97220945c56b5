import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { waitUntil } from '../../test/testbed/command.ts'
import { LiveHost } from '../sys/host-view.ts'
import { describeProcess, hideInSetting, hideInText, hideInWords, redactionScript } from './secrets.ts'

const layer = 'a'.repeat(32) + '0123456789abcdef'.repeat(2)

/** Command lines, and what may be told of each. */
const commands: readonly (readonly [args: readonly string[], told: readonly string[]])[] = [
  [
    ['/usr/bin/unpigz', '-d', '-c', '-p4'],
    ['/usr/bin/unpigz', '-d', '-c', '-p4'],
  ],
  [
    ['pigz', '-d', '-p', '4'],
    ['pigz', '-d', '-p', '4'],
  ],
  [
    ['docker-untar', '/', `/var/lib/docker/overlay2/${layer}/diff`],
    ['docker-untar', '/', `/var/lib/docker/overlay2/${layer}/diff`],
  ],
  [
    ['dockerd', '--data-root', '/srv/docker', '-p', '/run/d.pid', '-H', 'tcp://127.0.0.1:2375', '--debug'],
    ['dockerd', '--data-root', '/srv/docker', '-p', '/run/d.pid', '-H', 'tcp://127.0.0.1:2375', '--debug'],
  ],
  [
    ['podman', 'run', '-e', 'DB_PASS=hunter2', 'app', 'hunter3'],
    ['podman', 'run', '…'],
  ],
  [
    ['podman', '--root', '/x', 'login', '-p', 'hunter2', 'r'],
    ['podman', '--root', '/x', 'login', '…'],
  ],
  [
    ['podman', 'build', '-e', 'X=hunter2', '--env=Y=hunter3', '--env', 'hunter4', '-eZ=hunter5'],
    ['podman', 'build', '-e', '…', '--env=…', '--env', '…', '-e…'],
  ],
  [
    ['x', '--build-arg', 'A=hunter2', '--header', 'X: hunter3'],
    ['x', '--build-arg', '…', '--header', '…'],
  ],
  [
    ['skopeo', 'copy', '--src-creds', 'me:hunter2', '--dest-creds=me:hunter3', 'docker://a/b'],
    ['skopeo', 'copy', '--src-creds', '…', '--dest-creds=…', 'docker://a/b'],
  ],
  [
    ['x', '--PASSWORD', 'hunter2', '--Registry-Token=hunter3', '--password', '--password', 'hunter4'],
    ['x', '--PASSWORD', '…', '--Registry-Token=…', '--password', '…', '…'],
  ],
  [
    ['mysql', '-phunter2', '-p', 'hunter3', '-p4a'],
    ['mysql', '-p…', '-p', '…', '-p…'],
  ],
  [
    ['curl', '-u', 'me:hunter2', '-ume:hunter3', '--user', 'me'],
    ['curl', '-u', '…', '-u…', '--user', '…'],
  ],
  [
    ['dockerd', '--log-opt', 'splunk-token=hunter2', '--log-opt=splunk-TOKEN=hunter3'],
    ['dockerd', '--log-opt', 'splunk-token=…', '--log-opt=splunk-TOKEN=…'],
  ],
  [
    ['x', 'Authorization: Basic aHVudGVyMg==', 'say bearer hunter2 x'],
    ['x', 'Authorization:…', 'say bearer … x'],
  ],
  [
    ['x', 'https://me:hun/ter2@r.example/a', 'me:hunter3@r', 'http://r/a?sig=hunter4'],
    ['x', 'https://…@r.example/a', '…@r', 'http://r/a?…'],
  ],
  [
    ['x', '{"auth":"hunter2"}', 'API_KEY=hunter3 and more', 'X_PASSWORD=hunter4'],
    ['x', '{"auth":…', 'API_KEY=…', 'X_PASSWORD=…'],
  ],
  [
    [
      'x',
      'ghp16C7e42F292c6912E7710c838347Ae178B4a',
      `hex-${layer.slice(10)}`,
      'MixedCaseWordsWithoutDigits',
      '12345678901234567890123',
    ],
    ['x', '…', 'hex-…', 'MixedCaseWordsWithoutDigits', '12345678901234567890123'],
  ],
  [
    ['podman', 'pull', `docker.io/team/auth-service@sha256:${layer}`],
    ['podman', 'pull', `docker.io/team/auth-service@sha256:${layer}`],
  ],
  [
    ['x', '--key', 'hunter2\nhunter3', 'a\nb'],
    ['x', '--key', '…', 'a b'],
  ],
  [
    ['exec', 'a'],
    ['exec', 'a'],
  ],
  [
    ['podman', 'run'],
    ['podman', 'run'],
  ],
  [
    ['x', 'PATH=/x/keys:/a/session=1:/b tokens:/c', 'LD_LIBRARY_PATH=/a/key=:/b', 'X_PATH=/a/key=hunter2'],
    ['x', 'PATH=/x/keys:/a/session=1:/b tokens:/c', 'LD_LIBRARY_PATH=/a/key=:/b', 'X_PATH=/a/key=…'],
  ],
  [
    ['x', 'PATH=https://me:hunter2@r/x:/bin', 'SECRET_PATH=hunter3'],
    ['x', 'PATH=https://…@r/x:/bin', 'SECRET_PATH=…'],
  ],
  [
    ['PATH=/x TOKEN=hunter2', 'PATH=/x;API_KEY=hunter3', 'PATH=/x token:hunter4', 'LD_LIBRARY_PATH=a KEY=/hunter5'],
    ['PATH=/x TOKEN=…', 'PATH=/x;API_KEY=…', 'PATH=/x token:…', 'LD_LIBRARY_PATH=a KEY=…'],
  ],
  [
    ['PATH=/x\tTOKEN=hunter2', 'PATH=/x\nTOKEN=hunter3', 'LANG=C\rAPI_KEY=hunter4', 'PATH=TOKEN=hunter5'],
    ['PATH=/x TOKEN=…', 'PATH=/x TOKEN=…', 'LANG=C API_KEY=…', 'PATH=TOKEN=…'],
  ],
  [
    ['镜像', '--data-root', '/srv/镜像'],
    ['镜像', '--data-root', '/srv/镜像'],
  ],
]

const texts: readonly (readonly [text: string, told: string])[] = [
  ['"https-proxy": "http://me:hunter2@proxy:3128"', '"https-proxy": "http://…@proxy:3128"'],
  ['{"a":"https://x/","splunk-token": "hunter2","b":1}', '{"a":"https://x/","splunk-token": "…","b":1}'],
  ['rw,credentials=/root/c,password=hunter2,uid=0', 'rw,credentials=…,password=…,uid=0'],
  ["PASSWORD='hunter2' next", "PASSWORD=…' next"],
  [`lowerdir=/var/lib/docker/overlay2/${layer}/diff:/b rw`, `lowerdir=/var/lib/docker/overlay2/${layer}/diff:/b rw`],
  [`the engine calls it layer-sha256:${layer}`, `the engine calls it layer-sha256:${layer}`],
  [
    '/var/lib/docker/tmp/GetImageBlob1234567890123 has 12 bytes',
    '/var/lib/docker/tmp/GetImageBlob1234567890123 has 12 bytes',
  ],
  ['x509: certificate signed by unknown authority: what', 'x509: certificate signed by unknown authority: what'],
]

test('of command lines everything is hidden that may be a secret', () => {
  for (const [args, told] of commands) assert.deepEqual(hideInWords(args), told)
  for (const [text, told] of texts) assert.equal(hideInText(text), told)
})

test('the shell collector hides the same', () => {
  for (const shell of [['dash'], ['busybox', 'sh']]) {
    for (const [args, told] of commands) {
      const words = args.map(arg => arg.replaceAll(/[\t\n\r]/g, ' ')).join('\n')
      assert.equal(runShell(shell, 'redact_words', `${words}\n`), `${told.join('\n')}\n`, shell.join(' '))
    }
    for (const [text, told] of texts) assert.equal(runShell(shell, 'redact', `${text}\n`), `${told}\n`, shell.join(' '))
  }
})

test('variables keep their values but for what may be a secret', () => {
  assert.equal(hideInSetting('HTTPS_PROXY', 'http://user:p@ss/word@proxy:3128/'), 'http://…@proxy:3128/')
  assert.equal(hideInSetting('https_proxy', 'user:secret@proxy:3128'), '…@proxy:3128')
  assert.equal(hideInSetting('https_proxy', 'token@proxy:3128'), '…@proxy:3128')
  assert.equal(hideInSetting('HTTP_PROXY', 'proxy:3128'), 'proxy:3128')
  assert.equal(hideInSetting('CONTAINERD_TOKEN', 'x'), '…')
  assert.equal(hideInSetting('PIGZ', '-p@2'), '-p@2')
  for (const space of [' ', '\n', '\t']) assert.equal(hideInSetting('PATH', `/x${space}TOKEN=hunter2`), '/x TOKEN=…')
  assert.equal(
    hideInSetting('PATH', '/opt/Keycloak2023ServerDistribution/bin:/usr/bin'),
    '/opt/Keycloak2023ServerDistribution/bin:/usr/bin',
  )
})

test('of strangers the name alone is told, of engines the command line without what is secret', async () => {
  const describe = async (name: string) => {
    const words = ['pull', '--creds', 'me:hunter2', 'app']
    const child = spawn('bash', ['-c', 'printf "$0" >/proc/$$/comm; read -r line', name, ...words], {
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    try {
      const pid = child.pid ?? 0
      await waitUntil('it has its name', 60_000, () => readFileSync(`/proc/${pid}/comm`, 'utf8') === `${name}\n`)
      return describeProcess(new LiveHost(), pid).replaceAll(String(pid), 'PID')
    } finally {
      child.kill('SIGKILL')
    }
  }
  assert.match(await describe('mysql'), /^mysql PID \(\/.*bash\)$/)
  assert.match(await describe('podman'), /^bash -c .* podman pull --creds … app PID$/)
})

function runShell([file = '', ...args]: readonly string[], name: string, input: string): string {
  const script = `LC_ALL=C; export LC_ALL; ${redactionScript()}\n${name}`
  const { stdout, stderr } = spawnSync(file, [...args, '-c', script], { input })
  return stdout.toString() + stderr.toString()
}
