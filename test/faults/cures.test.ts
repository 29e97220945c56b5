/** Cures of a real daemon: applied, proven by its next pull, and taken back; and the service that rescues by itself. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { undoable } from '../../src/doctor/cures/apply.ts'
import { deliver, describeUndo, undoDelivery } from '../../src/doctor/cures/deliver.ts'
import { Journal, type JournalRecord, readJournals } from '../../src/doctor/cures/journal.ts'
import { killStuck } from '../../src/doctor/cures/kill.ts'
import { formatShim } from '../../src/doctor/cures/shim-file.ts'
import { LiveHost } from '../../src/sys/host-view.ts'
import { plantBroken } from '../broken-decompressors/plant.ts'
import { readIfThere } from '../read-if-there.ts'
import { digestOf } from '../servers/push.ts'
import { runCommand, waitUntil } from '../testbed/command.ts'
import { startContainerd } from '../testbed/containerd.ts'
import { startDocker, type TestDocker } from '../testbed/dockerd.ts'
import { type LoopFilesystem, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { childrenOf, program, SickEngine, signal } from './doctor-bed.ts'
import { type MadeLayer, makeNoise, type ServedImage, serveImage, tagImage, tagIndex } from './image.ts'

const row = { timeout: 120_000 }
/** A decompressor that gives 40 KB a second. */
const trickle = `import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGunzip } from 'node:zlib'
for await (const chunk of process.stdin.pipe(createGunzip()))
  for (let at = 0; at < chunk.length; at += 4096, await sleep(100)) writeSync(1, chunk.subarray(at, at + 4096))
`

/** A decompressor that hangs outlives its containerd. */
function endChildren(engine: number): void {
  for (const { pid } of childrenOf(engine)) signal(pid, 'SIGKILL')
}

const directory = mkdtempSync(join(tmpdir(), 'windlass-cures-'))
const early = join(directory, 'early')
const late = join(directory, 'late')
const root = join(directory, 'root')

