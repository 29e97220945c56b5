import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gunzipSync, gzipSync } from 'node:zlib'
import { plantBroken } from '../broken-decompressors/plant.ts'
import { run, runCommand, waitUntil } from '../testbed/command.ts'
import { startDocker, type TestDocker } from '../testbed/dockerd.ts'
import { type LoopFilesystem, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { startSshd } from '../testbed/sshd.ts'
import { layers, program, pullCodes, SickEngine, startInUnit, type Visit, visit } from './doctor-bed.ts'
import { makeNoise, type ServedImage, serveImage, trickle } from './image.ts'

const row = { timeout: 240_000 }
const directory = mkdtempSync(join(tmpdir(), 'windlass-elsewhere-'))
const collector = join(directory, 'collect.sh')
/** What restricted hosts have. */
const busybox = ['busybox', 'sh']
const shells = [['dash'], busybox]

after(() => rmSync(directory, { recursive: true, force: true }))

describe('a docker pull, as it is seen on a host where nothing is installed', { concurrency: 1 }, () => {
  let image: ServedImage
  let loop: LoopFilesystem
  let docker: TestDocker
  let sick: SickEngine
  before(async () => {
    writeFileSync(collector, await run(program, ['doctor', '--emit-collector']))
    image = await serveImage(layers)
    loop = await openLoopFilesystem({ sizeBytes: 2 ** 30 })
    const shims = mkdtempSync(join(directory, 'shims-'))
    docker = await startDocker(join(loop.directory, 'docker'), shims)
    const client = ['docker', '-H', `unix://${docker.socket}`]
    sick = new SickEngine(docker.pid, shims, [...client, 'pull'], [...client, 'rmi', '-f'])
  })
  after(async () => {
    await docker?.[Symbol.asyncDispose]()
    await loop?.[Symbol.asyncDispose]()
    await image?.[Symbol.asyncDispose]()
  })
  afterEach(() => sick.free())

  test('what was written down elsewhere is judged as on the spot, whatever shell wrote it', row, async () => {
    await plantBroken(sick.shims, 'spin')
    sick.startPull(image.reference)
    await sick.unpacking(true)
    await sleep(1500)
    const visits = [visit(sick.pid), ...shells.map(shell => readElsewhere(sick.pid, shell))]
    const [live, ...others] = await Promise.all(visits)
    assert.ok(live !== undefined && others.length === shells.length)
    assert.deepEqual(pullCodes(live), ['DECOMPRESSOR_SPINS'], JSON.stringify(live.findings))
    for (const elsewhere of others) {
      assert.deepEqual(essence(elsewhere), essence(live))
      assert.equal(elsewhere.status, live.status)
    }
  })

  test(
    'only the tools of busybox: a decompressor that waits for nothing is named also where no pipe can be measured',
    row,
    async () => {
      sick.useScript('head -c 1000 >/dev/null; sleep 1000 <&- >&- 2>&- & wait')
      sick.startPull(image.reference)
      await sick.unpacking(true)
      await sleep(500)
      const tools = join(directory, 'tools')
      mkdirSync(tools)
      for (const tool of ['grep', 'sed', 'ls', 'cat', 'tr', 'sleep', 'uname', 'date', 'stat'])
        writeFileSync(join(tools, tool), `#!/bin/busybox sh\nexec /bin/busybox ${tool} "$@"\n`, { mode: 0o755 })
      const script = readFileSync(collector, 'utf8').replace(/^PATH=.*$/m, `PATH=${tools}`)
      writeFileSync(join(directory, 'bare.sh'), script)
      const seen = await readElsewhere(sick.pid, busybox, join(directory, 'bare.sh'))
      assert.deepEqual(pullCodes(seen), ['DECOMPRESSOR_ASLEEP'], JSON.stringify(seen.findings))
    },
  )

  test('a healthy pull, and none: nobody is accused', row, async () => {
    const none = await readElsewhere(sick.pid, busybox)
    assert.deepEqual(pullCodes(none), ['NO_PULL'], JSON.stringify(none.findings))
    await using slow = await serveImage([makeNoise('slow', 24 << 20)], { 0: trickle(2000) })
    sick.startPull(slow.reference)
    await sleep(1000)
    const seen = await readElsewhere(sick.pid, ['dash'])
    assert.deepEqual(pullCodes(seen), ['PULL_MOVES'], JSON.stringify(seen.findings))
    await sick.free()
  })

  test('through ssh, with nothing but a shell there', row, async () => {
    await using ssh = await startSshd()
    const env = { PATH: `${ssh.programs}:${process.env['PATH']}` }
    sick.startPull(image.reference)
    const { decompressor } = await sick.unpacking(true)
    process.kill(decompressor, 'SIGSTOP')
    const args = ['doctor', '--json', '--host', `ssh://${ssh.address}`, '--pid', String(sick.pid)]
    const { status, stdout, stderr } = await runCommand(program, args, { env })
    assert.notEqual(stdout, '', stderr)
    assert.deepEqual(pullCodes(JSON.parse(stdout) as Visit), ['DECOMPRESSOR_STOPPED'], stdout)
    assert.equal(status, 11)
    const refused = await runCommand(program, ['doctor', '--host', `ssh://nobody@${ssh.address.split('@')[1]}`], {
      env,
    })
    assert.equal(refused.status, 4)
    assert.match(refused.stderr, /^windlass: Cannot look at host 127\.0\.0\.1: ssh says ".*Permission denied/)
  })

  test('no secret leaves the host', row, async () => {
    const env = { ...process.env, HTTPS_PROXY: 'http://user:hunter2@127.0.0.1:9', AWS_SECRET_ACCESS_KEY: 'hunter3' }
    const args = [
      '-a',
      'podman',
      '-c',
      'read line',
      'pull',
      '--creds',
      'me:hunter4',
      '--creds=me:hunter5',
      'https://u:hunter6@r/x',
    ]
    const podman = spawn('bash', ['-c', 'printf podman >/proc/$$/comm; read -r line', ...args], {
      env,
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    const comm = `/proc/${podman.pid}/comm`
    await waitUntil('it is called podman', 5000, () => readFileSync(comm, 'utf8') === 'podman\n')
    const text = await run('dash', [collector, String(podman.pid)])
    podman.stdin.end()
    assert.ok(text.includes(`c/proc/${podman.pid}/environ`) && text.includes('bHTTPS_PROXY=http://…@127.0.0.1:9'))
    assert.ok(text.includes('b--creds=…'))
    assert.doesNotMatch(text, /hunter\d/)
  })
})

test(
  'package, libraries, unit and the types of entries are told as on the spot, and no secret of the unit',
  row,
  async () => {
    const collector = join(directory, 'collect-unit.sh')
    writeFileSync(collector, await run(program, ['doctor', '--emit-collector']))
    await using loop = await openLoopFilesystem({ sizeBytes: 2 ** 30, features: '^filetype' })
    mkdirSync(join(loop.directory, 'tmp'))
    await using engine = await startInUnit(['--data-root', loop.directory])
    const secret =
      'AWS_SECRET=hunter2 "MOBY_DISABLE_PIGZ=true" \\\n HTTP_PROXY=http://me:hunter3@127.0.0.1:9 \'OTHER=hunter4\''
    writeFileSync(engine.unit, `[Service]\nExecStart=/usr/bin/dockerd --password hunter5\nEnvironment=${secret}\n`)
    const [live, ...others] = await Promise.all([
      visit(engine.pid),
      ...shells.map(shell => readOnce(engine.pid, shell, collector)),
    ])
    const codes: string[] = live.findings.map(({ code }) => code)
    for (const code of ['DECOMPRESSOR_INTACT', 'DECOMPRESSOR_VERSION', 'SETTING_NOT_LOADED', 'D_TYPE_MISSING'])
      assert.ok(codes.includes(code), `${code} in ${codes}`)
    const differences = ({ findings }: Visit) =>
      findings.find(({ code }) => code === 'SETTING_NOT_LOADED')?.evidence.length
    assert.equal(differences(live), 2)
    for (const [at, seen] of others.entries()) {
      assert.deepEqual(essence(seen), essence(live))
      assert.equal(differences(seen), 2)
      const facts = gunzipSync(readFileSync(factsOf(shells[at] ?? []))).toString()
      assert.doesNotMatch(facts, /hunter\d/)
    }
  },
)

/** Again, if the machine was too busy to watch. */
async function readElsewhere(pid: number, shell: readonly string[], script = collector): Promise<Visit> {
  for (let tries = 1; ; tries++) {
    const seen = await readOnce(pid, shell, script)
    if (tries === 3 || !pullCodes(seen).includes('PULL_WAITS')) return seen
  }
}

function factsOf([file]: readonly string[]): string {
  return join(directory, `facts-${file}.gz`)
}

async function readOnce(pid: number, shell: readonly string[], script: string): Promise<Visit> {
  const [file = '', ...args] = [...shell, script]
  const facts = factsOf(shell)
  writeFileSync(facts, gzipSync(await run(file, [...args, String(pid)], { timeoutMs: 240_000 })))
  const { status, stdout, stderr } = await runCommand(program, [
    'doctor',
    '--json',
    '--from',
    facts,
    '--pid',
    String(pid),
  ])
  assert.notEqual(stdout, '', stderr)
  return { ...(JSON.parse(stdout) as Visit), status }
}

/** What must be the same wherever it is judged: codes, whom they are about, and what is no number of its moment. */
function essence({ findings }: Visit): string[] {
  const isSteady = (area: string) => area === 'engines' || area === 'decompressors'
  return findings.map(
    ({ code, subject, evidence, area }) => `${code} ${subject}${isSteady(area) ? ` ${evidence.join(' ')}` : ''}`,
  )
}
