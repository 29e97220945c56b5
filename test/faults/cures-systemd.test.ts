/** Cures of a docker that systemd has started, by a systemd of the test's own: applied, proven, taken back after a reboot; and the rescue as its service. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { plantBroken } from '../broken-decompressors/plant.ts'
import { readIfThere } from '../read-if-there.ts'
import { runCommand, waitUntil } from '../testbed/command.ts'
import { type LoopFilesystem, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { bootSystemd, type TestSystemd } from '../testbed/systemd.ts'
import { program } from './doctor-bed.ts'
import { makeNoise, type ServedImage, serveImage } from './image.ts'

const row = { timeout: 240_000 }
const directory = mkdtempSync(join(tmpdir(), 'windlass-systemd-'))
const units = join(directory, 'units')
const socket = join(directory, 's')
const root = join(directory, 'root')
const shims = join(directory, 'shims')
const dropIn = join(units, 'docker.service.d', 'windlass-no-decompressor.conf')
/** As long as it is there, docker takes longer to start than what only asks would wait for. */
const slow = join(directory, 'slow')
const name = `windlass-test-${process.pid}`

describe('a docker of systemd, whose decompressor is broken', { concurrency: 1 }, () => {
  let image: ServedImage
  let loop: LoopFilesystem
  let systemd: TestSystemd

  before(async () => {
    image = await serveImage([makeNoise('noise', 4 << 20)])
    loop = await openLoopFilesystem({ sizeBytes: 2 ** 29 })
    for (const path of [units, shims]) mkdirSync(path)
    await plantBroken(shims, 'sleep')
    writeFileSync(join(units, 'docker.service'), unitOf(join(loop.directory, 'docker')))
    await boot()
  })
  after(async () => {
    await systemd?.[Symbol.asyncDispose]()
    await loop?.[Symbol.asyncDispose]()
    await image?.[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true, force: true })
  })

  async function boot(): Promise<void> {
    systemd = await bootSystemd(directory, name)
    await systemd.systemctl('start', 'docker.service')
    await isReady()
  }

  async function isReady(): Promise<void> {
    await waitUntil('docker is ready', 30_000, async () => (await docker('version')).status === 0)
  }

  /** Beside systemd, as its processes see the host. */
  async function inside(command: readonly string[], timeoutMs = 60_000) {
    const [file = '', ...args] = [...systemd.enter, ...command]
    return await runCommand(file, args, { timeoutMs })
  }

  function docker(...args: string[]) {
    return inside(['docker', '-H', `unix://${socket}`, ...args])
  }

  async function doctor(...args: string[]) {
    const { status, stdout, stderr } = await inside([program, 'doctor', '--json', '--root', root, ...args])
    return { status, told: stdout === '' ? undefined : JSON.parse(stdout), stderr }
  }

  /** The engine's own pull comes to its end; what it has pulled is removed. */
  async function pullsWell(): Promise<void> {
    await isReady()
    const { status, stderr } = await docker('pull', image.reference)
    assert.equal(status, 0, stderr)
    await docker('rmi', image.reference)
  }

  function startPull(): ChildProcess {
    const [file = '', ...args] = [...systemd.enter, 'docker', '-H', `unix://${socket}`, 'pull', image.reference]
    return spawn(file, args, { stdio: 'ignore' })
  }

  async function exitOf(client: ChildProcess): Promise<number | null> {
    if (client.exitCode === null && client.signalCode === null) await once(client, 'exit')
    return client.exitCode
  }

  async function decompressorRuns(): Promise<void> {
    const isThere = async () => (await inside(['pgrep', '-f', 'broken-decompressors/broken.ts'])).status === 0
    await waitUntil('the broken decompressor runs', 60_000, isThere)
  }

  /** The engine's own pull starts the broken decompressor. */
  async function hangs(): Promise<void> {
    await isReady()
    const client = startPull()
    await decompressorRuns()
    assert.equal(client.exitCode, null)
    client.kill('SIGKILL')
    await systemd.systemctl('restart', 'docker.service') // a pull that hangs stays when its client goes
  }

  test(
    'gets the variable by a drop-in, which takes effect with a restart, outlives a reboot, and is taken back after it',
    row,
    async () => {
      const there = readdirSync(units)
      const planned = await doctor('--fix', 'disable-dockerd', '--dry-run')
      assert.equal(planned.told?.result, 'planned', planned.stderr)
      assert.deepEqual(readdirSync(units), there)

      const applied = await doctor('--fix', 'disable-dockerd', '--yes')
      assert.equal(applied.told?.result, 'applied', applied.stderr)
      assert.match(applied.told.message, /environment of docker\.service; unproven until/)
      assert.match(readFileSync(dropIn, 'utf8'), /^Environment=MOBY_DISABLE_PIGZ=true$/m)
      assert.match(await systemd.systemctl('show', '-p', 'Environment', 'docker.service'), /MOBY_DISABLE_PIGZ=true/)
      assert.equal((await pidOf('docker')) > 0, true)

      const before = await pidOf('docker')
      writeFileSync(slow, '')
      const restarted = await doctor('--fix', 'restart-dockerd', '--yes')
      rmSync(slow)
      assert.equal(restarted.told?.isProven, true, restarted.stderr + JSON.stringify(restarted.told))
      assert.notEqual(await pidOf('docker'), before)
      await pullsWell()

      await systemd[Symbol.asyncDispose]()
      await boot()
      await pullsWell()
      const restart = readdirSync(join(root, 'cures')).find(file => file.startsWith('restart')) ?? ''
      const pointless = await doctor('--undo', restart.replace('.jsonl', ''), '--yes')
      assert.equal(pointless.status, 2)
      assert.match(pointless.stderr, /concerns processes alone/)
      const undone = await doctor('--undo', applied.told.undo, '--yes')
      assert.equal(undone.told?.result, 'undone', undone.stderr)
      assert.ok(!existsSync(dropIn))
      assert.deepEqual(readdirSync(units), there)
      assert.doesNotMatch(await systemd.systemctl('show', '-p', 'Environment', 'docker.service'), /MOBY_DISABLE_PIGZ/)
      await systemd.systemctl('restart', 'docker.service')
      await hangs()
    },
  )

  test(
    'is kept from hanging by the service, which systemd starts, and which ends with what it was installed by',
    row,
    async () => {
      const there = readdirSync(units)
      const installed = await doctor('--install-service', '--yes')
      assert.equal(installed.told?.result, 'applied', installed.stderr)
      await systemd.systemctl('start', 'windlass-rescue.service')
      const its = await pidOf('windlass-rescue')
      assert.ok(its > 0)
      await isReady()
      assert.equal(await exitOf(startPull()), 0)

      // The daemon ends under it, once between two pulls and once while one hangs, and comes back as another process.
      await docker('rmi', image.reference)
      await systemd.systemctl('restart', 'docker.service')
      await isReady()
      const broken = startPull()
      await decompressorRuns()
      await systemd.systemctl('kill', '-s', 'KILL', 'docker.service')
      assert.notEqual(await exitOf(broken), 0)
      await systemd.systemctl('start', 'docker.service')
      await isReady()
      assert.equal(await exitOf(startPull()), 0)
      assert.equal(await pidOf('windlass-rescue'), its)
      await systemd.systemctl('enable', 'windlass-rescue.service')
      const service = `/proc/${await pidOf('windlass-rescue')}`
      assert.equal((await inside(['test', '-d', service])).status, 0)
      const undone = await doctor('--undo', installed.told.undo, '--yes')
      assert.equal(undone.told?.result, 'undone', undone.stderr)
      assert.notEqual((await inside(['test', '-d', service])).status, 0)
      assert.deepEqual(readdirSync(units), there)
    },
  )

  test('is rescued from outside of its PID namespace, as from the host of a container', row, async () => {
    await isReady()
    await docker('rmi', '-f', image.reference)
    const client = startPull()
    await decompressorRuns()
    const { stdout: all } = await runCommand('pgrep', ['-x', 'dockerd'])
    const pid = all.split('\n').find(number => readIfThere(`/proc/${number}/cmdline`).includes(socket))
    const { stdout, stderr } = await runCommand(
      program,
      ['doctor', '--rescue', '--yes', '--json', '--root', join(directory, 'root-outside'), '--pid', String(pid)],
      { timeoutMs: 120_000 },
    )
    const { outcomes } = JSON.parse(stdout)
    assert.deepEqual(
      outcomes.map(({ result, facts }: { result: string; facts?: { isProven: boolean } }) => [result, facts?.isProven]),
      [['rescued', true]],
      stdout + stderr,
    )
    assert.equal(await exitOf(client), 0)
  })

  /** As systemd's processes number it. */
  async function pidOf(unit: string): Promise<number> {
    return Number(await systemd.systemctl('show', '--value', '-p', 'MainPID', `${unit}.service`))
  }
})

function unitOf(dataRoot: string): string {
  const places = `--data-root ${dataRoot} --exec-root ${directory}/exec -p ${directory}/pid -H unix://${socket}`
  const network = '--iptables=false --bridge=none --insecure-registry 127.0.0.0/8'
  return [
    '[Unit]',
    'DefaultDependencies=no',
    '[Service]',
    `Environment=PATH=${shims}:/usr/sbin:/usr/bin:/sbin:/bin`,
    `ExecStartPre=/bin/sh -c '[ ! -e ${slow} ] || sleep 5'`,
    `ExecStart=/usr/sbin/dockerd ${places} ${network} --storage-driver overlay2`,
    'TimeoutStopSec=10',
    '',
  ].join('\n')
}
