/** Ways in which a pull of another engine stands still, or seems to, and what the doctor has to say of each. The table in docs/doctor.md is checked against these. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Fault, plantBroken } from '../broken-decompressors/plant.ts'
import { run, runCommand, waitUntil } from '../testbed/command.ts'
import { openFailingFilesystem } from '../testbed/failing-filesystem.ts'
import { pullCodes, type SickEngine, type Visit, whileStopped } from './doctor-bed.ts'

/** An engine on a disk of its own, and images for it. */
export interface Bed {
  readonly engine: SickEngine
  /** Of docker. */
  readonly socket: string
  /** Where its filesystem is mounted. */
  readonly disk: string
  /** Where the filesystem is mounted that holds the file in which that one lies: frozen, it is a disk that answers nobody. */
  readonly below: string
  /** A process of its own unpacks. */
  readonly hasUntar: boolean
  /** References: one that comes as it should, one whose registry falls silent, one behind a proxy that keeps all until it has all. */
  readonly image: string
  readonly silent: string
  /** One of a single layer: nothing of it is downloaded any more while it is unpacked. */
  readonly single: string
  readonly buffered: string
  /** One that comes with some 30 KB a second, and one in which a directory with many files gives way to a file. */
  readonly slow: string
  readonly replaced: string
  /** One whose configuration never comes. */
  readonly unconfigured: string
  /** One whose layers take minutes. */
  readonly slowest: string
  /** A command of a client that sends an archive of images, which it reads from its input; empty where there is none. */
  readonly send: readonly string[]
  /** An archive, as such commands take it. */
  readonly archive: string
  /** Breaks all connections through the proxy. */
  cutProxy(): void
}

/** What is found must be undone. */
interface Sickness extends AsyncDisposable {
  /** What must be said beside the codes. */
  check?(seen: Visit): void
}

export type EngineKind = 'docker' | 'containerd' | 'podman' | 'crio'

export interface Scenario {
  /** As the table in the docs calls it. */
  readonly name: string
  /** All codes of the area of pulls, each once. */
  readonly codes: readonly string[]
  /** Where an engine shows less. */
  readonly codesOf?: Readonly<Partial<Record<EngineKind, readonly string[]>>>
  /** Of another area: it must be among what is said. */
  readonly beside?: string
  /** Engines on which it cannot be arranged, or means something else. */
  readonly without?: readonly EngineKind[]
  /** It mounts something where engines with a root of their own do not see it. */
  readonly needsHostRoot?: true
  /** The engine may not come out of it whole. */
  readonly isLast?: true
  /** Also in short runs, on these. */
  readonly short: readonly EngineKind[]
  arrange(bed: Bed): Promise<Sickness>
}

const broken: readonly { fault: Fault; name: string; code: string; evidence: RegExp; short: readonly EngineKind[] }[] =
  [
    {
      fault: 'spin',
      name: 'decompressor spins',
      code: 'DECOMPRESSOR_SPINS',
      evidence: /used \d+\.\d s of processor time in its own code/,
      short: ['docker', 'containerd'],
    },
    {
      fault: 'sleep',
      name: 'decompressor sleeps for ever',
      code: 'DECOMPRESSOR_ASLEEP',
      evidence: /threads: \d+ asleep in futex/,
      short: ['docker', 'containerd'],
    },
    {
      fault: 'stop-reading',
      name: 'decompressor stops reading its input',
      code: 'DECOMPRESSOR_ASLEEP',
      evidence: /has [\d,]+ bytes of input and has room/,
      short: ['docker'],
    },
    {
      fault: 'stop-itself',
      name: 'decompressor stops itself (state T)',
      code: 'DECOMPRESSOR_STOPPED',
      evidence: /state T/,
      short: ['docker', 'containerd'],
    },
    {
      fault: 'close-stdout-and-live',
      name: 'decompressor closed its output and lives',
      code: 'DECOMPRESSOR_CLOSED_OUTPUT',
      evidence: /moved nothing for/,
      short: ['docker', 'containerd'],
    },
    {
      fault: 'dribble',
      name: 'decompressor gives 20 bytes a second',
      code: 'DECOMPRESSOR_DRIBBLES',
      evidence: /bytes\/s; wanted at least/,
      short: ['docker'],
    },
  ]

