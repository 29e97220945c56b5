/** Cures of engines that systemd has started, by a systemd of the test's own: applied, proven, taken back after a reboot; and the rescue as its service. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { planService } from '../../src/doctor/cures/service.ts'
import { readIfThere } from '../read-if-there.ts'
import { runCommand, waitUntil } from '../testbed/command.ts'
import { program } from './doctor-bed.ts'
import { SystemdBed } from './systemd-bed.ts'

const row = { timeout: 240_000 }
/** All that a containerd can be cured of takes longer: `WINDLASS_LONG=1`. */
const isLong = process.env['WINDLASS_LONG'] === '1'

describe('a docker of systemd, whose decompressor is broken', { concurrency: 1 }, () => {
  const bed = new SystemdBed({
    unit: 'docker',
    lines: ({ directory, dataRoot }) => [
      `ExecStartPre=/bin/sh -c '[ ! -e ${directory}/slow ] || sleep 5'`,
      `ExecStart=/usr/sbin/dockerd --data-root ${dataRoot} --exec-root ${directory}/exec -p ${directory}/pid -H unix://${directory}/s --iptables=false --bridge=none --insecure-registry 127.0.0.0/8 --storage-driver overlay2`,
    ],
    client: directory => ['docker', '-H', `unix://${directory}/s`],
    version: ['version'],
    pull: ['pull'],
    remove: ['rmi', '-f'],
  })
  const { directory, units, root } = bed
  const dropIn = join(units, 'docker.service.d', 'windlass-no-decompressor.conf')
  /** As long as it is there, docker takes longer to start than what only asks would wait for. */
  const slow = join(directory, 'slow')

  before(() => bed.open('unpigz'))
  after(() => bed[Symbol.asyncDispose]())

  test(
    'gets the variable by a drop-in, which takes effect with a restart, outlives a reboot, and is taken back after it',
    row,
    async () => {
      const there = readdirSync(units)
      const planned = await bed.doctor('--fix', 'disable-dockerd', '--dry-run')
      assert.equal(planned.told?.result, 'planned', planned.stderr)
      assert.deepEqual(readdirSync(units), there)

      const applied = await bed.doctor('--fix', 'disable-dockerd', '--yes')
      assert.equal(applied.told?.result, 'applied', applied.stderr)
      assert.match(applied.told.message, /environment of docker\.service; unproven until/)
      assert.match(readFileSync(dropIn, 'utf8'), /^Environment=MOBY_DISABLE_PIGZ=true$/m)
      assert.match(await bed.systemd.systemctl('show', '-p', 'Environment', 'docker.service'), /MOBY_DISABLE_PIGZ=true/)
      assert.equal((await bed.pidOf()) > 0, true)

      const before = await bed.pidOf()
      writeFileSync(slow, '')
      const restarted = await bed.doctor('--fix', 'restart-dockerd', '--yes')
      rmSync(slow)
      assert.equal(restarted.told?.isProven, true, restarted.stderr + JSON.stringify(restarted.told))
      assert.notEqual(await bed.pidOf(), before)
      await bed.pullsWell()

      await bed.systemd[Symbol.asyncDispose]()
      await bed.boot()
      await bed.pullsWell()
      const restart = readdirSync(join(root, 'cures')).find(file => file.startsWith('restart')) ?? ''
      const pointless = await bed.doctor('--undo', restart.replace('.jsonl', ''), '--yes')
      assert.equal(pointless.status, 2)
      assert.match(pointless.stderr, /concerns processes alone/)
      const undone = await bed.doctor('--undo', applied.told.undo, '--yes')
      assert.equal(undone.told?.result, 'undone', undone.stderr)
      assert.ok(!existsSync(dropIn))
      assert.deepEqual(readdirSync(units), there)
      assert.doesNotMatch(
        await bed.systemd.systemctl('show', '-p', 'Environment', 'docker.service'),
        /MOBY_DISABLE_PIGZ/,
      )
      await bed.systemd.systemctl('restart', 'docker.service')
      await bed.hangs()
    },
  )

  test(
    'is kept from hanging by the service, which systemd starts, and which ends with what it was installed by',
    row,
    async () => {
      const there = readdirSync(units)
      const installed = await bed.doctor('--install-service', '--yes')
      assert.equal(installed.told?.result, 'applied', installed.stderr)
      await bed.systemd.systemctl('start', 'windlass-rescue.service')
      const its = await bed.pidOf('windlass-rescue')
      assert.ok(its > 0)
      await bed.isReady()
      assert.equal(await bed.exitOf(bed.startPull()), 0)

      // The daemon ends under it, once between two pulls and once while one hangs, and comes back as another process.
      await bed.remove()
      await bed.systemd.systemctl('restart', 'docker.service')
      await bed.isReady()
      const broken = bed.startPull()
      await bed.decompressorRuns()
      await bed.systemd.systemctl('kill', '-s', 'KILL', 'docker.service')
      assert.notEqual(await bed.exitOf(broken), 0)
      await bed.systemd.systemctl('start', 'docker.service')
      await bed.isReady()
      assert.equal(await bed.exitOf(bed.startPull()), 0)
      assert.equal(await bed.pidOf('windlass-rescue'), its)
      await bed.systemd.systemctl('enable', 'windlass-rescue.service')
      const service = `/proc/${await bed.pidOf('windlass-rescue')}`
      assert.equal((await bed.inside(['test', '-d', service])).status, 0)
      const undone = await bed.doctor('--undo', installed.told.undo, '--yes')
      assert.equal(undone.told?.result, 'undone', undone.stderr)
      assert.notEqual((await bed.inside(['test', '-d', service])).status, 0)
      assert.deepEqual(readdirSync(units), there)
    },
  )

  test('the service runs what it was installed as, whatever is in the paths', row, async () => {
    const place = join(directory, 'a $HOME %i; b')
    mkdirSync(place)
    const [script, said] = [join(place, 'windlass'), join(directory, 'said')]
    writeFileSync(
      script,
      `#!/bin/sh\nprintf '%s\\n' "$0" "$@" >${said}.new; mv ${said}.new ${said}; exec sleep 600\n`,
      { mode: 0o755 },
    )
    const paths = { program: script, root: `/r/o'n "$HOME" \${A} %i %% \\x41 ;ü`, metrics: '/m/$$ \'"' }
    const unit = join(units, 'windlass-rescue.service')
    writeFileSync(unit, planService(paths).after)
    try {
      const verified = await bed.inside([
        'systemd-analyze',
        'verify',
        '--man=no',
        '/etc/systemd/system/windlass-rescue.service',
      ])
      assert.deepEqual([verified.status, verified.stderr], [0, ''])
      await bed.systemd.systemctl('daemon-reload')
      await bed.systemd.systemctl('start', 'windlass-rescue.service')
      await waitUntil('it runs', 20_000, () => existsSync(said))
      const wanted = [
        script,
        '--root',
        paths.root,
        'doctor',
        '--watch',
        '--rescue',
        '--yes',
        '--metrics',
        paths.metrics,
      ]
      assert.deepEqual(readFileSync(said, 'utf8').trimEnd().split('\n'), wanted)
    } finally {
      await bed.systemd.systemctl('stop', 'windlass-rescue.service')
      rmSync(unit, { force: true })
      await bed.systemd.systemctl('daemon-reload')
    }
  })

  test('is rescued from outside of its PID namespace, as from the host of a container', row, async () => {
    await bed.isReady()
    await bed.remove()
    const client = bed.startPull()
    await bed.decompressorRuns()
    const { stdout: all } = await runCommand('pgrep', ['-x', 'dockerd'])
    const pid = all.split('\n').find(number => readIfThere(`/proc/${number}/cmdline`).includes(join(directory, 's')))
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
    assert.equal(await bed.exitOf(client), 0)
  })
})

