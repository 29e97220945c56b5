/** What no test may make on the machine that it runs on: other kernels, other control groups, other clocks. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { codesOf, makeEngine, runCheck } from '../../../test/checked.ts'
import { FixtureHost } from '../../../test/fixture-host.ts'
import { translateEvidence } from '../catalogue/evidence.ts'
import type { Check } from './check.ts'
import { clock } from './clock.ts'
import { connections } from './connections.ts'
import { controlGroupView } from './control-group-view.ts'
import { entropy } from './entropy.ts'
import { fetchPlaces } from './fetch-places.ts'
import { fileGates } from './file-gates.ts'
import { hungTasks } from './hung-tasks.ts'
import { kernelFaults } from './kernel-faults.ts'
import { leftDownloads } from './left-downloads.ts'
import { memory } from './memory.ts'
import { overlaySupport } from './overlay.ts'
import { pressure } from './pressure.ts'
import { processLimits } from './process-limits.ts'
import { processor } from './processor.ts'
import { runningEngines } from './running-engines.ts'
import { storageDriver } from './storage-driver.ts'

type Files = Readonly<Record<string, string>>

const look = (check: Check, files: Files, engines = [makeEngine(7)]) =>
  runCheck(check, new FixtureHost({ files }), { engines })

const unified = { '/proc/7/cgroup': '0::/system.slice/docker.service\n' }
const service = '/sys/fs/cgroup/system.slice/docker.service'

test('version 2: kills in the engine’s own group, and a limit that only the slice above it has', async () => {
  const files = {
    ...unified,
    [`${service}/memory.events`]: 'low 0\nhigh 3\nmax 9\noom 2\noom_kill 2\n',
    [`${service}/memory.max`]: 'max\n',
    [`${service}/memory.high`]: 'max\n',
    [`${service}/memory.current`]: '990000\n',
    '/sys/fs/cgroup/system.slice/memory.max': '1000000\n',
    '/sys/fs/cgroup/system.slice/memory.current': '990000\n',
    '/sys/fs/cgroup/system.slice/memory.stat': 'anon 980000\ninactive_file 10000\n',
  }
  const findings = await look(memory, files)
  assert.deepEqual(codesOf(findings), ['OOM_KILLS', 'MEMORY_NEARLY_FULL'])
  assert.match(
    findings[1]?.evidence[0] ?? '',
    /^990000 of 1000000 bytes \(memory\.max\) are used in \/sys\/fs\/cgroup\/system\.slice,/,
  )
  const cached = { ...files, '/sys/fs/cgroup/system.slice/memory.stat': 'anon 180000\ninactive_file 800000\n' }
  assert.deepEqual(codesOf(await look(memory, cached)), ['OOM_KILLS'])
})

test('version 2: memory.high, which slows down and never kills, is a limit, too', async () => {
  const files = {
    ...unified,
    [`${service}/memory.max`]: '9000000\n',
    [`${service}/memory.high`]: '1000000\n',
    [`${service}/memory.current`]: '1000000\n',
  }
  const [finding] = await look(memory, files)
  assert.match(finding?.evidence[0] ?? '', /memory\.high/)
})

test('version 1: a group whose processes sleep until memory is freed', async () => {
  const group = '/sys/fs/cgroup/memory/docker'
  const files = {
    '/proc/7/cgroup': '5:memory:/docker\n',
    [`${group}/memory.limit_in_bytes`]: '1000000\n',
    [`${group}/memory.usage_in_bytes`]: '999000\n',
    [`${group}/memory.oom_control`]: 'oom_kill_disable 1\nunder_oom 1\noom_kill 0\n',
  }
  assert.deepEqual(codesOf(await look(memory, files)), ['MEMORY_LIMIT'])
  const unlimited = { ...files, [`${group}/memory.limit_in_bytes`]: '9223372036854771712\n' }
  assert.deepEqual(codesOf(await look(memory, unlimited)), [])
})

test('version 2: a quota that throttles now, and one that did so a little once', async () => {
  const stat = (periods: number, throttled: number) =>
    `usage_usec 9\nnr_periods ${periods}\nnr_throttled ${throttled}\n`
  const visit = async (before: string, after: string) => {
    const host = new FixtureHost({ files: { ...unified, [`${service}/cpu.stat`]: before } })
    host.later[`${service}/cpu.stat`] = after
    return await runCheck(processor, host, { engines: [makeEngine(7)] })
  }
  const [now] = await visit(stat(1000, 10), stat(1010, 19))
  assert.equal(now?.code, 'CPU_THROTTLED')
  assert.match(now?.evidence[0] ?? '', /19 of 1010 periods, and in 9 of 10 of the last second/)
  assert.deepEqual(codesOf(await visit(stat(1000, 10), stat(1010, 10))), [])
})

test('tasks: nearly as many as TasksMax, one that was refused, and no limit', async () => {
  const visit = (max: string, current: string, events: string) =>
    look(processLimits, {
      ...unified,
      [`${service}/pids.max`]: max,
      [`${service}/pids.current`]: current,
      [`${service}/pids.events`]: events,
    })
  assert.deepEqual(
    (await visit('100', '95', 'max 0\n')).map(({ severity }) => severity),
    ['warning'],
  )
  assert.deepEqual(
    (await visit('100', '5', 'max 4\n')).map(({ severity }) => severity),
    ['note'],
  )
  assert.deepEqual(codesOf(await visit('max', '95', 'max 0\n')), [])
})

test('pressure: only what is high is told, and kills on the host with it', async () => {
  const full = (share: number) =>
    `some avg10=90.00 avg60=1.00 avg300=0.00 total=1\nfull avg10=${share}.00 avg60=1.00 avg300=0.00 total=1\n`
  const files = {
    '/proc/pressure/io': full(55),
    '/proc/pressure/memory': full(30),
    '/proc/vmstat': 'nr_free_pages 1\noom_kill 3\n',
  }
  assert.deepEqual(codesOf(await look(pressure, files)), ['DISK_PRESSURE', 'MEMORY_PRESSURE', 'HOST_OOM_KILLS'])
  assert.deepEqual(codesOf(await look(pressure, { '/proc/pressure/io': full(5), '/proc/vmstat': 'oom_kill 0\n' })), [])
})

test('entropy: little of it matters on kernels before 5.6 only; a thread in getrandom on any', async () => {
  const random = (release: string, available: string): Files => ({
    '/proc/sys/kernel/osrelease': release,
    '/proc/sys/kernel/random/entropy_avail': available,
  })
  assert.deepEqual(codesOf(await look(entropy, random('4.19.90-2211.uel20.aarch64\n', '42\n'))), ['ENTROPY_LOW'])
  assert.deepEqual(codesOf(await look(entropy, random('4.19.90-2211.uel20.aarch64\n', '3000\n'))), [])
  assert.deepEqual(codesOf(await look(entropy, random('5.10.0\n', '42\n'))), [])
  const task = {
    '/proc/7/task/7/stat': `7 (dockerd) S 1 ${'0 '.repeat(48)}`,
    '/proc/7/task/7/syscall': '318 0x1 0x2 0x3 0x4 0x5 0x6 0x7 0x8\n',
    '/proc/7/task/7/io': 'rchar: 1\nwchar: 1\n',
  }
  const [blocked] = await look(entropy, { ...random('5.4.0\n', '5\n'), ...task })
  assert.equal(blocked?.severity, 'problem')
  assert.match(blocked?.evidence[0] ?? '', /1 of its threads sleep in getrandom/)
})

test('a clock from before this program was made', async () => {
  const host = new FixtureHost({ nowMs: Date.UTC(1970, 0, 1) })
  assert.deepEqual(codesOf(await runCheck(clock, host)), ['CLOCK_WRONG'])
  assert.deepEqual(codesOf(await runCheck(clock, new FixtureHost({}))), [])
})

test('a kernel without overlayfs', async () => {
  assert.deepEqual(codesOf(await look(overlaySupport, { '/proc/filesystems': 'nodev\tproc\n\text4\n' })), [
    'OVERLAY_MISSING',
  ])
  assert.deepEqual(codesOf(await look(overlaySupport, { '/proc/filesystems': 'nodev\toverlay\n' })), [])
})

test('docker that fell back to a driver that copies layers', async () => {
  const visit = (driver: string) =>
    runCheck(storageDriver, new FixtureHost({ answers: { '/s /info': `{"ID":"x","Driver":"${driver}"}` } }), {
      engines: [makeEngine(7, { sockets: ['/s'] })],
    })
  assert.deepEqual(codesOf(await visit('vfs')), ['STORAGE_DRIVER_SLOW'])
  assert.deepEqual(codesOf(await visit('overlay2')), [])
})

test('connections of the engine that nobody acknowledges, of either family; those of others do not count', async () => {
  const line = (remote: string, state: string, queue: string, retries: string, inode: number) =>
    `   0: 0100007F:1234 ${remote} ${state} ${queue}:00000000 01:00000100 ${retries}     0        0 ${inode} 1 0000 20 4 30 10 -1\n`
  const host = new FixtureHost({
    files: {
      '/proc/7/net/tcp': `  sl  local_address\n${line('0207630A:1388', '01', '00000F00', '00000005', 11)}${line('0307630A:1388', '01', '00000F00', '00000005', 99)}`,
      '/proc/7/net/tcp6': `  sl\n${line('B80D0120000000000000000001000000:01BB', '02', '00000001', '00000004', 12)}`,
    },
    links: { '/proc/7/fd/3': 'socket:[11]', '/proc/7/fd/4': 'socket:[12]', '/proc/7/fd/5': '/dev/null' },
  })
  const [finding] = await runCheck(connections, host, { engines: [makeEngine(7)] })
  assert.equal(finding?.code, 'CONNECTION_UNANSWERED')
  assert.deepEqual(finding?.evidence, [
    '10.99.7.2:5000: 3,840 bytes sent 5 times again, and not acknowledged',
    '[2001:db8:0:0:0:0:0:1]:443: its request for a connection sent 4 times again, and not acknowledged',
  ])
})

test('who may not see the descriptors of others says so, and does not call the host clear', async () => {
  const host = new FixtureHost({})
  host.denied.add('/proc/1/fd')
  assert.deepEqual(codesOf(await runCheck(fileGates, host)), ['SECURITY_UNSEEN'])
})

test('whose program was not asked for its version is told with whose it is', async () => {
  const stranger = { place: '/opt/c/containerd', uid: 1000, isOpen: false }
  const engines = [makeEngine(7, { kind: 'containerd', version: undefined, stranger, dataRoot: '/d' })]
  const [finding] = await runCheck(runningEngines, new FixtureHost({}), { engines })
  const english = 'version unknown (it was not run with our rights: /opt/c/containerd belongs to user 1000), data in /d'
  assert.equal(finding?.evidence[0], english)
  assert.equal(
    translateEvidence(english),
    '版本 未知（没有以我们的权限运行它：/opt/c/containerd 属于用户 1000），数据位于 /d',
  )
})

test('a docker that does not tell its version on its socket is silent; one without a socket that we see was not asked', async () => {
  const look = async (sockets: readonly string[]) =>
    codesOf(
      await runCheck(runningEngines, new FixtureHost({}), {
        engines: [makeEngine(7, { version: undefined, sockets })],
      }),
    )
  assert.deepEqual(await look(['/s']), ['ENGINE_RUNS', 'ENGINE_SILENT'])
  assert.deepEqual(await look([]), ['ENGINE_RUNS'])
})

test('containerd whose downloads wait for places that nobody has; one that reads meanwhile is well', async () => {
  const counted = (...frames: string[]) =>
    ['2 @ 0x1 0x2', ...frames.map(frame => `#\t0x1\t${frame}+0x10\t/src/file.go:1`)].join('\n')
  const waits = counted('golang.org/x/sync/semaphore.(*Weighted).Acquire', 'core/remotes/docker.dockerFetcher.open')
  const reads = counted('net/http.(*body).Read', 'core/remotes/docker.dockerFetcher.Fetch')
  const visit = (dump: string) =>
    runCheck(
      fetchPlaces,
      new FixtureHost({
        answers: { '/debug.sock /debug/pprof/goroutine?debug=1': `goroutine profile: total 4\n${dump}` },
      }),
      {
        engines: [makeEngine(7, { kind: 'containerd', sockets: ['/debug.sock'] })],
      },
    )
  assert.deepEqual(codesOf(await visit(`${waits}\n\n${waits}`)), ['FETCH_PLACES_LOST'])
  assert.deepEqual(codesOf(await visit(`${waits}\n\n${reads}`)), [])
  const hasPlace = counted('net/http.(*body).Read', 'core/remotes/docker.(*httpReadSeeker).Read', 'core/remotes.Fetch')
  assert.deepEqual(codesOf(await visit(`${waits}\n\n${hasPlace}`)), [])
})

test('parts of layers that nobody works at are counted; open ones are not', async () => {
  const ingests = '/data/io.containerd.content.v1.content/ingest'
  const [old, open] = ['a'.repeat(64), 'b'.repeat(64)]
  const files = {
    [`${ingests}/${old}/data`]: 'half a layer',
    [`${ingests}/${open}/data`]: 'more',
    '/data/tmp/GetImageBlob12': 'docker',
  }
  const host = new FixtureHost({ files, links: { '/proc/7/fd/3': `${ingests}/${open}/data` } })
  const place = { dataRoot: '/data', dataPath: '/data' }
  const [containerd] = await runCheck(leftDownloads, host, {
    engines: [makeEngine(7, { kind: 'containerd', ...place })],
  })
  assert.deepEqual([containerd?.code, containerd?.facts], ['DOWNLOADS_LEFT', { count: 1, bytes: 12 }])
  const [docker] = await runCheck(leftDownloads, host, { engines: [makeEngine(7, place)] })
  assert.deepEqual(docker?.facts, { count: 1, bytes: 6 })
})

test('limits that cannot be read are told as unseen, not as well', async () => {
  const elsewhere = { '/proc/7/cgroup': '0::/system.slice/docker.service\n' }
  assert.deepEqual(codesOf(await look(controlGroupView, elsewhere)), ['RESOURCES_UNSEEN'])
  assert.deepEqual(codesOf(await look(controlGroupView, {})), ['RESOURCES_UNSEEN'])
  assert.deepEqual(codesOf(await look(controlGroupView, { ...elsewhere, [`${service}/cgroup.procs`]: '7\n' })), [])
})

test('kernels on which ext4 is known to hang are told, where images are on ext4', async () => {
  const codes = async (release: string, type = 'ext4') => {
    const mountinfo = `22 1 8:1 / / rw - ${type} /dev/sda1 rw\n`
    const files = { '/proc/sys/kernel/osrelease': `${release}\n`, '/proc/7/mountinfo': mountinfo }
    return codesOf(await look(kernelFaults, files, [makeEngine(7, { dataRoot: '/var/lib/docker' })]))
  }
  for (const release of ['5.15.63-flatcar', '5.15.86']) assert.deepEqual(await codes(release), ['KERNEL_KNOWN_FAULT'])
  for (const release of ['5.15.62', '5.15.87', '5.15.0-91-generic', '4.19.90-2211.uel20.aarch64'])
    assert.deepEqual(await codes(release), [], release)
  assert.deepEqual(await codes('5.15.70', 'xfs'), [])
})

test('tasks about which the kernel has complained of late are told, if they may be those of a pull', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-log-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const [log, clock] = [join(directory, 'log'), join(directory, 'clock')]
  const complaint = (at: string, task: string, caller = '') =>
    `[${at}]${caller} INFO: task ${task} blocked for more than 122 seconds.`
  const told = async (...lines: readonly string[]) => {
    const host = new FixtureHost({ files: { '/proc/uptime': '9000.00 1.00\n' } })
    // As a program is run, and what it says is cut.
    host.tell = async (file, args) => {
      const script = `dmesg() { cat "${log}"; }; sed() { cat "${clock}" 2>/dev/null; }; ${args.at(-1) ?? file}`
      return execFileSync('sh', ['-c', script], { encoding: 'utf8', maxBuffer: 2 ** 24 }).slice(0, 2 ** 20)
    }
    writeFileSync(log, lines.join('\n'))
    return await runCheck(hungTasks, host)
  }
  const [found, ...more] = await told(
    complaint(' 8900.1', 'unpigz:77'),
    complaint(' 8990.5', 'unpigz:77'),
    complaint('8950.0', 'jbd2/sda1-8:9'),
  )
  assert.deepEqual([found?.code, found?.facts['tasks'], more], ['HUNG_TASKS', 2, []])
  assert.match(found?.evidence.join('\n') ?? '', /10 s ago that unpigz 77 had been held for more than 122 s/)
  assert.deepEqual(
    await told(complaint('  100.0', 'unpigz:77'), complaint(' 8990.5', 'postgres:12'), 'x INFO: task unpigz:77'),
    [],
  )
  assert.deepEqual(await runCheck(hungTasks, new FixtureHost({})), [])
  const { evidence: [ahead] = [] } = (await told(complaint(' 9300.1', 'unpigz:77', ' [   T77]')))[0] ?? {}
  assert.equal(ahead, 'the kernel wrote 0 s ago that unpigz 77 had been held for more than 122 s')
  const others = [1, 2, 3, 4].map(pid => complaint(`8980.${pid}`, `unpigz:${pid}`))
  const filled = Array.from({ length: 30_000 }, () => '[ 8970.0] something else that the kernel wrote down')
  const [last] = await told(complaint('8960.0', 'unpigz:77'), ...filled, ...others, complaint('8999.0', 'unpigz:77'))
  assert.match(last?.evidence.join('\n') ?? '', /unpigz 3 .*\n.*unpigz 4 .*\n.* 1 s ago that unpigz 77 /)
  // The machine was suspended: its log has not counted that.
  writeFileSync(clock, 'now at 700000000000 nsecs\n')
  const { evidence: [awake] = [] } = (await told(complaint('  640.0', 'unpigz:77')))[0] ?? {}
  assert.equal(awake, 'the kernel wrote 60 s ago that unpigz 77 had been held for more than 122 s')
  // In fifty days the clocks have come apart.
  writeFileSync(clock, 'now at 4320000000000000 nsecs\n')
  assert.equal((await told(complaint('4319100.0', 'unpigz:77'))).length, 1)
  assert.deepEqual(await told(complaint('4318900.0', 'unpigz:77')), [])
})