const nothing = async () => {}

async function unpack(bed: Bed) {
  bed.engine.startPull(bed.image)
  return await bed.engine.unpacking(bed.hasUntar)
}

function brokenRow({ fault, name, code, evidence, short }: (typeof broken)[number]): Scenario {
  return {
    name,
    codes: [code],
    short,
    async arrange(bed) {
      const { engine } = bed
      await plantBroken(engine.shims, fault, engine.decompressor)
      engine.startPull(bed.image)
      await engine.unpacking(false)
      await sleep(1500)
      // podman decompresses several layers at a time.
      const decompressors = engine.children().flatMap(({ name, pid }) => (name === 'exe' ? [] : [pid]))
      return {
        check(seen) {
          const found = seen.findings.filter(finding => finding.code === code)
          assert.ok(found.some(finding => evidence.test(finding.evidence.join('\n'))))
          assert.ok(found.every(({ facts }) => decompressors.includes(Number(facts['decompressorPid']))))
          assert.equal(seen.status, 11)
        },
        [Symbol.asyncDispose]: nothing,
      }
    },
  }
}

/** A control group of version 1 with one setting, for processes; whoever is left in it goes back. */
function makeGroup(controller: string, settings: Readonly<Record<string, string>>) {
  const path = mkdtempSync(`/sys/fs/cgroup/${controller}/windlass-doctor-`)
  for (const [name, value] of Object.entries(settings)) writeFileSync(join(path, name), value)
  return {
    add: (pid: number) => writeFileSync(join(path, 'cgroup.procs'), String(pid)),
    set: (name: string, value: string) => writeFileSync(join(path, name), value),
    get: (name: string) => readFileSync(join(path, name), 'utf8'),
    empty(pids: readonly number[]) {
      for (const pid of pids) {
        try {
          writeFileSync(`/sys/fs/cgroup/${controller}/cgroup.procs`, String(pid))
        } catch {} // it has ended
      }
    },
    /** Waits until those who end are gone. */
    async remove() {
      for (let rounds = 0; rounds < 50; rounds++) {
        try {
          return rmdirSync(path)
        } catch {
          await sleep(100)
        }
      }
    },
  }
}

/** A script in place of the decompressor. */
function scriptRow(row: Omit<Scenario, 'arrange'> & { readonly script: string; readonly evidence: RegExp }): Scenario {
  const { script, evidence, ...scenario } = row
  return {
    ...scenario,
    async arrange(bed) {
      bed.engine.useScript(script)
      bed.engine.startPull(bed.image)
      await bed.engine.unpacking(false)
      await sleep(1000)
      return {
        check(seen) {
          const found = seen.findings.filter(({ code }) => scenario.codes.includes(code))
          assert.ok(
            found.some(finding => evidence.test(finding.evidence.join('\n'))),
            JSON.stringify(found),
          )
        },
        [Symbol.asyncDispose]: nothing,
      }
    },
  }
}

const getrandom = process.arch === 'arm64' ? 278 : 318

const kernelSpin = scriptRow({
  name: 'decompressor spins in system calls',
  codes: ['DECOMPRESSOR_SPINS_IN_KERNEL'],
  short: ['docker'],
  script: `exec perl -e '$b = "x" x 33554432; syscall(${getrandom}, $b, 33554432, 0) while 1' -- "$@"`,
  evidence: /used 0\.\d s of processor time in its own code and \d+\.\d s in the kernel/,
})

const deadlock = scriptRow({
  name: 'all threads of the decompressor wait for each other',
  codes: ['DECOMPRESSOR_DEADLOCKED'],
  without: ['podman'],
  needsHostRoot: true,
  short: ['docker'],
  script: `exec perl -Mthreads -Mthreads::shared -e 'my $l :shared; threads->create(sub { lock($l); cond_wait($l) while 1 })->join' -- "$@"`,
  evidence: /its 2 threads: 2 asleep in futex/,
})

