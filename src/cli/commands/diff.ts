import type { TreeChange } from '../../layer/compare-trees.ts'
import type { NodeFacts } from '../../layer/layer-tree.ts'
import { defineCommand } from '../command.ts'
import { connectionOptions } from '../connections.ts'
import { writeJsonLine, writeLine, writeNote } from '../output.ts'
import { placeOptions, showRun } from '../transfer.ts'

/** As of a check that found something: the comparison itself has not failed. */
const differ = 10

export const command = defineCommand({
  description:
    "Compares the files of two images, as whoever mounts them sees them: all layers over each other, whiteouts carried out. An image is one of the store, or in any place, in the words of 'copy'. " +
    'Nothing is unpacked, and layers that both have at their base are read once. Each line has A for added, D for removed or C for changed, the path, and what changed: ' +
    'type, content, size, mode, owner, target of a symlink, device, xattrs. With --json each line is an object.',
  operands: [
    { name: 'A', complete: 'image' },
    { name: 'B', complete: 'image' },
  ],
  options: {
    ...connectionOptions,
    platform: {
      type: 'string',
      value: 'OS/ARCH[/VARIANT]',
      summary: "the platform to compare; default is this machine's",
    },
    times: { type: 'boolean', summary: 'count the times of files, too' },
    'exit-code': { type: 'boolean', summary: 'end with status 10 if the images differ' },
  },
  examples: [
    { line: 'windlass diff app:2.3 app:2.4', does: 'What a release changed.' },
    {
      line: 'windlass diff --exit-code docker://registry.example:5000/app:2.4 docker-daemon:app:2.4',
      does: 'Whether a docker has what the registry has.',
    },
  ],
  exits: [
    '0  compared',
    '2  an image was not found',
    '6  a layer is torn, altered or too large',
    '10 with --exit-code: they differ',
  ],
  async run(context, [a = '', b = ''], { platform, times, 'exit-code': exitCode, ...network }) {
    const { parseImage } = await import('../../copy/transport.ts')
    const { openImage } = await import('../../copy/places.ts')
    const { diffImages } = await import('../../copy/diff-images.ts')
    const options = await placeOptions(context, network)
    const [first, second] = [parseImage(a), parseImage(b)]
    await using before = await openImage(first, options)
    await using after = await openImage(second, options)
    const { root, signal } = context
    const run = diffImages(before, after, { root, signal, times, ...(platform !== undefined && { platform }) })
    const counts = { added: 0, removed: 0, changed: 0 }
    for (const change of await showRun(context, `Comparing ${a} with ${b}`, run)) {
      signal.throwIfAborted()
      counts[change.change]++
      if (context.json) writeJsonLine(context, toJson(change))
      else if (context.quiet) writeLine(context, pathText(change.path))
      else writeLine(context, formatChange(change))
    }
    const { added, removed, changed } = counts
    writeNote(context, `${added} added, ${removed} removed, ${changed} changed`)
    return exitCode && added + removed + changed > 0 ? differ : 0
  },
})

const letters = { added: 'A', removed: 'D', changed: 'C' } as const

function pathText(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString()
}

function formatChange({ path, change, before, after, differences }: TreeChange): string {
  const line = `${letters[change]} ${pathText(path)}`
  if (before === undefined || after === undefined) return line
  const details = differences.map(difference => {
    const show = shown[difference]
    return show === undefined ? difference : `${difference} ${show(before)} → ${show(after)}`
  })
  return `${line} (${details.join(', ')})`
}

/** What can be told in a word. */
const shown: Partial<Record<TreeChange['differences'][number], (facts: NodeFacts) => string>> = {
  type: ({ type }) => type,
  size: ({ size }) => `${size}`,
  mode: ({ mode }) => mode.toString(8).padStart(4, '0'),
  owner: ({ uid, gid }) => `${uid}:${gid}`,
  target: ({ linkName }) => pathText(linkName),
  device: ({ major, minor }) => `${major}:${minor}`,
}

function toJson({ path, change, before, after, differences }: TreeChange): object {
  return {
    path: pathText(path),
    change,
    ...(change === 'changed' && { differences }),
    ...(before !== undefined && { before: factsJson(before) }),
    ...(after !== undefined && { after: factsJson(after) }),
  }
}

function factsJson({
  type,
  mode,
  uid,
  gid,
  size,
  mtimeSeconds,
  linkName,
  major,
  minor,
  hash,
  xattrs,
}: NodeFacts): object {
  const isDevice = type === 'char' || type === 'block'
  const texts = [...(xattrs ?? [])].map(([name, value]) => [pathText(name), Buffer.from(value).toString('base64')])
  return {
    type,
    mode: mode.toString(8).padStart(4, '0'),
    uid,
    gid,
    mtime: mtimeSeconds,
    ...(type === 'file' && { size, sha256: hash }),
    ...(type === 'symlink' && { target: pathText(linkName) }),
    ...(isDevice && { device: `${major}:${minor}` }),
    ...(texts.length > 0 && { xattrs: Object.fromEntries(texts) }),
  }
}
