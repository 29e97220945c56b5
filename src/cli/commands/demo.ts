import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { PullResult } from '../../copy/events.ts'
import type { PullOptions } from '../../copy/pull.ts'
import { WindlassError } from '../../errors.ts'
import { type Context, defineCommand } from '../command.ts'
import { writeJson, writeLine, writeNote } from '../output.ts'
import { formatSize } from '../progress/units.ts'

export const command = defineCommand({
  description:
    "Shows the main job without a network: packs some hundred megabytes of this machine's own files into an image, serves it from a registry on " +
    'loopback, and pulls it. The first pull is cut in the middle; the second goes on where it stopped, through a decompressor that stops after its first ' +
    'blocks, as in the story of the docker pull that hung: the stall is found, blamed and survived. The third finds everything there, a fourth ' +
    'into an empty store shows the speed. Then the store is verified. Everything is made in a temporary directory and removed at the end.',
  operands: [],
  rootFor: () => 'making owners',
  options: {
    size: { type: 'integer', value: 'MB', min: 10, max: 10_000, summary: 'how much to pack; 400 if not given' },
    keep: { type: 'boolean', summary: 'keep the store, and say where it is' },
  },
  examples: [
    { line: 'windlass demo', does: 'See a pull, from nothing to a verified image.' },
    { line: 'windlass demo --size 50 --keep', does: 'A smaller one, with a store to look at afterwards.' },
  ],
  exits: ['7  no space, or not root: owners and devices could not be made'],
  async run(context, _operands, { size = 400, keep }) {
    const directory = await mkdtemp(join(tmpdir(), 'windlass-demo-'))
    const { removeTree } = await import('../../places/store/remove-tree.ts')
    try {
      const result = await show(context, directory, size * 1_000_000)
      if (context.json) writeJson(context, result)
      else writeLine(context, result.reference)
      if (keep) writeNote(context, `Store: ${join(directory, 'store')}`)
    } finally {
      await removeTree(join(directory, 'registry'))
      if (!keep) await removeTree(directory)
    }
    return 0
  },
})

async function show(context: Context, directory: string, bytes: number): Promise<PullResult> {
  await checkSpace(directory, bytes)
  const { serveRegistry } = await import('../../server/registry-server.ts')
  await using registry = await serveRegistry({ directory: join(directory, 'registry') })
  writeNote(context, `1. A registry on ${registry.host}, and an image packed from this machine's files`)
  await publish(context, registry.url, bytes)
  const root = join(directory, 'store')
  const reference = `${registry.host}/demo:latest`
  writeNote(context, '\n2. A pull that is cut in the middle')
  await pullAndCut(context, reference, root)
  writeNote(
    context,
    '\n3. The same pull again: it goes on where it was cut, through an unpigz that stops after its first blocks',
  )
  const result = await pullOnce(context, reference, root, await plantUnpigz(directory))
  writeNote(context, '\n4. And again: everything is there')
  await pullOnce(context, reference, root)
  writeNote(context, '\n5. A pull into an empty store, without trouble')
  await pullOnce(context, reference, join(directory, 'second-store'))
  writeNote(context, '\n6. The store, verified: every blob hashed, every layer looked at')
  await verifyStore(context, root)
  return result
}

/** A registry and two stores with compressed blobs and unpacked layers, each at most as large as the files. */
async function checkSpace(directory: string, bytes: number): Promise<void> {
  const { readDiskSpace } = await import('../../sys/disk.ts')
  const { bytesFree } = await readDiskSpace(directory)
  if (bytesFree > 5 * bytes) return
  const message = `Cannot run the demo in ${directory}: ${formatSize(bytesFree)} are free; up to ${formatSize(5 * bytes)} are needed`
  throw new WindlassError('NO_SPACE', message, {
    hint: 'set TMPDIR to a larger filesystem, or ask for less with --size',
  })
}