const noProcessor: Scenario = {
  name: 'decompressor that computes, with a thousandth of a processor',
  codes: ['NO_PROCESSOR'],
  short: ['docker'],
  async arrange(bed) {
    const { engine } = bed
    const group = makeGroup('cpu', { 'cpu.cfs_period_us': '1000000', 'cpu.cfs_quota_us': '1000' })
    engine.useScript(`exec perl -e '1 while 1' -- "$@"`)
    engine.startPull(bed.image)
    await engine.unpacking(false)
    await sleep(500)
    // podman decompresses several layers at a time.
    const decompressors = engine.children().flatMap(({ name, pid }) => (name === 'exe' ? [] : [pid]))
    for (const pid of decompressors) group.add(pid)
    return {
      check: ({ status }) => assert.equal(status, 10),
      async [Symbol.asyncDispose]() {
        for (const pid of decompressors) process.kill(pid, 'SIGKILL')
        group.empty(decompressors)
        await group.remove()
      },
    }
  },
}

/** Where each of its threads is, two bytes of its own memory are now a jump to themselves: whichever comes by stays. */
async function makeSpin(pid: number): Promise<void> {
  await run('gdb', [
    '-batch',
    '-nx',
    '-p',
    String(pid),
    '-ex',
    'thread apply all set var *(unsigned short *)$pc = 0xfeeb',
  ])
}

const untarSpins: Scenario = {
  name: 'untar spins',
  codes: ['UNTAR_STUCK'],
  without: ['containerd', 'podman'],
  short: [],
  async arrange(bed) {
    assert.equal(process.arch, 'x64', 'the jump is one of this processor')
    bed.engine.startPull(bed.image)
    const { untar } = await bed.engine.unpacking(true)
    // It would have ended before gdb has loaded.
    await whileStopped([untar], () => makeSpin(untar))
    return { [Symbol.asyncDispose]: nothing }
  },
}

const diskSilent: Scenario = {
  name: 'disk that answers nobody',
  codes: ['DISK_WAIT'],
  short: ['docker'],
  async arrange(bed) {
    await unpack(bed)
    const pids = bed.engine.children().map(({ pid }) => pid)
    await whileStopped(pids, () => run('fsfreeze', ['-f', bed.below]))
    await sleep(2000)
    return {
      check({ findings }) {
        const told = findings.filter(({ code }) => code === 'DISK_WAIT').flatMap(({ evidence }) => evidence)
        assert.ok(
          told.some(line => /^the disk below \(loop\d+\) answered 0 requests/.test(line)),
          told.join('\n'),
        )
      },
      [Symbol.asyncDispose]: async () => void (await run('fsfreeze', ['-u', bed.below])),
    }
  },
}

const stopped: Scenario = {
  name: 'healthy decompressor stopped (SIGSTOP)',
  codes: ['DECOMPRESSOR_STOPPED'],
  short: [],
  async arrange(bed) {
    await bed.engine.stopInPull('decompressor', bed.hasUntar, bed.single)
    return { [Symbol.asyncDispose]: nothing }
  },
}

const untarStopped: Scenario = {
  name: 'untar stopped',
  codes: ['UNTAR_STOPPED'],
  without: ['containerd'],
  short: [],
  async arrange(bed) {
    await bed.engine.stopInPull('untar', true, bed.single)
    return { [Symbol.asyncDispose]: nothing }
  },
}

const engineStopped: Scenario = {
  name: 'engine stopped',
  codes: ['ENGINE_STOPPED'],
  short: ['docker', 'containerd'],
  async arrange(bed) {
    await unpack(bed)
    const { pid } = bed.engine
    process.kill(pid, 'SIGSTOP')
    return { [Symbol.asyncDispose]: async () => void process.kill(pid, 'SIGCONT') }
  },
}

const frozen: Scenario = {
  name: 'filesystem frozen (fsfreeze)',
  codes: ['FILESYSTEM_FROZEN'],
  short: ['docker', 'containerd'],
  async arrange(bed) {
    // Some unpack before they decompress, some download and decompress at once: whatever works must not end meanwhile.
    await unpack(bed)
    const pids = bed.engine.children().map(({ pid }) => pid)
    await whileStopped(pids, () => run('fsfreeze', ['-f', bed.disk]))
    return { [Symbol.asyncDispose]: async () => void (await run('fsfreeze', ['-u', bed.disk])) }
  },
}