describe('a containerd of systemd, whose decompressor is broken', { concurrency: 1 }, () => {
  const bed = new SystemdBed({
    unit: 'containerd',
    lines: ({ directory, dataRoot }) => {
      const config = join(directory, 'config.toml')
      const disabled = ['cri', 'btrfs', 'zfs'].map(name => (name === 'cri' ? 'grpc.v1.cri' : `snapshotter.v1.${name}`))
      const lines = [
        'version = 2',
        `root = "${dataRoot}"`,
        `state = "${directory}/state"`,
        `disabled_plugins = ${JSON.stringify(disabled.map(name => `io.containerd.${name}`))}`,
        `[grpc]\naddress = "${directory}/s"`,
        `[ttrpc]\naddress = "${directory}/t"`,
      ]
      writeFileSync(config, `${lines.join('\n')}\n`)
      return [`ExecStart=/usr/bin/containerd --config ${config}`]
    },
    client: directory => ['ctr', '-a', join(directory, 's')],
    version: ['version'],
    pull: ['images', 'pull', '--plain-http'],
    remove: ['images', 'rm', '--sync'],
  })
  const { units, early } = bed

  before(() => bed.open('unpigz'))
  after(() => bed[Symbol.asyncDispose]())

  async function restart(): Promise<void> {
    const before = await bed.pidOf()
    const { told, stderr } = await bed.doctor('--fix', 'restart-containerd', '--yes')
    assert.equal(told?.isProven, true, stderr + JSON.stringify(told))
    assert.notEqual(await bed.pidOf(), before)
    await bed.isReady()
  }

  test('gets its variables by a drop-in, is restarted, and pulls well; without them it hangs again', row, async () => {
    const there = readdirSync(units)
    const stuck = bed.startPull()
    const pid = await bed.decompressorRuns()
    const applied = await bed.doctor('--fix', 'disable-containerd', '--yes')
    assert.equal(applied.told?.result, 'applied', applied.stderr)
    assert.match(applied.told.message, /environment of containerd\.service; unproven until/)
    const environment = await bed.systemd.systemctl('show', '-p', 'Environment', 'containerd.service')
    assert.match(environment, /CONTAINERD_DISABLE_PIGZ=true/)
    const tooEarly = await bed.doctor('--fix', `kill-${pid}`, '--yes')
    assert.match(tooEarly.stderr, /would start the same program/)
    assert.equal(stuck.exitCode, null)

    await restart()
    assert.notEqual(await bed.exitOf(stuck), 0)
    await bed.pullsWell()
    const undone = await bed.doctor('--undo', applied.told.undo, '--yes')
    assert.equal(undone.told?.result, 'undone', undone.stderr)
    assert.deepEqual(readdirSync(units), there)
    await bed.restart()
    await bed.hangs()
  })

  const skip = !isLong && 'WINDLASS_LONG=1'
  test('gets a shim, is restarted, and what gets stuck all the same may be ended', { ...row, skip }, async () => {
    await bed.isReady()
    const old = bed.startPull()
    const broken = await bed.decompressorRuns() // which it does not look up again
    const applied = await bed.doctor('--fix', 'shim-containerd', '--yes')
    assert.equal(applied.told?.result, 'applied', applied.stderr)
    assert.deepEqual(readdirSync(early), ['unpigz'])
    const tooEarly = await bed.doctor('--fix', `kill-${broken}`, '--yes')
    assert.match(tooEarly.stderr, /would start the same program/, 'it was not started anew yet')
    await restart()
    assert.notEqual(await bed.exitOf(old), 0)

    const stuck = bed.startPull()
    const pid = await stopGzip()
    const ended = await bed.doctor('--fix', `kill-${pid}`, '--yes')
    assert.equal(ended.told?.isProven, true, ended.stderr + JSON.stringify(ended.told))
    assert.match(ended.told.message, /containerd \d+ has seen that/)
    assert.notEqual(await bed.exitOf(stuck), 0)
    await bed.pullsWell()

    const undone = await bed.doctor('--undo', applied.told.undo, '--yes')
    assert.equal(undone.told?.result, 'undone', undone.stderr)
    assert.deepEqual(readdirSync(early), [])
    await bed.restart()
    await bed.hangs()
  })

  /** What stands behind the shim. @returns its number, as systemd's processes have it */
  async function stopGzip(): Promise<number> {
    const script = 'until pkill -STOP -P "$1" -x gzip; do :; done; pgrep -P "$1" -x gzip'
    const { stdout, stderr } = await bed.inside(['sh', '-ec', script, 'sh', String(await bed.pidOf())])
    assert.notEqual(stdout, '', stderr)
    return Number(stdout)
  }
})