async function publish(context: Context, url: string, bytes: number): Promise<void> {
  const { chooseFiles } = await import('../demo/choose-files.ts')
  const { publishImage } = await import('../demo/publish-image.ts')
  const { readHostPlatform } = await import('../../copy/resolve.ts')
  const chosen = await chooseFiles(bytes, context.signal)
  const packed = await publishImage(chosen, {
    url,
    name: 'demo',
    tag: 'latest',
    platform: readHostPlatform(),
    signal: context.signal,
  })
  for (const [at, { descriptor, tarSize }] of packed.entries()) {
    writeNote(context, `   ${chosen[at]?.title}: ${formatSize(tarSize)}, ${formatSize(descriptor.size)} compressed`)
  }
}

type Choices = Pick<PullOptions, 'decompressors' | 'patience'>

async function startPull(reference: string, root: string, signal: AbortSignal, choices: Choices = {}) {
  const { pull } = await import('../../copy/pull.ts')
  const { noCredentials } = await import('../../places/registry/credentials.ts')
  return pull(reference, { root, credentials: noCredentials, signal, ...choices })
}

/** Gives out the first 300 kB, as the one of the story did, and stops. */
const unpigzThatStops = `
  const gunzip = require('node:zlib').createGunzip()
  let left = 300_000
  gunzip.on('data', chunk => {
    require('node:fs').writeSync(1, chunk.subarray(0, left))
    left -= chunk.length
    if (left <= 0) process.kill(process.pid, 'SIGSTOP')
  })
  process.stdin.pipe(gunzip)`

/** A host whose decompressor has a fault that nobody can mend. It is given up after three seconds here, where a pull gives it ten. */
async function plantUnpigz(directory: string): Promise<Choices> {
  const { planDecompressors } = await import('../../codec/external/plan.ts')
  const path = join(directory, 'bin')
  await mkdir(path)
  await writeFile(join(path, 'unpigz.cjs'), unpigzThatStops)
  await writeFile(join(path, 'unpigz'), `#!/bin/sh\nexec '${process.execPath}' '${join(path, 'unpigz.cjs')}'\n`, {
    mode: 0o755,
  })
  const decompressors = await planDecompressors({ decompressor: 'unpigz', directory, path, env: {} })
  return { decompressors, patience: { decompressorMs: 3000 } }
}

async function pullOnce(context: Context, reference: string, root: string, choices: Choices = {}): Promise<PullResult> {
  const run = await startPull(reference, root, context.signal, choices)
  {
    using progress = await context.openProgress(`Pulling ${reference}`)
    for await (const event of run) progress.handle(event)
  }
  return await run.result
}

/** Cuts the pull as Ctrl-C would, once a third of the compressed bytes is here. */
async function pullAndCut(context: Context, reference: string, root: string): Promise<void> {
  const cut = new AbortController()
  const run = await startPull(reference, root, AbortSignal.any([context.signal, cut.signal]))
  const downloaded = new Map<number, number>()
  let total = 0
  {
    using progress = await context.openProgress(`Pulling ${reference}`)
    for await (const event of run) {
      progress.handle(event)
      if (event.type === 'resolved') total = event.layers.reduce((sum, { size }) => sum + size, 0)
      if (event.type !== 'progress') continue
      downloaded.set(event.layer, event.bytesDownloaded)
      if ([...downloaded.values()].reduce((sum, bytes) => sum + bytes, 0) > total / 3) cut.abort()
    }
  }
  await run.result.catch(error => {
    if (!cut.signal.aborted || context.signal.aborted) throw error
  })
  const kept = [...downloaded.values()].reduce((sum, bytes) => sum + bytes, 0)
  writeNote(context, `   Cut after ${formatSize(kept)} of ${formatSize(total)}`)
}

async function verifyStore(context: Context, root: string): Promise<void> {
  const { Store } = await import('../../places/store/store.ts')
  await using store = await Store.open(root, { create: false, signal: context.signal })
  const findings: string[] = []
  for await (const { subject, problem } of store.verify({ signal: context.signal }))
    findings.push(`${subject}: ${problem}`)
  if (findings.length > 0) throw new WindlassError('CORRUPT', `Cannot verify the demo's store: ${findings.join('; ')}`)
  const { images, layers, blobs, bytesLayers } = await store.info()
  writeNote(
    context,
    `   ${images} image, ${layers} layers, ${blobs} blobs, ${formatSize(bytesLayers)} unpacked: all well`,
  )
}