const full: Scenario = {
  name: 'filesystem full: the pull fails, or will',
  codes: ['NO_PULL'],
  beside: 'DISK_FULL',
  without: ['podman'],
  short: [],
  async arrange(bed) {
    const file = join(bed.disk, 'filler')
    await run('sh', ['-c', 'fallocate -l "$(($(stat -f -c "%a * %S" "$1") - 1048576))" "$1/filler"', 'sh', bed.disk])
    const client = bed.engine.startPull(bed.image)
    if (client.exitCode === null) await once(client, 'exit')
    return { [Symbol.asyncDispose]: async () => rmSync(file) }
  },
}

async function startAgent(script: string, directory: string) {
  const path = join(import.meta.dirname, '../testbed', script)
  const agent = spawn(process.execPath, [path, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(agent.stdout, 'data')
  return agent
}

const fanotify: Scenario = {
  name: 'security agent that does not answer (fanotify)',
  codes: ['FANOTIFY_WAIT'],
  beside: 'FANOTIFY_LISTENER',
  short: ['docker', 'containerd'],
  async arrange(bed) {
    const { decompressor } = await unpack(bed)
    process.kill(decompressor, 'SIGSTOP')
    const agent = await startAgent('silent-agent.ts', bed.disk)
    process.kill(decompressor, 'SIGCONT')
    return {
      check({ findings }) {
        const listeners = findings.filter(({ code }) => code === 'FANOTIFY_LISTENER')
        assert.ok(listeners.some(({ facts }) => facts['pid'] === agent.pid))
      },
      [Symbol.asyncDispose]: async () => void agent.kill('SIGKILL'),
    }
  },
}

const fuse: Scenario = {
  name: 'decompressor waits for a FUSE filesystem whose server hangs (state S)',
  codes: ['REMOTE_FILESYSTEM_WAIT'],
  needsHostRoot: true,
  short: ['docker'],
  async arrange(bed) {
    const { engine } = bed
    const filesystem = await openFailingFilesystem()
    return await unlessItFails(filesystem, async () => {
      await filesystem.order({ requests: ['LOOKUP'], hang: true })
      engine.useScript(`head -c 1000 >/dev/null; read -r line <${filesystem.directory}/file$$`) // one name each: nobody waits for another one's question
      engine.startPull(bed.image)
      await engine.unpacking(false)
      await sleep(500)
    })
  },
}

/** @returns the sickness, undone where what is still to be done for it fails */
async function unlessItFails(sickness: Sickness, finish: () => Promise<void>): Promise<Sickness> {
  try {
    await finish()
  } catch (error) {
    await sickness[Symbol.asyncDispose]()
    throw error
  }
  return sickness
}

const memory: Scenario = {
  name: 'engine in a memory control group at its limit, nobody is killed',
  codes: ['MEMORY_LIMIT'],
  // A write to containerd that fails for want of memory ends the one goroutine that writes there: each later pull waits for ever (CONTAINERD_SILENT).
  isLast: true,
  without: ['podman'],
  short: ['docker'],
  async arrange(bed) {
    const { engine, single } = bed
    const group = makeGroup('memory', { 'memory.limit_in_bytes': String(100 << 20), 'memory.oom_control': '1' })
    group.add(engine.pid)
    engine.useScript(`exec perl -e '$memory .= "x" x 1048576 while 1' -- "$@"`)
    engine.startPull(single)
    const sickness = {
      async [Symbol.asyncDispose]() {
        const pids = [engine.pid, ...engine.children().map(({ pid }) => pid)]
        for (const { pid, name } of engine.children()) if (name === 'perl') process.kill(pid, 'SIGKILL')
        group.set('memory.limit_in_bytes', '-1') // to allow killing would let the kernel choose the engine
        group.empty(pids)
        await engine.free()
        await group.remove()
      },
    }
    return await unlessItFails(sickness, async () => {
      await engine.unpacking(false)
      await waitUntil('somebody waits for memory', 60_000, () => /^under_oom 1$/m.test(group.get('memory.oom_control')))
    })
  },
}

const freezer: Scenario = {
  name: 'decompressor in a frozen control group',
  codes: ['CGROUP_FROZEN'],
  short: [],
  async arrange(bed) {
    const { decompressor } = await bed.engine.stopInPull('decompressor', bed.hasUntar, bed.single)
    const group = makeGroup('freezer', {})
    group.add(decompressor)
    group.set('freezer.state', 'FROZEN')
    process.kill(decompressor, 'SIGCONT')
    return {
      async [Symbol.asyncDispose]() {
        group.set('freezer.state', 'THAWED')
        group.empty([decompressor])
        await group.remove()
      },
    }
  },
}

const silent: Scenario = {
  name: 'registry silent in the middle of a layer',
  codes: ['DOWNLOAD_SILENT'],
  short: ['docker', 'containerd'],
  async arrange(bed) {
    bed.engine.startPull(bed.silent)
    await sleep(17_000)
    return { [Symbol.asyncDispose]: nothing }
  },
}

/** The engine does not let go of a request to which nobody answers, whoever has cancelled it. */
async function leaveProxy({ engine, cutProxy }: Bed): Promise<void> {
  await engine.free()
  for (let rounds = 0; rounds < 10; rounds++) {
    cutProxy()
    await sleep(100)
  }
}

const buffered: Scenario = {
  name: 'proxy that keeps a layer back until it has all of it',
  codes: ['DOWNLOAD_SILENT'],
  codesOf: { podman: ['PULL_WAITS'], crio: ['PULL_WAITS'] },
  short: [],
  async arrange(bed) {
    bed.engine.startPull(bed.buffered)
    await sleep(17_000)
    return { [Symbol.asyncDispose]: () => leaveProxy(bed) }
  },
}

const poisoned: Scenario = {
  name: 'second pull behind a cancelled one that hangs',
  codes: ['DECOMPRESSOR_STOPPED', 'TRANSFER_POISONED'],
  // CRI-O tells of no goroutines: what both wait for is named all the same.
  codesOf: { crio: ['DECOMPRESSOR_STOPPED'] },
  without: ['containerd', 'podman'],
  short: ['docker'],
  async arrange(bed) {
    const { engine, single, hasUntar } = bed
    const { client } = await engine.stopInPull('decompressor', hasUntar, single)
    client.kill('SIGINT')
    await once(client, 'exit')
    engine.startPull(single)
    await sleep(1500)
    return { [Symbol.asyncDispose]: nothing }
  },
}

const poisonedByProxy: Scenario = {
  name: 'second pull behind a cancelled one whose registry never answers',
  codes: ['DOWNLOAD_SILENT', 'TRANSFER_POISONED'],
  without: ['containerd', 'podman', 'crio'],
  short: [],
  async arrange(bed) {
    const client = bed.engine.startPull(bed.buffered)
    await sleep(2000)
    client.kill('SIGINT')
    await once(client, 'exit')
    bed.engine.startPull(bed.buffered)
    await sleep(16_000)
    return { [Symbol.asyncDispose]: () => leaveProxy(bed) }
  },
}

/** Nobody is accused, whatever else is said. */
function checkUnaccused({ findings }: Visit): void {
  const accused = findings.filter(({ area, severity }) => area === 'pulls' && severity === 'problem')
  assert.deepEqual(accused, [])
}

/** A client that sends the beginning of what its command reads, and then nothing. @returns what ends it */
async function startSending(bytes: number, file: string, command: readonly string[]): Promise<() => void> {
  const script = 'n=$1 file=$2; shift 2; { head -c "$n" "$file"; exec sleep 1000; } | "$@"'
  const client = spawn('sh', ['-c', script, 'sh', String(bytes), file, ...command], { stdio: 'ignore', detached: true })
  await sleep(1000)
  return () => {
    if (client.pid !== undefined) process.kill(-client.pid, 'SIGKILL')
  }
}

const sentBytes = 5 << 20

const sending: Scenario = {
  name: 'client that sends an archive, and pauses',
  codes: ['PULL_WAITS'],
  without: ['podman', 'crio'],
  short: [],
  async arrange(bed) {
    const end = await startSending(sentBytes, bed.archive, bed.send)
    await sleep(17_000)
    return {
      check({ findings }) {
        const told = findings.filter(({ code }) => code === 'PULL_WAITS').flatMap(({ evidence }) => evidence)
        assert.match(told.join('\n'), /sent by a client|a client of the engine sends it/)
      },
      [Symbol.asyncDispose]: async () => end(),
    }
  },
}

const sendingBeside: Scenario = {
  name: 'the same beside a registry that is silent',
  codes: ['DOWNLOAD_SILENT'],
  without: ['podman', 'crio'],
  short: [],
  async arrange(bed) {
    bed.engine.startPull(bed.silent)
    const end = await startSending(sentBytes, bed.archive, bed.send)
    await sleep(17_000)
    return {
      check: ({ findings }) => assert.equal(findings.filter(({ code }) => code === 'DOWNLOAD_SILENT').length, 1),
      [Symbol.asyncDispose]: async () => end(),
    }
  },
}

/** docker's own commands that send files: into a container, for a layer, for a build. */
const copyingBeside: Scenario = {
  name: 'docker cp, import and build that pause, beside a registry that is silent',
  codes: ['DOWNLOAD_SILENT'],
  without: ['containerd', 'podman', 'crio'],
  short: [],
  async arrange(bed) {
    const { engine, archive, socket } = bed
    const docker = ['docker', '-H', `unix://${socket}`]
    const run = async (...args: string[]) => await runCommand('docker', [...docker.slice(1), ...args])
    await once(engine.startPull(bed.image), 'exit')
    const container = (await run('create', bed.image, '/none')).stdout.trim()
    engine.startPull(bed.silent)
    const commands = [
      ['cp', '-', `${container}:/`],
      ['import', '-', 'sent:v1'],
      ['build', '-'],
    ]
    const env = ['env', 'DOCKER_BUILDKIT=0', ...docker]
    const ends = await Promise.all(commands.map(words => startSending(sentBytes, archive, [...env, ...words])))
    await sleep(17_000)
    return {
      async [Symbol.asyncDispose]() {
        for (const end of ends) end()
        await sleep(1000)
        await run('rm', '-f', container)
      },
    }
  },
}

const slow: Scenario = {
  name: 'registry that sends 30 KB a second: nobody is accused',
  codes: [],
  short: [],
  async arrange(bed) {
    bed.engine.startPull(bed.slow)
    // Longer than a silence is.
    await sleep(22_000)
    return { check: checkUnaccused, [Symbol.asyncDispose]: nothing }
  },
}

const starved: Scenario = {
  name: 'engine with a thousandth of a processor (quota), its decompressor with all it wants: nobody is accused',
  codes: [],
  beside: 'CPU_THROTTLED',
  without: ['podman'],
  short: [],
  async arrange(bed) {
    const { engine } = bed
    await unpack(bed)
    const group = makeGroup('cpu', { 'cpu.cfs_period_us': '1000000', 'cpu.cfs_quota_us': '1000' })
    group.add(engine.pid)
    await sleep(4000)
    return {
      check: checkUnaccused,
      async [Symbol.asyncDispose]() {
        group.empty([engine.pid])
        await group.remove()
      },
    }
  },
}

/** For as long as it is removed not a byte moves, and no entry. */
const removing: Scenario = {
  name: 'layer in which a directory with many files gives way to a file: nobody is accused',
  codes: [],
  without: ['podman'],
  short: [],
  async arrange(bed) {
    const { engine } = bed
    const find = 'find "$1" -path "*/many/last" 2>/dev/null | head -n 1'
    engine.startPull(bed.replaced)
    const isFilled = async () => (await runCommand('sh', ['-c', find, 'sh', bed.disk])).stdout !== ''
    await waitUntil('its files are there', 100_000, isFilled)
    const group = makeGroup('cpu', { 'cpu.cfs_period_us': '100000', 'cpu.cfs_quota_us': '10000' })
    const pids = [engine.pid, ...engine.children().map(({ pid }) => pid)]
    for (const pid of pids) group.add(pid)
    return {
      check: checkUnaccused,
      async [Symbol.asyncDispose]() {
        group.empty([...pids, ...engine.children().map(({ pid }) => pid)])
        await group.remove()
      },
    }
  },
}

const quota: Scenario = {
  name: 'engine with a hundredth of a processor (quota): nobody is accused',
  codes: [],
  beside: 'CPU_THROTTLED',
  without: ['podman'],
  short: [],
  async arrange(bed) {
    const { engine } = bed
    const { decompressor } = await unpack(bed)
    const group = makeGroup('cpu', { 'cpu.cfs_period_us': '50000', 'cpu.cfs_quota_us': '3000' })
    group.add(decompressor)
    group.add(engine.pid)
    await sleep(6000)
    return {
      check: checkUnaccused,
      async [Symbol.asyncDispose]() {
        group.empty([engine.pid, ...engine.children().map(({ pid }) => pid)])
        await group.remove()
      },
    }
  },
}

const containerdStopped: Scenario = {
  name: 'containerd of the engine does not answer it',
  codes: ['CONTAINERD_SILENT'],
  without: ['containerd', 'podman', 'crio'],
  short: [],
  async arrange(bed) {
    const { engine, image, socket } = bed
    const containerd = Number((await run('pgrep', ['-x', '-P', String(engine.pid), 'containerd'])).trim())
    process.kill(containerd, 'SIGSTOP')
    engine.startPull(image)
    await sleep(3000)
    await collectGarbage(socket)
    await sleep(62_000)
    return { [Symbol.asyncDispose]: async () => void process.kill(containerd, 'SIGCONT') }
  },
}

/** Its layers are there: nothing of it is to be seen any more. */
const unconfigured: Scenario = {
  name: 'registry that never sends the configuration of an image, beside a pull that goes on',
  codes: ['PULL_UNANSWERED', 'PULL_MOVES'],
  without: ['containerd', 'podman', 'crio'],
  short: [],
  async arrange({ engine, unconfigured, slow, socket }) {
    engine.startPull(unconfigured)
    await sleep(10_000)
    await collectGarbage(socket)
    engine.startPull(slow)
    await sleep(62_000)
    return { [Symbol.asyncDispose]: nothing }
  },
}

/** A dump counts whole minutes since a collection of garbage, which comes every two minutes by itself. */
async function collectGarbage(socket: string): Promise<void> {
  await run('curl', ['-sf', '-o', '/dev/null', '--unix-socket', socket, 'http://localhost/debug/pprof/heap?gc=1'])
}

const none: Scenario = {
  name: 'no pull',
  codes: ['NO_PULL'],
  without: ['podman'],
  short: ['docker', 'containerd'],
  arrange: async () => ({ [Symbol.asyncDispose]: nothing }),
}

export const scenarios: readonly Scenario[] = [
  ...broken.map(brokenRow),
  kernelSpin,
  deadlock,
  noProcessor,
  stopped,
  untarStopped,
  untarSpins,
  engineStopped,
  freezer,
  frozen,
  diskSilent,
  full,
  fanotify,
  fuse,
  quota,
  starved,
  removing,
  slow,
  silent,
  sending,
  sendingBeside,
  copyingBeside,
  buffered,
  poisoned,
  poisonedByProxy,
  containerdStopped,
  unconfigured,
  none,
  memory,
]

/** Looks, and holds what is seen against what is known. */
export function judge(scenario: Scenario, kind: EngineKind, sickness: Sickness, seen: Visit): void {
  const text = JSON.stringify(seen.findings)
  const codes = scenario.codesOf?.[kind] ?? scenario.codes
  if (codes.length > 0) assert.deepEqual(pullCodes(seen), codes, text)
  const { beside } = scenario
  if (beside !== undefined)
    assert.ok(
      seen.findings.some(({ code }) => code === beside),
      text,
    )
  sickness.check?.(seen)
  // Of looking: time in which it was ready to run and had no processor, as the kernel counts it, is the machine's, not its own.
  const { ms, heldUpMs } = seen.took
  assert.ok(ms - heldUpMs < 10_000, `it took ${ms} ms, and was held up for ${heldUpMs} of them`)
}
