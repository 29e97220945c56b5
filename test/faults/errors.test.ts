/** A disk that answers with errors: one call of a pull after the other fails, made to by strace; and a device that loses what is written to it. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { type CommandResult, run, runCommand, runScript } from '../testbed/command.ts'
import { openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { unmountAll } from '../testbed/mounts.ts'
import { assertRecovers, deathLayers, isLong, openRandom, seed, steadyEnvironment, windlassCommand } from './death.ts'
import { makeNoise, serveImage } from './image.ts'

const MiB = 1 << 20
const directory = mkdtempSync(join(tmpdir(), 'windlass-errors-'))
after(() => {
  unmountAll(directory)
  rmSync(directory, { recursive: true, force: true })
})
let stores = 0

/** Calls of a pull, what they answer, and how many of them its busiest thread makes. */
const failures = [
  ['rename', 'EIO', 8],
  ['fsync', 'EIO', 20],
  ['fdatasync', 'EIO', 9],
  ['syncfs', 'EIO', 4],
  ['symlink', 'ENOSPC', 3],
  ['mkdir', 'ENOSPC', 12],
  ['chmod', 'EROFS', 10],
  ['pwrite64', 'ENOSPC', 150],
  ['pwrite64', 'EIO', 150],
  ['unlink', 'EIO', 3],
] as const

function pullCommand(root: string, reference: string): string[] {
  return windlassCommand('--root', root, '--quiet', 'pull', '--platform', 'linux/amd64', reference)
}

/** The pull, where the call number `turn` of a thread fails; whether one did. */
async function pullWithFailure(command: readonly string[], failure: string): Promise<CommandResult & { met: boolean }> {
  const trace = join(directory, 'trace')
  const options = ['-f', '-qq', '--seccomp-bpf', '-o', trace, '-e', `trace=${failure.split(':')[0]}`]
  const result = await runCommand('strace', [...options, '-e', `inject=${failure}`, ...command], {
    env: steadyEnvironment,
  })
  return { ...result, met: readFileSync(trace, 'utf8').includes('(INJECTED)') }
}

describe('a pull whose disk answers with an error', { concurrency: false }, () => {
  for (const [call, error, count] of failures) {
    test(`${error} to ${call} says so or does without, and the next pull goes on`, { timeout: 600_000 }, async t => {
      await using image = await serveImage(deathLayers)
      const random = openRandom(`${call} ${error}`)
      const all = Array.from({ length: count }, (_, at) => at + 1)
      const turns = isLong ? all : [1 + Math.floor(random() * count)]
      let met = 0
      for (const turn of turns) {
        const root = join(directory, `store-${stores++}`)
        const pull = await pullWithFailure(pullCommand(root, image.reference), `${call}:error=${error}:when=${turn}`)
        if (!pull.met) continue
        met++
        if (pull.status !== 0) assert.match(pull.stderr, /^(warning: .*\n)*windlass: Cannot /)
        await assertRecovers(root, image).catch(cause => {
          throw new Error(`turn ${turn}: ${cause.message}; ${pull.stderr}`, { cause })
        })
        rmSync(root, { recursive: true, force: true })
      }
      t.diagnostic(`${met} of ${turns.length} turns met (seed ${seed})`)
    })
  }

  test('a device that loses what is written is noticed before anything is published', { timeout: 60_000 }, async () => {
    const place = join(directory, 'device')
    mkdirSync(place)
    await run('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'tmpfs', place])
    await using disk = await openLoopFilesystem({ place, sizeBytes: 64 * MiB, isLazy: true })
    await using image = await serveImage([makeNoise('small', MiB), makeNoise('large', 16 * MiB)])
    const root = join(disk.directory, 'store')
    const [program = '', ...args] = pullCommand(root, image.reference)
    const { status, stderr } = await runCommand(program, args, { env: steadyEnvironment })
    // what the kernel makes of it depends on what was lost: the data, or ext4's own journal
    assert.ok(status === 1 || status === 7, stderr)
    assert.match(stderr, /^(warning: .*\n)*windlass: Cannot .*(EIO|I\/O error|ENOSPC|EROFS|read-?only)/i)
    await run('umount', [disk.directory])
    await run('mount', ['-o', 'remount,size=100m', place])
    // as at a boot: what ext4 lost of its own is for its own check, and what the device's cache had is gone, though somebody may hold it open
    const found = `${disk.image}.found`
    await run('cp', ['--sparse=always', disk.image, found])
    await runScript('e2fsck -fy "$1" >&2 || [ $? = 1 ]', [found])
    await run('mount', ['-o', 'loop', found, disk.directory])
    await assertRecovers(root, image, { isPartialRight: false })
  })
})
