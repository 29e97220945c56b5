import type { ImageRecord } from '../../places/store/types.ts'
import { type Context, defineCommand } from '../command.ts'
import { formatId, formatName, type ListedName, listNames } from '../familiar.ts'
import { writeJson, writeLine } from '../output.ts'
import { formatSize } from '../progress/units.ts'
import { openStore } from '../store.ts'
import { formatAge, formatTable } from '../table.ts'

interface Row extends ListedName {
  readonly image: ImageRecord
}

export const command = defineCommand({
  description: 'Lists the images in the store, newest first. SIZE is that of the unpacked files.',
  operands: [{ name: 'REPOSITORY[:TAG]', optional: true, complete: 'image' }],
  options: {
    digests: { type: 'boolean', summary: 'show digests, too' },
    'no-trunc': { type: 'boolean', summary: 'show IDs in full' },
    names: { type: 'boolean', summary: 'print the names only, one per line' },
  },
  examples: [
    { line: 'windlass images', does: 'List all images.' },
    { line: 'windlass images --digests debian', does: 'List the tags of one repository with their digests.' },
    { line: 'windlass images -q --no-trunc', does: 'Print full image IDs only.' },
    { line: "windlass images --json | jq -r '.[].id'", does: 'The same for a program.' },
  ],
  async run(context, [filter], options) {
    await using store = await openStore(context)
    const images = store.listImages().toSorted((a, b) => timeOf(b) - timeOf(a))
    const rows = images.flatMap(image => listNames(image).map(name => ({ ...name, image })))
    const shown = filter === undefined ? rows : rows.filter(row => isMatch(row, formatFilter(filter)))
    if (context.json) writeJson(context, describe(new Set(shown.map(({ image }) => image))))
    else if (options.names)
      for (const { repository, tag } of shown.filter(isNamed)) writeLine(context, `${repository}:${tag}`)
    else if (context.quiet) for (const id of listIds(shown)) writeLine(context, formatId(id, options['no-trunc']))
    else writeTable(context, shown, options)
    return 0
  },
})

function writeTable(context: Context, rows: readonly Row[], options: { digests: boolean; 'no-trunc': boolean }): void {
  const digests = (text: string) => (options.digests ? [text] : [])
  const now = Date.now()
  const lines = formatTable(
    ['REPOSITORY', 'TAG', ...digests('DIGEST'), 'IMAGE ID', 'CREATED', 'SIZE'],
    rows.map(({ repository, tag, digest, image }) => [
      repository,
      tag,
      ...digests(digest),
      formatId(image.id, options['no-trunc']),
      formatAge(image.created, now),
      formatSize(image.size, 3),
    ]),
  )
  for (const line of lines) writeLine(context, line)
}

/** Each once, so that the list can be handed to rmi. */
function listIds(rows: readonly Row[]): Set<string> {
  return new Set(rows.map(({ image }) => image.id))
}

function describe(images: ReadonlySet<ImageRecord>): object[] {
  return [...images].map(({ id, digest, platform, created, size, sizeCompressed, names, repoDigests, storedAt }) => ({
    id,
    digest,
    names: names.map(formatName),
    repoDigests: repoDigests.map(formatName),
    platform,
    created,
    size,
    sizeCompressed,
    storedAt,
  }))
}

/** The user's spelling of a repository, with or without a tag, in the familiar form. */
function formatFilter(text: string): string {
  const name = formatName(text)
  return /:[^/]+$/.test(text) ? name : name.replace(/:latest$/, '')
}

function isMatch({ repository, tag }: ListedName, filter: string): boolean {
  return filter === repository || filter === `${repository}:${tag}`
}

function isNamed({ tag }: ListedName): boolean {
  return tag !== '<none>'
}

function timeOf({ created, storedAt }: ImageRecord): number {
  return Date.parse(created ?? storedAt) || 0
}