describe('a docker whose decompressor is broken', { concurrency: 1 }, () => {
  let image: ServedImage
  let loop: LoopFilesystem
  let docker: TestDocker
  let sick: SickEngine

  before(async () => {
    mkdirSync(early)
    mkdirSync(late)
    image = await serveImage([makeNoise('noise', 4 << 20)])
    loop = await openLoopFilesystem({ sizeBytes: 2 ** 29 })
    docker = await startDocker(join(loop.directory, 'docker'), `${early}:${late}`)
    const client = ['docker', '-H', `unix://${docker.socket}`]
    sick = new SickEngine(docker.pid, late, [...client, 'pull'], [...client, 'rmi', '-f'])
  })
  afterEach(() => sick.free())
  after(async () => {
    await docker?.[Symbol.asyncDispose]()
    await loop?.[Symbol.asyncDispose]()
    await image?.[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true, force: true })
  })

  async function doctor(args: readonly string[]) {
    const all = ['doctor', '--json', '--root', root, '--pid', String(docker.pid), ...args]
    const { status, stdout, stderr } = await runCommand(program, all)
    return { status, told: stdout === '' ? undefined : JSON.parse(stdout), stderr }
  }

  async function startStuckPull() {
    await plantBroken(late, 'sleep')
    const client = sick.startPull(image.reference)
    const { decompressor } = await sick.unpacking(true)
    await waitUntil('it is stuck', 20_000, () =>
      /wchar: 3\d{5}/.test(readFileSync(`/proc/${decompressor}/io`, 'latin1')),
    )
    return { client, decompressor }
  }

  test('is cured by a shim; only then may the stuck process be ended; all is taken back', row, async () => {
    const { client, decompressor } = await startStuckPull()
    const tooEarly = await doctor(['--fix', `kill-${decompressor}`, '--yes'])
    assert.equal(tooEarly.status, 1, tooEarly.stderr)
    assert.match(tooEarly.stderr, /would start the same program/)
    assert.ok(existsSync(`/proc/${decompressor}`))

    const planned = await doctor(['--fix', 'shim-dockerd', '--dry-run'])
    assert.equal(planned.told.result, 'planned')
    assert.deepEqual(readdirSync(early), [])
    const applied = await doctor(['--fix', 'shim-dockerd', '--yes'])
    assert.equal(applied.told.isProven, true, JSON.stringify(applied.told))
    assert.deepEqual(readdirSync(early), ['unpigz'])

    const engine = await doctor(['--fix', `kill-${docker.pid}`, '--yes'])
    assert.equal(engine.status, 2, engine.stderr)
    assert.ok(existsSync(`/proc/${decompressor}`), "an engine's number names none of its decompressors")
    const ended = await doctor(['--fix', `kill-${decompressor}`, '--yes'])
    assert.equal(ended.told?.isProven, true, ended.stderr)
    if (client.exitCode === null) await once(client, 'exit')
    assert.notEqual(client.exitCode, 0)
    const again = sick.startPull(image.reference)
    await once(again, 'exit')
    assert.equal(again.exitCode, 0)

    const undone = await doctor(['--undo', applied.told.undo, '--yes'])
    assert.equal(undone.told?.result, 'undone', undone.stderr)
    assert.deepEqual(readdirSync(early), [])
    assert.equal((await doctor(['--undo', 'last', '--yes'])).status, 2)
  })

  test(
    'of a script that waits for a program, and would go on after it, all is ended, and the engine has seen it',
    row,
    async () => {
      await plantBroken(late, 'sleep', 'inner')
      const wentOn = join(directory, 'went-on')
      const script = `#!/bin/sh\n${join(late, 'inner')} "$@"\n: >${wentOn}\n`
      writeFileSync(join(late, 'unpigz'), script, { mode: 0o755 })
      const client = sick.startPull(image.reference)
      const { decompressor } = await sick.unpacking(true)
      await waitUntil('its program runs', 20_000, () => childrenOf(decompressor).length > 0)
      const [inner] = childrenOf(decompressor)
      const applied = await doctor(['--fix', 'shim-dockerd', '--yes'])
      assert.equal(applied.told?.isProven, true, applied.stderr)
      const planned = await doctor(['--fix', `kill-${decompressor}`, '--dry-run'])
      const named = planned.told?.cure.processes.map(({ pid }: { pid: number }) => pid)
      assert.deepEqual(named?.toSorted(), [decompressor, inner?.pid].toSorted(), planned.stderr)
      const ended = await doctor(['--fix', `kill-${decompressor}`, '--yes'])
      assert.equal(ended.told?.isProven, true, ended.stderr + JSON.stringify(ended.told))
      assert.match(ended.told.message, /dockerd \d+ has seen that/)
      // Whoever takes the orphan in may not have taken notice yet.
      assert.ok(!existsSync(wentOn))
      for (const pid of [decompressor, inner?.pid]) assert.match(readIfThere(`/proc/${pid}/stat`), /^$|\) Z /)
      if (client.exitCode === null) await once(client, 'exit')
      assert.notEqual(client.exitCode, 0)
      await doctor(['--undo', applied.told.undo, '--yes'])
      rmSync(join(late, 'inner'))
    },
  )

  test(
    'keeps a decompressor that works, however slowly, and one that has come round before it was ended',
    row,
    async () => {
      const trickling = join(directory, 'trickling.mjs')
      writeFileSync(trickling, trickle)
      sick.useScript(`exec ${process.execPath} ${trickling} "$@"`)
      sick.startPull(image.reference)
      const slow = (await sick.unpacking(true)).decompressor
      const shim = join(early, 'unpigz')
      const planKill = (pid: number) => {
        writeFileSync(shim, formatShim('/usr/bin/gzip', 'dockerd'), { mode: 0o755 })
        const options = { signal: AbortSignal.timeout(60_000), directory: join(root, 'cures') }
        return killStuck(new LiveHost(), pid, options)
      }
      await assert.rejects(planKill(slow), /the doctor does not find that it is stuck/)
      assert.ok(existsSync(`/proc/${slow}`))
      await sick.free()
      rmSync(shim)

      const gate = join(directory, 'gate')
      await runCommand('mkfifo', [gate])
      sick.useScript(`read -r line <${gate}; exec ${process.execPath} ${trickling} "$@"`)
      sick.startPull(image.reference)
      const { decompressor } = await sick.unpacking(true)
      const plan = await planKill(decompressor)
      rmSync(shim)
      assert.ok(
        plan.lines.some(
          line => line.includes(`sh ${late}/unpigz`) && line.includes(`${decompressor}, which the engine`),
        ),
        plan.lines.join('\n'),
      )
      writeFileSync(gate, 'go on\n')
      await waitUntil('it goes on', 20_000, () => /wchar: \d{6}/.test(readIfThere(`/proc/${decompressor}/io`)))
      await assert.rejects(plan.carryOut(), /does not find that it is stuck/)
      assert.ok(existsSync(`/proc/${decompressor}`))
    },
  )

  test('does not get a shim over a file that is there', row, async () => {
    writeFileSync(join(early, 'unpigz'), 'mine', { mode: 0o644 })
    const { status, stderr } = await doctor(['--fix', 'shim-dockerd', '--yes'])
    assert.equal(status, 1, stderr)
    assert.equal(readFileSync(join(early, 'unpigz'), 'utf8'), 'mine')
    rmSync(join(early, 'unpigz'))
  })

  test('gets the image of the pull that hangs without its decompressor, and the name is taken back', row, async () => {
    const { client, decompressor } = await startStuckPull()
    const planned = await doctor(['--fix', 'deliver-dockerd', '--dry-run'])
    assert.deepEqual(planned.told?.cure.commands, [['windlass', 'pull', image.reference, '--into', 'docker']])
    assert.equal((await inspect(docker)).status, 1)
    const delivered = await doctor(['--fix', 'deliver-dockerd', '--yes'])
    assert.equal(delivered.told?.isProven, true, delivered.stderr + JSON.stringify(delivered.told))
    assert.match(delivered.told.message, /its own pull of sha256:\w+ ends well/)
    const has = await inspect(docker)
    assert.equal(has.status, 0, has.stderr)
    assert.deepEqual(JSON.parse(has.stdout), [image.layers[0]?.diffId ?? digestOf(image.layers[0]?.tar as Buffer)])
    assert.ok(client.exitCode === null && existsSync(`/proc/${decompressor}`)) // that one is not its business

    const again = await doctor(['--fix', 'deliver-dockerd', '--yes'])
    assert.equal(again.told?.isProven, true, again.stderr)
    assert.equal(again.told.undo, undefined)
    const nothing = await doctor(['--undo', readJournals(join(root, 'cures')).at(-1)?.id ?? '', '--yes'])
    assert.equal(nothing.status, 2)
    assert.match(nothing.stderr, /it has changed no name/)
    const undone = await doctor(['--undo', delivered.told.undo, '--yes'])
    assert.equal(undone.told?.result, 'undone', undone.stderr)
    assert.equal((await inspect(docker)).status, 1)
  })

  test('gets the newer image of a name, and gives the name its old one back', row, async () => {
    const { registry, reference } = image
    const [newer, older] = [makeNoise('newer', 4 << 20), image.layers[0] as MadeLayer]
    registry.add(newer.blob)
    sick.useHealthy()
    await docker.docker(['pull', '-q', reference])
    const id = (await docker.docker(['image', 'inspect', '-f', '{{.Id}}', reference])).trim()
    tagImage(registry, 'v1', [newer])
    try {
      await startStuckPull()
      const planned = await doctor(['--fix', 'deliver-dockerd', '--dry-run'])
      assert.match(
        planned.told?.cure.undo,
        new RegExp(`/app:v1 stands for now, it stands for ${id} again, as long as dockerd has`),
      )
      const delivered = await doctor(['--fix', 'deliver-dockerd', '--yes'])
      assert.equal(delivered.told?.isProven, true, delivered.stderr + JSON.stringify(delivered.told))
      assert.deepEqual(JSON.parse((await inspect(docker)).stdout), [digestOf(newer.tar)])
      const undone = await doctor(['--undo', delivered.told.undo, '--yes'])
      assert.equal(undone.told?.result, 'undone', undone.stderr)
      assert.deepEqual(JSON.parse((await inspect(docker)).stdout), [digestOf(older.tar)])

      const again = await doctor(['--fix', 'deliver-dockerd', '--yes'])
      await docker.docker(['rmi', '-f', id])
      const late = await doctor(['--undo', again.told?.undo, '--yes'])
      assert.equal(late.status, 1, late.stderr)
      assert.match(late.stderr, /dockerd no longer has sha256/)
      assert.deepEqual(JSON.parse((await inspect(docker)).stdout), [digestOf(newer.tar)])
      tagImage(registry, 'v1', [older])
      sick.useHealthy()
      await docker.docker(['pull', '-q', reference])
      assert.equal((await doctor(['--undo', again.told?.undo, '--yes'])).told?.result, 'undone', 'it can be repeated')
    } finally {
      tagImage(registry, 'v1', [older])
    }
  })

  test(
    'gets the image for the platform that the client asks for, wherever in its command line it says so',
    row,
    async () => {
      const { registry } = image
      const reference = image.reference.replace(':v1', ':many')
      const [own, foreign] = [makeNoise('own', 4 << 20), makeNoise('foreign', 4 << 20)]
      for (const { blob } of [own, foreign]) registry.add(blob)
      tagIndex(registry, 'many', {
        amd64: tagImage(registry, 'own', [own]),
        arm64: tagImage(registry, 'foreign', [foreign], 'arm64'),
      })
      await plantBroken(late, 'sleep')
      const args = ['-H', `unix://${docker.socket}`, 'pull', reference, '--platform', 'linux/arm64']
      const client = spawn('docker', args, { stdio: 'ignore' })
      try {
        await sick.unpacking(true)
        const delivered = await doctor(['--fix', 'deliver-dockerd', '--yes'])
        assert.equal(delivered.told?.isProven, true, delivered.stderr + JSON.stringify(delivered.told))
        const inspected = await docker.docker([
          'image',
          'inspect',
          '-f',
          '{{.Architecture}} {{.RootFS.Layers}}',
          reference,
        ])
        assert.equal(inspected.trim(), `arm64 [${digestOf(foreign.tar)}]`)
      } finally {
        client.kill('SIGKILL')
        await doctor(['--undo', 'last', '--yes'])
      }
    },
  )

  test('gets no image where it is not known which, or none of that name is to be had', row, async () => {
    const nobody = await doctor(['--fix', 'deliver-dockerd', '--yes'])
    assert.equal(nobody.status, 1)
    assert.match(nobody.stderr, /name the image with --image REF/)
    const missing = image.reference.replace(':v1', ':gone')
    const failed = await doctor(['--fix', 'deliver-dockerd', '--image', missing, '--yes'])
    assert.equal(failed.status, 2, failed.stderr)
    const { told } = await doctor(['--fixes'])
    assert.ok(!told.applied.some(({ id }: { id: string }) => id.startsWith('deliver')), JSON.stringify(told.applied))
  })

  function inspect({ socket }: TestDocker) {
    const format = ['-f', '{{json .RootFS.Layers}}']
    return runCommand('docker', ['-H', `unix://${socket}`, 'image', 'inspect', ...format, image.reference])
  }

  test('is rescued by the service as soon as it hangs, which tells it and counts it', row, async () => {
    const metrics = join(directory, 'windlass.prom')
    const args = ['doctor', '--watch', '--rescue', '--metrics', metrics, '--root', root, '--pid', String(docker.pid)]
    const service = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let log = ''
    service.stdout.on('data', data => {
      log += String(data)
    })
    try {
      const { client } = await startStuckPull()
      if (client.exitCode === null) await once(client, 'exit')
      assert.equal(client.exitCode, 0)
      await waitUntil('it has counted', 30_000, () => /\{result="rescued"\} 1$/m.test(readIfThere(metrics)))
      const line = JSON.parse(log.trim())
      assert.equal(line.event, 'rescue')
      assert.equal(line.result, 'rescued')
      assert.equal(line.finding, 'DECOMPRESSOR_ASLEEP')
    } finally {
      service.kill('SIGTERM')
      await Promise.race([once(service, 'exit'), sleep(10_000)])
    }
    assert.equal(service.exitCode, 143)
  })

  test('and whose decompressor is a script that waits for another program: both leave', row, async () => {
    await plantBroken(late, 'sleep', 'inner')
    writeFileSync(join(late, 'unpigz'), `#!/bin/sh\n${join(late, 'inner')} "$@"\nexit $?\n`, { mode: 0o755 })
    const client = sick.startPull(image.reference)
    await sick.unpacking(true)
    await sleep(2000)
    const { told, stderr } = await doctor(['--rescue', '--yes'])
    assert.ok(told?.outcomes.length > 0, stderr)
    assert.ok(
      told.outcomes.every((outcome: { result: string }) => outcome.result === 'rescued'),
      JSON.stringify(told),
    )
    if (client.exitCode === null) await once(client, 'exit')
    assert.equal(client.exitCode, 0)
    rmSync(join(late, 'inner'))
  })
})

