/** The order in which a pull brings things to the disk, as strace sees it: data before its name, and its name before the row that promises it. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { runCommand } from '../testbed/command.ts'
import { deathLayers, steadyEnvironment, windlassCommand } from './death.ts'
import { serveImage } from './image.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-order-'))
after(() => rmSync(directory, { recursive: true, force: true }))
const root = join(directory, 'store')
const wal = `${root}/windlass.db-wal`
const calls = 'rename,fsync,fdatasync,syncfs,pwrite64'

/** Calls by their ends, each on one line: `fsync(40</path>) = 0`. */
async function traceCalls(command: readonly string[]): Promise<string[]> {
  const trace = join(directory, 'trace')
  // -s: a page of the database, which tells what is in a row
  const options = ['-f', '-y', '-qq', '--seccomp-bpf', '-s', '4096', '-o', trace, '-e', `trace=${calls}`]
  const { status, stderr } = await runCommand('strace', [...options, ...command], { env: steadyEnvironment })
  assert.equal(status, 0, stderr)
  const unfinished = new Map<string, string>()
  return readFileSync(trace, 'latin1')
    .split('\n')
    .flatMap(line => {
      const [, tid = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
      if (!text.endsWith('<unfinished ...>'))
        return [text.replace(/^<\.\.\. \w+ resumed>/, () => unfinished.get(tid) ?? '')]
      // strace puts a blank between the two halves.
      unfinished.set(tid, text.slice(0, -'<unfinished ...>'.length).trimEnd())
      return []
    })
}

/** Where each of the calls stands, the later ones after the earlier ones. */
function assertOrder(trace: readonly string[], wanted: readonly (readonly [string, RegExp | string])[]): void {
  let at = -1
  for (const [what, pattern] of wanted) {
    const next = trace.findIndex(
      (call, n) => n > at && (typeof pattern === 'string' ? call.startsWith(pattern) : pattern.test(call)),
    )
    assert.ok(next > at, `${what} is missing after ${at < 0 ? 'the beginning' : trace[at]?.slice(0, 300)}`)
    at = next
  }
}

test('a pull syncs data, then names, then rows', { timeout: 60_000 }, async () => {
  await using image = await serveImage(deathLayers)
  const trace = await traceCalls(
    windlassCommand('--root', root, '--quiet', 'pull', '--platform', 'linux/amd64', image.reference),
  )
  const renames = trace.flatMap(call => {
    const match = /^rename\("(\/[^"]*)", "(\/[^"]*)"\) += 0/.exec(call)
    return match === null ? [] : [{ from: match[1] ?? '', to: match[2] ?? '' }]
  })
  const blobs = renames.filter(({ to }) => to.startsWith(`${root}/blobs/`))
  const layers = renames.filter(({ to }) => to.startsWith(`${root}/overlay2/`))
  assert.deepEqual([blobs.length, layers.length], [deathLayers.length + 2, deathLayers.length])
  for (const { from, to } of blobs) {
    const digest = `sha256:${to.slice(to.lastIndexOf('/') + 1)}`
    assertOrder(trace, [
      ['the sync of the data', new RegExp(`^fsync\\(\\d+<${from}>\\) += 0`)],
      ['the name', `rename("${from}", "${to}")`],
      ['the sync of the name', new RegExp(`^fsync\\(\\d+<${root}/blobs/sha256>\\) += 0`)],
      // a row of blobs: digest, size, time
      ['the row', new RegExp(`^pwrite64\\(\\d+<${wal}>.*${digest}.{0,16}20\\d\\d-`)],
      ['the sync of the row', new RegExp(`^fdatasync\\(\\d+<${wal}>\\) += 0`)],
    ])
  }
  let lowers = 0
  for (const { from, to } of layers) {
    const cacheId = to.slice(to.lastIndexOf('/') + 1)
    const lower = `${from}/lower`
    if (trace.some(call => call.includes(`<${lower}>`))) {
      lowers++
      assertOrder(trace, [
        ['the sync of what names the layers below', new RegExp(`^fsync\\(\\d+<${lower}>\\) += 0`)],
        ['the sync of its name', new RegExp(`^fsync\\(\\d+<${from}>\\) += 0`)],
        ['the name', `rename("${from}", "${to}")`],
      ])
    }
    assertOrder(trace, [
      ['the sync of the content', /^syncfs\(.* += 0/],
      ['the name', `rename("${from}", "${to}")`],
      ['the sync of the name', new RegExp(`^fsync\\(\\d+<${root}/overlay2>\\) += 0`)],
      ['the row', new RegExp(`^pwrite64\\(\\d+<${wal}>.*sha256:[0-9a-f]{64}${cacheId}`)],
      ['the sync of the row', new RegExp(`^fdatasync\\(\\d+<${wal}>\\) += 0`)],
    ])
  }
  assert.equal(lowers, deathLayers.length - 1)
})
