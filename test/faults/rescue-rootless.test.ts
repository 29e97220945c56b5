/** A containerd of an ordinary user, in a user namespace of his own: the same user brings its pull to an end, from outside and from inside; root of the host does not take it for an engine. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { plantBroken } from '../broken-decompressors/plant.ts'
import { readIfThere } from '../read-if-there.ts'
import { runCommand, startDaemon, waitUntil } from '../testbed/command.ts'
import { childrenOf, program } from './doctor-bed.ts'
import { makeNoise, type ServedImage, serveImage } from './image.ts'

const row = { timeout: 120_000 }
/** From inside of its namespace, too: `WINDLASS_LONG=1`. */
const isLong = process.env['WINDLASS_LONG'] === '1'
const nobody = 65_534
const asNobody = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups']
const directory = mkdtempSync(join(tmpdir(), 'windlass-rootless-'))
const [shims, home, socket] = ['shims', 'home', 'home/s'].map(name => join(directory, name)) as [string, string, string]
let image: ServedImage
let daemon: Awaited<ReturnType<typeof startDaemon>>

before(async () => {
  image = await serveImage([makeNoise('noise', 4 << 20)])
  for (const path of [shims, home]) mkdirSync(path)
  chmodSync(directory, 0o755)
  chownSync(home, nobody, nobody)
  await plantBroken(shims, 'sleep')
  const disabled = ['grpc.v1.cri', 'snapshotter.v1.btrfs', 'snapshotter.v1.zfs'].map(name => `io.containerd.${name}`)
  const config = [
    'version = 2',
    `root = "${home}/root"`,
    `state = "${home}/state"`,
    `disabled_plugins = ${JSON.stringify(disabled)}`,
    `[grpc]\naddress = "${socket}"`,
    `[ttrpc]\naddress = "${home}/t"`,
  ]
  writeFileSync(join(directory, 'config.toml'), `${config.join('\n')}\n`)
  const [file = '', ...args] = [...asNobody, 'unshare', '--user', '--map-root-user', '--mount', 'containerd']
  daemon = await startDaemon(file, [...args, '--config', join(directory, 'config.toml')], {
    env: { PATH: `${shims}:/usr/sbin:/usr/bin:/sbin:/bin`, HOME: home },
    logFile: join(directory, 'log'),
    isReady: async () => (await runCommand('ctr', ['-a', socket, 'version'])).status === 0,
  })
}, row)
after(async () => {
  await daemon?.[Symbol.asyncDispose]()
  await image?.[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true, force: true })
})

async function startStuckPull(): Promise<ChildProcess> {
  const pull = ['images', 'pull', '--snapshotter', 'native', '--plain-http', image.reference]
  const [file = '', ...args] = [...asNobody, 'ctr', '-a', socket, ...pull]
  const client = spawn(file, args, { stdio: 'ignore', env: { ...process.env, HOME: home } })
  const isStuck = ({ pid }: { pid: number }) => /wchar: [3-9]\d{5}/.test(readIfThere(`/proc/${pid}/io`))
  await waitUntil('it is stuck', 20_000, () => childrenOf(daemon.pid).some(isStuck))
  return client
}

async function rescue(as: readonly string[], root: string) {
  const own = [program, 'doctor', '--rescue', '--yes', '--json', '--root', root, '--pid', String(daemon.pid)]
  const [file = '', ...args] = [...as, ...own]
  const { status, stdout, stderr } = await runCommand(file, args, { env: { HOME: home }, timeoutMs: 100_000 })
  assert.notEqual(stdout, '', stderr)
  return {
    status,
    outcomes: JSON.parse(stdout).outcomes as readonly {
      result: string
      code?: string
      facts?: { isProven: boolean }
    }[],
  }
}

test('of the pull of an ordinary user that hangs: root refuses, and he himself succeeds', row, async () => {
  const inside = ['nsenter', '-t', String(daemon.pid), '--user', '--mount', '--preserve-credentials']
  for (const as of isLong ? [asNobody, [...asNobody, ...inside]] : [asNobody]) {
    const client = await startStuckPull()
    const refused = await rescue([], join(directory, 'root'))
    assert.deepEqual(
      refused.outcomes.map(({ code }) => code),
      ['RESCUE_FOREIGN'],
    )
    const { status, outcomes } = await rescue(as, join(home, 'windlass'))
    assert.deepEqual(
      outcomes.map(({ result, facts }) => [result, facts?.isProven]),
      [['rescued', true]],
    )
    assert.equal(status, 0)
    if (client.exitCode === null) await once(client, 'exit')
    assert.equal(client.exitCode, 0)
    await runCommand('ctr', ['-a', socket, 'images', 'rm', '--sync', image.reference])
    assert.match(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'), new RegExp(`^Uid:\t${nobody}\t`, 'm'))
  }
})