test(
  'a containerd whose decompressor is broken gets the image into the namespace of the pull that hangs; each name is taken back',
  row,
  async () => {
    const shims = mkdtempSync(join(tmpdir(), 'windlass-cures-shims-'))
    await using image = await serveImage([makeNoise('noise', 4 << 20)])
    await using loop = await openLoopFilesystem({ sizeBytes: 2 ** 29 })
    await using containerd = await startContainerd(join(loop.directory, 'containerd'), shims)
    const doctor = async (...args: string[]) => {
      const all = ['doctor', '--json', '--root', join(shims, 'root'), '--pid', String(containerd.pid), ...args]
      const { status, stdout, stderr } = await runCommand(program, all)
      return { status, told: stdout === '' ? undefined : JSON.parse(stdout), stderr }
    }
    const names = async () => (await containerd.ctr('-n', 'k8s.io', 'images', 'ls', '-q')).split('\n').filter(Boolean)
    await plantBroken(shims, 'sleep')
    const args = ['-a', containerd.socket, '-n', 'k8s.io', 'images', 'pull', '--plain-http', image.reference]
    const client = spawn('ctr', args, { stdio: 'ignore' })
    try {
      await waitUntil('it unpacks', 20_000, () => childrenOf(containerd.pid).length > 0)
      const before = await names() // ctr names what it has fetched before it unpacks it
      const delivered = await doctor('--fix', 'deliver-containerd', '--yes')
      assert.equal(delivered.told?.isProven, true, delivered.stderr + JSON.stringify(delivered.told))
      assert.match(delivered.told.message, /in namespace k8s\.io, has it as sha256:\w+, unpacked/)
      const [record] = readJournals(join(shims, 'root', 'cures'))
      assert.deepEqual(
        record?.steps.map(({ step }) => step),
        ['begin', 'expected', 'applied'],
      )
      const mounted = join(loop.directory, 'mounted')
      const script =
        'mkdir "$2"; ctr -a "$1" -n k8s.io images mount "$3" "$2" >&2; sha256sum "$2/noise"; ctr -a "$1" -n k8s.io images unmount --rm "$2" >&2'
      const { stdout, stderr } = await runCommand('sh', [
        '-ec',
        script,
        'sh',
        containerd.socket,
        mounted,
        image.reference,
      ])
      const noise = (image.layers[0]?.tar as Buffer).subarray(512, 512 + (4 << 20))
      assert.equal(stdout.slice(0, 64), digestOf(noise).slice('sha256:'.length), stderr)
      const undone = await doctor('--undo', 'last', '--yes')
      assert.equal(undone.told?.result, 'undone', undone.stderr)
      assert.deepEqual((await names()).sort(), before.sort())
    } finally {
      client.kill('SIGKILL')
      endChildren(containerd.pid)
      rmSync(shims, { recursive: true, force: true })
    }
  },
)

test(
  'of what comes into a containerd meanwhile only the names of the delivery are taken back, as long as they stand for it',
  row,
  async () => {
    const place = mkdtempSync(join(tmpdir(), 'windlass-cures-names-'))
    const [noise, newer] = [makeNoise('noise', 4 << 10), makeNoise('newer', 5 << 10)]
    await using image = await serveImage([noise, newer], {}, [[noise], [newer]])
    await using loop = await openLoopFilesystem({ sizeBytes: 2 ** 28 })
    await using containerd = await startContainerd(join(loop.directory, 'containerd'), place)
    const { socket } = containerd
    const ctr = (...args: string[]) => containerd.ctr('-n', 'k8s.io', 'images', ...args)
    const names = async () => (await ctr('ls', '-q')).split('\n').filter(Boolean).sort()
    const signal = AbortSignal.timeout(60_000)
    const options = { directory: join(place, 'cures'), cure: 'deliver-containerd', signal }
    const reference = 'docker.io/team/app:1'
    const delivery = { engine: 'containerd', socket, reference, namespace: 'k8s.io' } as const
    const lastRecord = () => readJournals(options.directory).at(-1) as JournalRecord
    try {
      for (const one of image.references) await ctr('pull', '--plain-http', one)
      const expectedOf = async (name: string) => {
        const line = (await ctr('ls')).split('\n').find(text => text.startsWith(name)) ?? ''
        const digest = /sha256:\w+/.exec(line)?.[0] ?? ''
        const manifest = await containerd.ctr('-n', 'k8s.io', 'content', 'get', digest)
        return { digest, config: String(JSON.parse(manifest).config.digest) }
      }
      const expected = await expectedOf(image.reference)
      const before = await names()
      const delivered = await deliver(
        delivery,
        async expect => {
          await expect(expected)
          for (const name of [reference, `docker.io/team/app@${expected.digest}`, 'docker.io/other/app:1'])
            await ctr('tag', image.reference, name)
          return expected.digest
        },
        options,
      )
      assert.equal(delivered.isProven, true, delivered.text)
      await undoDelivery(lastRecord(), options)
      assert.deepEqual(await names(), ['docker.io/other/app:1', ...before].sort())

      const fail = async (bring: () => Promise<unknown>) => {
        const failing = async (expect: (image: typeof expected) => Promise<void>) => {
          await expect(expected)
          await bring()
          throw new Error('enough')
        }
        await assert.rejects(deliver(delivery, failing, options), /enough/)
        return undoable([lastRecord()]).length
      }
      assert.equal(await fail(async () => {}), 0)
      assert.equal(await fail(() => ctr('tag', image.reference, reference)), 1)
      assert.deepEqual(await undoDelivery(lastRecord(), options), [reference])

      // As a death leaves it: what stands there by now was brought by somebody else.
      await ctr('tag', image.reference, reference)
      const breakOff = (image: { readonly digest: string; readonly config: string }) => {
        using journal = new Journal(options.directory, 'deliver')
        journal.write('begin', { kind: 'deliver', place: delivery, before: {} })
        journal.write('expected', { ...image, names: [reference] })
      }
      breakOff({ ...expected, digest: expected.config })
      await assert.rejects(undoDelivery(lastRecord(), options), /stands for another image by now/)
      assert.ok((await names()).includes(reference))
      breakOff(expected)
      assert.deepEqual(await undoDelivery(lastRecord(), options), [reference])
      assert.ok(!(await names()).includes(reference))

      // containerd drops what loses its last name: it is kept under another one until it gets the old one back.
      const [, second = ''] = image.references
      const latest = await expectedOf(second)
      await ctr('tag', image.reference, reference)
      await ctr('rm', '--sync', image.reference, 'docker.io/other/app:1')
      const kept = `windlass-kept@${expected.digest}`
      assert.match(
        await describeUndo(delivery, signal),
        new RegExp(`stands for ${expected.digest} again, .* as ${kept}`),
      )
      const move = (failure?: Error) => async (expect: (image: typeof expected) => Promise<void>) => {
        await expect(latest)
        assert.ok((await names()).includes(kept))
        if (failure !== undefined) throw failure
        await ctr('tag', '--force', second, reference)
        return latest.digest
      }
      await assert.rejects(deliver(delivery, move(new Error('enough')), options), /enough/)
      assert.ok(!(await names()).includes(kept))
      const moved = await deliver(delivery, move(), options)
      assert.deepEqual([moved.isProven, moved.isUndoable], [true, true], moved.text)
      assert.equal((await expectedOf(reference)).digest, latest.digest)
      assert.deepEqual(await undoDelivery(lastRecord(), options), [reference])
      assert.deepEqual(await expectedOf(reference), expected)
      assert.deepEqual(await names(), [reference, second].sort())
    } finally {
      rmSync(place, { recursive: true, force: true })
    }
  },
)

test(
  'a containerd whose decompressor is broken gets a shim, which counts from its restart on: until then a stuck process is not ended',
  row,
  async () => {
    const place = mkdtempSync(join(tmpdir(), 'windlass-cures-shim-'))
    const [early, late] = [join(place, 'early'), join(place, 'late')]
    for (const path of [early, late]) mkdirSync(path)
    await using image = await serveImage([makeNoise('noise', 4 << 20)])
    await using loop = await openLoopFilesystem({ sizeBytes: 2 ** 29 })
    const start = () => startContainerd(join(loop.directory, 'containerd'), `${early}:${late}`)
    const doctor = async (pid: number, ...args: string[]) => {
      const all = ['doctor', '--json', '--root', join(place, 'root'), '--pid', String(pid), ...args, '--yes']
      const { status, stdout, stderr } = await runCommand(program, all)
      return { status, told: stdout === '' ? undefined : JSON.parse(stdout), stderr }
    }
    await plantBroken(late, 'sleep')
    try {
      let undo = ''
      {
        await using containerd = await start()
        const args = ['-a', containerd.socket, 'images', 'pull', '--plain-http', image.reference]
        const client = spawn('ctr', args, { stdio: 'ignore' })
        await waitUntil('it unpacks', 20_000, () => childrenOf(containerd.pid).length > 0)
        const stuck = childrenOf(containerd.pid)[0]?.pid
        const applied = await doctor(containerd.pid, '--fix', 'shim-containerd')
        assert.equal(applied.told?.result, 'applied', applied.stderr)
        assert.match(applied.told.message, /takes effect after a restart/)
        assert.deepEqual(readdirSync(early), ['unpigz'])
        undo = applied.told.undo
        const tooEarly = await doctor(containerd.pid, '--fix', `kill-${stuck}`)
        assert.equal(tooEarly.status, 1, tooEarly.stderr)
        assert.match(tooEarly.stderr, /would start the same program/)
        assert.ok(existsSync(`/proc/${stuck}`))
        client.kill('SIGKILL')
        endChildren(containerd.pid)
      }
      await using containerd = await start()
      await containerd.ctr('images', 'pull', '--plain-http', image.reference)
      const undone = await doctor(containerd.pid, '--undo', undo)
      assert.equal(undone.told?.result, 'undone', undone.stderr)
      assert.deepEqual(readdirSync(early), [])
    } finally {
      rmSync(place, { recursive: true, force: true })
    }
  },
)

test('where settings are on a disk that is read-only, that is said', row, async () => {
  const place = mkdtempSync(join(tmpdir(), 'windlass-cures-readonly-'))
  const file = join(import.meta.dirname, '../../src/doctor/cures/file-change.ts')
  const change = { path: join(place, 'docker.service.d', 'x.conf'), after: 'x', mode: 0o644 }
  const program = `import { applyChange } from '${file}'
    try { applyChange(${JSON.stringify(change)}) } catch (error) { console.log(error.code, error.message) }`
  const script = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; exec "$2" --input-type=module -e "$3"'
  try {
    const args = ['-m', 'sh', '-ec', script, 'sh', place, process.execPath, program]
    const { stdout, stderr } = await runCommand('unshare', args)
    assert.match(stdout, /^PERMISSION Cannot write .*x\.conf: EROFS: read-only file system/, stderr)
  } finally {
    rmSync(place, { recursive: true, force: true })
  }
})
